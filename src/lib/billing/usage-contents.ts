/**
 * SQL of a query: what users store by what is recorded of it, a row a content (`user_id`, `cid`, `bytes`). Contents are
 * their pins, each CID once with its greatest size, and their buckets, each as one. What the triggers on both keep in
 * `stored_contents` should be the same.
 */
export const CONTENTS_OF_USERS = `
  select p.user_id, p.cid collate "C" as cid, max(p.size) as bytes
    from pins p
   where pin_counts(p.status, p.user_id, p.cid, p.size)
   group by p.user_id, p.cid collate "C"
  union all
  select user_id, 'bucket:' || owner_id || '/' || bucket, bucket_usage(format, user_id, deleted_at, total_bytes, covered_bytes)
    from bucket_roots
   where bucket_usage(format, user_id, deleted_at, total_bytes, covered_bytes) > 0`;
