-- Who runs the cron family (billing, deposit scanner). The right itself is the session advisory lock 815551001; this row
-- gives it a number that only grows, which every write of the cron family checks in the statement that writes: what a
-- paused or cut-off former holder sends late is refused.

create table cron_lease (
  only_row boolean primary key default true,
  -- Unique, so that raising it takes the row's lock in the one mode that waits for writes under the epoch before
  -- (`for key share`), while renewing the lease waits for nobody.
  epoch bigint not null unique default 0,
  -- Null while nobody holds it.
  holder text,
  -- The holder's lease session, so that a successor can end it when it no longer renews.
  session_pid integer,
  taken_at timestamptz,
  renewed_at timestamptz,
  -- From then on a standby may take it; the holder's own time to live decides, whatever others are set to.
  expires_at timestamptz,
  constraint cron_lease_one_row check (only_row),
  constraint cron_lease_held check (
    (holder is null) = (session_pid is null)
    and (holder is null or (taken_at is not null and renewed_at is not null and expires_at is not null))
  )
);
-- Never below what was billed under, also where this was migrated down and up again.
insert into cron_lease (epoch) select coalesce(max(greatest(began_epoch, ended_epoch)), 0) from billing_hours;
