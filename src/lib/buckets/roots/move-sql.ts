import type { NamedQuery } from "../../postgres/run-query.ts";
import type { BucketContent, BucketName, Move } from "./root-pointer.ts";

/** The values that every move begins with: $1 owner, $2 bucket, $3 commit id, $4 node, $5 claims, $6 garbage, $7 deadline. */
const FIRST_OWN = 8;
/** The rows of the queue first, and then the clock: `case` keeps that order. */
const IN_TIME = `(
           select case when count(*) >= 0 then $7::float8 is null or clock_timestamp() <= to_timestamp($7::float8 / 1000) end
             from held)`;
const IS_CAS = `(select mode from bucket_mode) = 'cas' and ${IN_TIME}`;
const IS_SINGLE = `(select mode from bucket_mode) = 'single' and ${IN_TIME}`;

/**
 * Everything that goes with a changed row, in the statement that changes it: the commit, and the collector's queue, which
 * loses what the new root refers to and gets what the old one alone referred to.
 *
 * Whoever sent it may have been paused for any time before: so the statement itself looks at the deadline of its claims,
 * when it has locked their rows. Then the collector cannot take them before it ends, and has not done so: it takes what
 * has been on the queue for far longer. A claim that has no row any more is one that another reference has taken off the
 * queue since it was announced; what takes that reference away puts it there again, as of then.
 */
function moveSql(change: string): string {
  return `
    with held as (
      select from bucket_garbage where cid = any ($5::text[] || $6::text[]) order by cid for update
    ), moved as (
      ${change}
      returning b.version, b.root_cid, b.deleted_at, b.object_count, b.total_bytes
    ), noted as (
      insert into bucket_commits (owner_id, bucket, version, root_cid, object_count, total_bytes, commit_id, node)
      select $1::text, $2::text, version, case when deleted_at is null then root_cid end, object_count, total_bytes, $3::text, $4::text from moved
    ), claimed as (
      delete from bucket_garbage where cid = any ($5::text[]) and exists (select from moved)
    ), queued as (
      insert into bucket_garbage (cid)
      select lost.cid from unnest($6::text[]) as lost (cid) where exists (select from moved) order by lost.cid collate "C"
          on conflict (cid) do update set queued_at = excluded.queued_at
    )
    select version from moved`;
}

const SET_CONTENT = `version = b.version + 1, updated_at = clock_timestamp(), commit_id = $3,
             root_cid = $8, object_count = $9, total_bytes = $10, metadata = $11`;

const MOVE = moveSql(`
      update bucket_roots b
         set ${SET_CONTENT}
       where b.owner_id = $1 and b.bucket = $2 and b.version = $12 and b.root_cid = $13
         and b.deleted_at is null and b.format = 1 and ${IS_CAS}`);

const REMOVE = moveSql(`
      update bucket_roots b
         set version = b.version + 1, updated_at = clock_timestamp(), commit_id = $3,
             deleted_at = clock_timestamp(), total_bytes = 0, covered_bytes = 0, metadata = '{}'
       where b.owner_id = $1 and b.bucket = $2 and b.version = $8 and b.root_cid = $9
         and b.deleted_at is null and b.format = 1 and b.object_count = 0 and ${IS_CAS}`);

const AS_NEW = `insert into bucket_roots as b
             (owner_id, bucket, format, commit_id, root_cid, object_count, total_bytes, metadata, user_id, updated_at, created_at)
      select $1::text, $2::text, 1, $3::text, $8::text, $9::bigint, $10::bigint, $11::jsonb, $12::text, clock_timestamp(), clock_timestamp()`;

// The row must still be the one that this statement saw when it began, and its commit must not have been voided by then:
// a statement whose client is gone can come to its row at any later time, and by these two it is known when it can't win.
const CREATE = moveSql(`
      ${AS_NEW}
       where ${IS_CAS} and not exists (select from bucket_commits c where c.commit_id = 'void:' || $3::text)
          on conflict (owner_id, bucket) do update
         set ${SET_CONTENT}, user_id = $12, created_at = clock_timestamp(), deleted_at = null
       where b.deleted_at is not null and b.format = 1
         and b.version = (select seen.version from bucket_roots seen where seen.owner_id = $1 and seen.bucket = $2)`);

const OVERWRITE = moveSql(`
      ${AS_NEW}
       where ${IS_SINGLE}
          on conflict (owner_id, bucket) do update
         set ${SET_CONTENT}, deleted_at = null, user_id = coalesce(b.user_id, $12),
             created_at = case when b.deleted_at is null then b.created_at else clock_timestamp() end
       where b.format = 1`);

const OVERWRITE_REMOVED = moveSql(`
      update bucket_roots b
         set version = b.version + 1, updated_at = clock_timestamp(), commit_id = $3,
             deleted_at = clock_timestamp(), object_count = 0, total_bytes = 0, covered_bytes = 0, metadata = '{}'
       where b.owner_id = $1 and b.bucket = $2 and b.deleted_at is null and b.format = 1
         and ${IS_SINGLE}`);

function valuesOf(name: BucketName, move: Move, node: string, own: readonly unknown[]): readonly unknown[] {
  const claims = [...new Set(move.claims)];
  const claimed = new Set(claims);
  // What the new root refers to again is no garbage, and one statement cannot both take a row off the queue and put it there.
  const garbage = [...new Set(move.garbage)].filter((cid) => !claimed.has(cid));
  const values = [name.ownerId, name.bucket, move.commitId, node, claims, garbage, move.deadlineMs];
  if (values.length !== FIRST_OWN - 1) throw new Error("the values of a move are not those of its statement");
  return [...values, ...own];
}

function contentValues({ root, objectCount, totalBytes, metadata }: BucketContent): readonly unknown[] {
  return [root.toString(), objectCount.toString(), totalBytes.toString(), JSON.stringify(metadata)];
}

/** The statement of one try to move a root. Gives a row with the new `version` where it moved, else none. */
export function moveQuery(name: BucketName, move: Move, node: string): NamedQuery {
  const { expected, next } = move;
  if (next.kind === "deleted") {
    if (expected.kind === "absent") throw new Error("a bucket that is expected to be absent cannot be deleted");
    const own = [expected.version.toString(), expected.root.toString()];
    return { name: "bucket_remove", text: REMOVE, values: valuesOf(name, move, node, own) };
  }
  if (expected.kind === "absent") {
    const own = [...contentValues(next.content), next.userId];
    return { name: "bucket_create", text: CREATE, values: valuesOf(name, move, node, own) };
  }
  const own = [...contentValues(next.content), expected.version.toString(), expected.root.toString()];
  return { name: "bucket_move", text: MOVE, values: valuesOf(name, move, node, own) };
}

/** The same where nobody arbitrates: the row becomes what it is to be, whatever stands there. */
export function overwriteQuery(name: BucketName, move: Move, node: string): NamedQuery {
  const { next } = move;
  if (next.kind === "deleted") {
    return { name: "bucket_overwrite_removed", text: OVERWRITE_REMOVED, values: valuesOf(name, move, node, []) };
  }
  const own = [...contentValues(next.content), next.userId];
  return { name: "bucket_overwrite", text: OVERWRITE, values: valuesOf(name, move, node, own) };
}
