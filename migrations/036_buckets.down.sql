drop trigger bucket_roots_foreign_refused on bucket_roots;
drop function refuse_foreign_root_move();
drop table bucket_mode;
drop table bucket_garbage;
drop table bucket_commits;
alter table bucket_roots reset (fillfactor);
alter table bucket_roots
  drop constraint bucket_roots_tombstone,
  drop constraint bucket_roots_version,
  drop constraint bucket_roots_counts,
  drop constraint bucket_roots_format,
  drop column commit_id,
  drop column deleted_at,
  drop column created_at,
  drop column metadata,
  drop column total_bytes,
  drop column object_count,
  drop column user_id,
  drop column format;
