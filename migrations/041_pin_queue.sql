-- The durable queue of the pinning service. Rows of `pins` are what users asked for; a job says "make the pinset agree
-- with the rows of this content". It says nothing of pin or unpin, so that a wish and its opposite are one job.

alter table pins
  -- The content: the CID of the row as CIDv1 in base32, however it was written; empty where it is no CID. Null in rows that
  -- other software wrote, until a worker has looked at them.
  add column cid_key text collate "C",
  -- When the size was worked out from the blocks; null where it is what somebody said.
  add column measured_at timestamptz;
create index pins_cid_key on pins (cid_key) where status in ('queued', 'pinning', 'pinned');
create index pins_unkeyed on pins (id) where cid_key is null and status in ('queued', 'pinning', 'pinned');
create index pins_unmeasured on pins (id)
  where status = 'pinned' and measured_at is null and coalesce(size, 0) = 0;

-- To look at a row is no change of it: the sweep goes by when somebody last changed what he wants.
drop trigger pins_updated_at on pins;
create trigger pins_updated_at before update on pins
  for each row when (old.cid_key is not distinct from new.cid_key) execute function update_updated_at_column();

create table pin_jobs (
  -- As in pins.cid_key.
  cid text collate "C" primary key,
  -- Grows with every change of the rows: whoever has worked on an older one is not done.
  revision bigint not null default 1,
  -- The content that this one takes the place of: what both share need not be fetched again.
  replaces text collate "C",
  -- Of the last change.
  queued_at timestamptz not null default clock_timestamp(),
  due_at timestamptz not null default clock_timestamp(),
  -- Tries that failed, and looks that found it on its way, since then.
  attempts integer not null default 0,
  looks integer not null default 0,
  -- Who works on it; others may when the time is over.
  claim text,
  claimed_by text,
  claimed_until timestamptz,
  -- Nobody tries any more, until an operator says so.
  dead_at timestamptz,
  last_error text,
  constraint pin_jobs_counts check (attempts >= 0 and looks >= 0),
  constraint pin_jobs_claim check (num_nulls(claim, claimed_by, claimed_until) in (0, 3))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
create index pin_jobs_due on pin_jobs (due_at) where dead_at is null;
create index pin_jobs_dead on pin_jobs (dead_at) where dead_at is not null;
