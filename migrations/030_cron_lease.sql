-- Who runs the cron family (billing, deposit scanner). The right itself is the session advisory lock 815551001; this row
-- gives it a number that only grows, which every write of the cron family checks in the statement that writes: what a
-- paused or cut-off former holder sends late is refused.

create table cron_lease (
  only_row boolean primary key default true,
  epoch bigint not null default 0,
  -- Null while nobody holds it.
  holder text,
  -- The holder's lease session, so that a successor can end it when it no longer renews.
  session_pid integer,
  taken_at timestamptz,
  renewed_at timestamptz,
  constraint cron_lease_one_row check (only_row),
  constraint cron_lease_held check ((holder is null) = (session_pid is null))
);
insert into cron_lease default values;
