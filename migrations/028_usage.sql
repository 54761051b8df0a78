-- What every account stores, kept by triggers as pins change, and what it stored at the end of every past hour.
-- Billing reads it; nothing works it out anew but `fula-master billing reconcile`, which compares it with the pins.
--
-- Rules: a pin counts while its status is 'pinned' and its size is known. One CID counts once an account, with its
-- greatest size, however many pins name it. A pin without user_id belongs to nobody and counts for nobody.
--
-- Hours: a change belongs to the hour in which it is made, by the database's clock. It holds the advisory lock
-- (815551, hours since 1970) shared until its transaction ends; whoever closes an hour takes that lock exclusively
-- first, so it waits for exactly the transactions that still write into that hour and holds up nobody else.
-- A change that comes too late for a closed hour belongs to the first open one.

-- Before anything else, in the order in which billing takes them: the index below is built under this lock.
lock table user_credits, pins in share row exclusive mode;

-- Room for the new version of a row on its own page: an update of a balance then touches no index.
alter table user_credits set (fillfactor = 70);

create table user_usage (
  account_id bigint primary key,
  bytes bigint not null default 0,
  -- The hour of the last change: at the end of it, and of every later one, it was `bytes`.
  changed_hour timestamptz not null default '-infinity',
  constraint user_usage_bytes check (bytes >= 0)
) with (fillfactor = 80);

-- Bytes at the end of an hour, for the hours in which they changed.
create table usage_history (
  account_id bigint not null,
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
  account_id bigint not null,
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

-- Whether a pin counts. No CID has more than some hundred bytes; a longer text, which pins may hold, would not fit into
-- an index together with the user, and the statement that writes it would fail.
create function pin_counts(status text, user_id text, cid text, size bigint) returns boolean
language sql immutable parallel safe
as $$
  select status = 'pinned' and user_id is not null and size > 0 and octet_length(cid) <= 1024
$$;

-- By bytes, so that a comparison by bytes finds no other index of `pins` to use: the plan below is made once, maybe while
-- the table is small.
create index idx_pins_stored on pins (user_id collate "C", cid collate "C") include (size)
  where pin_counts(status, user_id, cid, size);

insert into usage_clock (closed_through) values (date_trunc('hour', now(), 'UTC') - interval '1 hour');

insert into user_credits (user_id)
select distinct p.user_id from pins p
 where pin_counts(p.status, p.user_id, p.cid, p.size)
   and not exists (select from user_credits a where a.user_id = p.user_id)
 order by p.user_id;

insert into stored_contents (account_id, cid, bytes)
select a.id, p.cid, max(p.size)
  from pins p join user_credits a using (user_id)
 where pin_counts(p.status, p.user_id, p.cid, p.size)
 group by a.id, p.cid;

insert into user_usage (account_id, bytes, changed_hour)
select a.id,
       least(coalesce(s.bytes, 0), 9223372036854775807),
       case when s.bytes is null then '-infinity' else date_trunc('hour', now(), 'UTC') end
  from user_credits a
  left join (select account_id as id, sum(bytes) as bytes from stored_contents group by account_id) as s using (id)
 where a.user_id is not null
 order by a.id;

insert into usage_history (account_id, hour, bytes)
select account_id, changed_hour, bytes from user_usage where bytes > 0 order by account_id;

-- After the rows, so that they are checked at once and not one by one.
alter table user_usage add foreign key (account_id) references user_credits (id);
alter table usage_history add foreign key (account_id) references user_credits (id);
alter table stored_contents add foreign key (account_id) references user_usage (account_id);

-- The functions run as their owner, whatever role a pinning service logs in with and whatever its search_path is: a
-- statement on `pins` that was permitted yesterday must not fail for want of a right to tables that it does not know.

-- The hour that a change made now belongs to; it stays open until the caller's transaction ends.
create function hold_usage_hour() returns timestamptz
language plpgsql security definer
set search_path = pg_catalog, public, pg_temp
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

-- Its plans are kept for as long as a session lasts, from when tables may still be small: each looks up what it needs by
-- index, whatever tables are estimated at, so that a statement costs as much as it touches and never more.
create function keep_usage() returns trigger
language plpgsql security definer
set search_path = pg_catalog, public, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  bytes_max constant bigint := 9223372036854775807;
  -- Parallel arrays: the contents that the statement touched.
  users text[];
  cids text[];
  -- Theirs, in the order in which everybody locks several.
  accounts bigint[];
  open_hour timestamptz;
begin
  if tg_op = 'INSERT' then
    select array_agg(user_id), array_agg(cid) into users, cids
      from (select distinct user_id, cid from new_rows where pin_counts(status, user_id, cid, size)) as touched;
  elsif tg_op = 'DELETE' then
    select array_agg(user_id), array_agg(cid) into users, cids
      from (select distinct user_id, cid from old_rows where pin_counts(status, user_id, cid, size)) as touched;
  else
    -- What an update leaves alone (a status text, a name) costs nothing more.
    select array_agg(user_id), array_agg(cid) into users, cids
      from (
      select user_id, cid
        from (
        select id, user_id, cid, size from old_rows where pin_counts(status, user_id, cid, size)
        except
        select id, user_id, cid, size from new_rows where pin_counts(status, user_id, cid, size)
      ) as gone
      union
      select user_id, cid
        from (
        select id, user_id, cid, size from new_rows where pin_counts(status, user_id, cid, size)
        except
        select id, user_id, cid, size from old_rows where pin_counts(status, user_id, cid, size)
      ) as come
    ) as touched;
  end if;
  if users is null then return null; end if;

  -- Only those that are missing: a conflict would use up an account id, and billing goes by ranges of them.
  insert into user_credits (user_id)
  select distinct t.user_id from unnest(users) as t (user_id)
   where (select a.id from user_credits a where a.user_id = t.user_id) is null
   order by t.user_id
      on conflict (user_id) do nothing;
  select array_agg((select a.id from user_credits a where a.user_id = t.user_id) order by t.place) into accounts
    from unnest(users) with ordinality as t (user_id, place);
  insert into user_usage (account_id)
  select distinct t.id from unnest(accounts) as t (id)
   where (select u.account_id from user_usage u where u.account_id = t.id) is null
   order by t.id
      on conflict (account_id) do nothing;
  -- Locked first and read second: who changes pins of the same account at the same time reckons after this one.
  perform from user_usage where account_id = any (accounts) order by account_id for update;
  open_hour := hold_usage_hour();

  with stored as materialized (
    select t.account_id, t.cid,
           coalesce((select max(p.size) from pins p
                      where p.user_id = t.user_id collate "C" and p.cid = t.cid collate "C"
                        and pin_counts(p.status, p.user_id, p.cid, p.size)), 0) as bytes,
           coalesce((select c.bytes from stored_contents c
                      where c.account_id = t.account_id and c.cid = t.cid), 0) as known
      from unnest(accounts, users, cids) as t (account_id, user_id, cid)
  ), noted as (
    insert into stored_contents (account_id, cid, bytes)
    select account_id, cid, bytes from stored where bytes <> known and bytes > 0
        on conflict (account_id, cid) do update set bytes = excluded.bytes
  ), dropped as (
    delete from stored_contents
     where ctid = any (array(
       select (select c.ctid from stored_contents c where c.account_id = s.account_id and c.cid = s.cid)
         from stored s where bytes = 0 and known > 0))
  ), summed as (
    select account_id, sum(bytes - known) as difference from stored group by account_id
  ), kept as (
    -- Also where the difference is 0: a transaction that reads an older snapshot and touches the account too must fail
    -- to serialize, since it reckons with pins that it does not see.
    insert into user_usage as u (account_id, bytes, changed_hour)
    select s.account_id,
           -- Sizes are what a pinning service was told: at the top the sum is reckoned anew, from before this statement.
           least(case when before.bytes < bytes_max then before.bytes
                      else (select coalesce(sum(c.bytes), 0) from stored_contents c where c.account_id = s.account_id)
                 end + s.difference, bytes_max),
           -- The server's clock may have been set back; an account's hours never go back.
           case when s.difference = 0 then before.changed_hour else greatest(before.changed_hour, open_hour) end
      from summed s,
           lateral (select o.bytes, o.changed_hour from user_usage o where o.account_id = s.account_id offset 0) as before
        on conflict (account_id) do update set bytes = excluded.bytes, changed_hour = excluded.changed_hour
    returning u.account_id, u.bytes, u.changed_hour
  )
  insert into usage_history as h (account_id, hour, bytes)
  select account_id, changed_hour, bytes from kept where changed_hour >= open_hour
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
language plpgsql security definer
set search_path = pg_catalog, public, pg_temp
as $$
declare
  open_hour timestamptz;
begin
  -- Truncating takes no heed of snapshots, and what follows would clear only the accounts of an older one.
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'The table pins is truncated in transactions of isolation level read committed only.'
      using errcode = 'feature_not_supported', hint = 'truncate it in a transaction of its own, or delete its rows.';
  end if;
  perform from user_usage order by account_id for update;
  open_hour := hold_usage_hour();
  delete from stored_contents;
  with cleared as (
    update user_usage set bytes = 0, changed_hour = greatest(changed_hour, open_hour)
     where bytes > 0 returning account_id, changed_hour
  )
  insert into usage_history as h (account_id, hour, bytes)
  select account_id, changed_hour, 0 from cleared
      on conflict (account_id, hour) do update set bytes = 0;
  return null;
end
$$;

create trigger pins_usage_truncate after truncate on pins for each statement execute function clear_usage();
