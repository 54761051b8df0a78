-- Buckets whose whole state is one row and one root: whoever moves the root moves name, counts and metadata with it.
--
-- `bucket_roots` keeps the columns of the existing fleet. `format` tells whose index a root is: 0 the fleet's, 1 that of
-- fula-master. A bucket of format 0 is left alone until `fula-master buckets import` has read and verified all of it.
-- `version` grows by one with every move and never starts again: a bucket that is deleted keeps its row (`deleted_at`),
-- so that one which is made anew goes on counting and no old writer can take it for the one that it knew.

alter table bucket_roots
  add column format smallint not null default 0,
  -- Whose bytes these are; null where only the owner id is known (buckets of the fleet).
  add column user_id text,
  add column object_count bigint not null default 0,
  add column total_bytes bigint not null default 0,
  add column metadata jsonb not null default '{}',
  add column created_at timestamptz not null default current_timestamp,
  add column deleted_at timestamptz,
  -- Names the move that made this version; whoever lost the answer to it looks whether it stands in bucket_commits.
  add column commit_id text;
alter table bucket_roots
  add constraint bucket_roots_format check (format in (0, 1)),
  add constraint bucket_roots_counts check (object_count >= 0 and total_bytes >= 0),
  add constraint bucket_roots_version check (version > 0),
  add constraint bucket_roots_tombstone check (deleted_at is null or object_count = 0);

-- A row is rewritten with every save; with room on its page no index is touched.
alter table bucket_roots set (fillfactor = 50);

-- Every root that a bucket had, for as long as `buckets.historyAge` says.
create table bucket_commits (
  owner_id text not null,
  bucket text not null,
  version bigint not null,
  -- Null where the bucket was deleted.
  root_cid text,
  object_count bigint not null,
  total_bytes bigint not null,
  commit_id text not null,
  node text not null,
  committed_at timestamptz not null default clock_timestamp(),
  primary key (owner_id, bucket, version)
);
create index bucket_commits_commit_id on bucket_commits (commit_id);
create index bucket_commits_committed_at on bucket_commits (committed_at);

-- CIDs that somebody must look at: announced before they are pinned for a move that may crash, or left by a move without
-- the reference that it knew of. A move that wins takes what it refers to off the queue in the same statement. The
-- collector unpins what no root reaches; it locks the row first, and a later announcement makes it another row.
create table bucket_garbage (
  cid text collate "C" primary key,
  queued_at timestamptz not null default clock_timestamp()
);
create index bucket_garbage_queued_at on bucket_garbage (queued_at);

-- How the masters of this ledger save buckets: `cas` by compare-and-swap, `single` without (one master alone), `fleet`
-- by gateways of the existing fleet. One way at a time: serving masters hold a session lock of their mode.
create table bucket_mode (
  only_row boolean primary key default true,
  mode text,
  constraint bucket_mode_one_row check (only_row),
  constraint bucket_mode_known check (mode in ('cas', 'single', 'fleet'))
);
insert into bucket_mode (mode) values (null);

-- Software that does not know these columns would move a root and leave the counts of the one before it.
create function refuse_foreign_root_move() returns trigger
language plpgsql security definer
set search_path = pg_catalog, public, pg_temp
as $$
declare
  present text;
begin
  select mode into present from bucket_mode;
  if present is null or present = 'fleet' then return coalesce(new, old); end if;
  if tg_op = 'DELETE' then
    raise exception 'Bucket % of % is not deleted as a row: it keeps its version as a tombstone.', old.bucket, old.owner_id
      using errcode = 'object_not_in_prerequisite_state';
  end if;
  if new.format <> 1 or new.commit_id is null
     or (tg_op = 'UPDATE' and (new.commit_id is not distinct from old.commit_id or new.version <> old.version + 1)) then
    raise exception 'The root of bucket % of % is moved by fula-master alone (mode %).', new.bucket, new.owner_id, present
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'stop the other gateway, or see fula-master buckets mode.';
  end if;
  return new;
end
$$;
create trigger bucket_roots_foreign_refused before insert or update or delete on bucket_roots
  for each row execute function refuse_foreign_root_move();
