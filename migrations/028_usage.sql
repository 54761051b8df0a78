-- What every account stores, kept by triggers as pins change, and what it stored at the end of every past hour.
-- Billing reads it; nothing works it out anew but `fula-master billing reconcile`, which compares it with the pins.
--
-- Rules: a pin counts while its status is 'pinned'. One CID counts once an account, with its greatest size, however many
-- pins name it. A pin without user_id belongs to nobody and counts for nobody.
--
-- Hours: a change belongs to the hour in which it is made, by the database's clock. It holds the advisory lock
-- (815551, hours since 1970) shared until its transaction ends; whoever closes an hour takes that lock exclusively
-- first, so it waits for exactly the transactions that still write into that hour and holds up nobody else.
-- A change that comes too late for a closed hour belongs to the first open one.

-- Room for the new version of a row on its own page: an update of a balance then touches no index.
alter table user_credits set (fillfactor = 70);

create table user_usage (
  account_id bigint primary key references user_credits (id),
  bytes bigint not null default 0,
  -- The hour of the last change: at the end of it, and of every later one, it was `bytes`.
  changed_hour timestamptz not null default '-infinity',
  constraint user_usage_bytes check (bytes >= 0)
) with (fillfactor = 80);

-- Bytes at the end of an hour, for the hours in which they changed.
create table usage_history (
  account_id bigint not null references user_credits (id),
  hour timestamptz not null,
  bytes bigint not null,
  primary key (account_id, hour),
  constraint usage_history_bytes check (bytes >= 0),
  constraint usage_history_hour check (hour = date_trunc('hour', hour, 'UTC'))
);

-- What each content adds to its account's bytes. Kept, because a statement that changes several pins of one content at
-- once (insert … on conflict, a delete and an insert in one) fires its triggers when all of it is done: what a content
-- added before can then no longer be seen in the pins.
create table stored_contents (
  account_id bigint not null references user_usage (account_id),
  cid text collate "C" not null,
  bytes bigint not null,
  primary key (account_id, cid),
  constraint stored_contents_bytes check (bytes > 0)
);

create table usage_clock (
  only_row boolean primary key default true,
  -- The last hour whose usage no longer changes.
  closed_through timestamptz not null,
  constraint usage_clock_one_row check (only_row),
  constraint usage_clock_hour check (closed_through = date_trunc('hour', closed_through, 'UTC'))
);

create index idx_pins_stored on pins (user_id, cid) include (size) where status = 'pinned' and user_id is not null;

lock table pins in share row exclusive mode;

insert into usage_clock (closed_through) values (date_trunc('hour', now(), 'UTC') - interval '1 hour');

insert into user_credits (user_id)
select distinct user_id from pins
 where status = 'pinned' and user_id is not null and size > 0
 order by user_id
    on conflict (user_id) do nothing;

insert into user_usage (account_id) select id from user_credits where user_id is not null;

insert into stored_contents (account_id, cid, bytes)
select a.id, p.cid, max(p.size)
  from pins p join user_credits a using (user_id)
 where p.status = 'pinned' and p.size > 0
 group by a.id, p.cid;

with sums as (select account_id, sum(bytes) as bytes from stored_contents group by account_id)
update user_usage u set bytes = sums.bytes, changed_hour = date_trunc('hour', now(), 'UTC')
  from sums where sums.account_id = u.account_id;

insert into usage_history (account_id, hour, bytes)
select account_id, changed_hour, bytes from user_usage where bytes > 0;

-- The hour that a change made now belongs to; it stays open until the caller's transaction ends.
create function hold_usage_hour() returns timestamptz
language plpgsql
as $$
declare
  held timestamptz;
  current_one timestamptz;
begin
  loop
    select greatest(date_trunc('hour', clock_timestamp(), 'UTC'), closed_through + interval '1 hour')
      into strict current_one from usage_clock;
    if current_one = held then return held; end if;
    -- Looked at again after the lock is held: the hour may have been closed in between.
    perform pg_advisory_xact_lock_shared(815551, (extract(epoch from current_one) / 3600)::integer);
    held := current_one;
  end loop;
end
$$;

create function keep_usage() returns trigger
language plpgsql
as $$
declare
  -- Parallel arrays: the contents that the statement touched.
  users text[];
  cids text[];
  open_hour timestamptz;
begin
  if tg_op = 'INSERT' then
    select array_agg(user_id), array_agg(cid) into users, cids
      from (select distinct user_id, cid from new_rows
             where status = 'pinned' and user_id is not null and size > 0) as touched;
  elsif tg_op = 'DELETE' then
    select array_agg(user_id), array_agg(cid) into users, cids
      from (select distinct user_id, cid from old_rows
             where status = 'pinned' and user_id is not null and size > 0) as touched;
  else
    select array_agg(user_id), array_agg(cid) into users, cids
      from (
      select user_id, cid
        from (
        select id, user_id, cid, size from old_rows where status = 'pinned' and user_id is not null and size > 0
        except
        select id, user_id, cid, size from new_rows where status = 'pinned' and user_id is not null and size > 0
      ) as gone
      union
      select user_id, cid
        from (
        select id, user_id, cid, size from new_rows where status = 'pinned' and user_id is not null and size > 0
        except
        select id, user_id, cid, size from old_rows where status = 'pinned' and user_id is not null and size > 0
      ) as come
    ) as touched;
  end if;
  if users is null then return null; end if;

  insert into user_credits (user_id)
  select distinct u from unnest(users) as u order by u
      on conflict (user_id) do nothing;
  insert into user_usage (account_id)
  select id from user_credits where user_id = any (users) order by id
      on conflict (account_id) do nothing;
  -- Locked first and read second: who changes pins of the same account at the same time reckons after this one.
  perform from user_usage
    where account_id in (select id from user_credits where user_id = any (users))
    order by account_id for update;
  open_hour := hold_usage_hour();

  with touched as (
    select a.id as account_id, t.user_id, t.cid
      from unnest(users, cids) as t (user_id, cid) join user_credits a on a.user_id = t.user_id
  ), stored as (
    select t.account_id, t.cid, coalesce(max(p.size), 0) as bytes
      from touched t
      left join pins p on p.user_id = t.user_id and p.cid = t.cid and p.status = 'pinned' and p.size > 0
     group by t.account_id, t.cid
  ), differing as (
    select s.account_id, s.cid, s.bytes, s.bytes - coalesce(known.bytes, 0) as difference
      from stored s left join stored_contents known using (account_id, cid)
     where s.bytes <> coalesce(known.bytes, 0)
  ), noted as (
    insert into stored_contents as known (account_id, cid, bytes)
    select account_id, cid, bytes from differing where bytes > 0
        on conflict (account_id, cid) do update set bytes = excluded.bytes
  ), dropped as (
    delete from stored_contents known using differing d
     where d.bytes = 0 and known.account_id = d.account_id and known.cid = d.cid
  ), summed as (
    update user_usage u set bytes = u.bytes + d.difference, changed_hour = open_hour
      from (select account_id, sum(difference) as difference from differing group by account_id) as d
     where u.account_id = d.account_id
    returning u.account_id, u.bytes
  )
  insert into usage_history as h (account_id, hour, bytes)
  select account_id, open_hour, bytes from summed
      on conflict (account_id, hour) do update set bytes = excluded.bytes;
  return null;
end
$$;

create trigger pins_usage_insert after insert on pins
  referencing new table as new_rows for each statement execute function keep_usage();
create trigger pins_usage_update after update on pins
  referencing old table as old_rows new table as new_rows for each statement execute function keep_usage();
create trigger pins_usage_delete after delete on pins
  referencing old table as old_rows for each statement execute function keep_usage();

create function clear_usage() returns trigger
language plpgsql
as $$
declare
  open_hour timestamptz;
begin
  perform from user_usage order by account_id for update;
  open_hour := hold_usage_hour();
  delete from stored_contents;
  with cleared as (
    update user_usage set bytes = 0, changed_hour = open_hour where bytes > 0 returning account_id
  )
  insert into usage_history as h (account_id, hour, bytes)
  select account_id, open_hour, 0 from cleared
      on conflict (account_id, hour) do update set bytes = 0;
  return null;
end
$$;

create trigger pins_usage_truncate after truncate on pins for each statement execute function clear_usage();
