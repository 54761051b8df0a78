-- What accounts store in buckets counts in user_usage, in the transaction that moves the root: a bucket is one more content
-- of its account (stored_contents), named 'bucket:' and its name, with the bytes of its objects. Billing and the quota
-- check read what they read before.
--
-- A bucket counts while its index is ours (format 1), its user is known, it is not deleted and holds anything. Those of
-- the fleet count for nobody until they are imported. What of an imported bucket the fleet has pinned for its user is
-- counted by these pins already: `covered_bytes` is left out for as long as the bucket lives, so that nobody pays twice.
--
-- Hours as in 028: a change belongs to the hour in which it is made, whose lock it holds shared.

lock table user_credits, bucket_roots in share row exclusive mode;

alter table bucket_roots
  add column covered_bytes bigint not null default 0,
  add constraint bucket_roots_covered check (covered_bytes >= 0);

-- What a bucket adds to its user's bytes.
create function bucket_usage(format smallint, user_id text, deleted_at timestamptz, total_bytes bigint, covered_bytes bigint) returns bigint
language sql immutable parallel safe
as $$
  select case when format = 1 and user_id is not null and deleted_at is null then greatest(total_bytes - covered_bytes, 0) else 0 end
$$;

-- What the fleet's gateway has pinned for a user of the objects of a bucket, by the names that it gives such pins.
create function pinned_object_bytes(of_user text, of_bucket text) returns bigint
language sql stable
as $$
  select coalesce(sum(bytes), 0)::bigint
    from (
    select max(size) as bytes from pins
     where user_id = of_user and pin_counts(status, user_id, cid, size) and starts_with(name, 'object:' || of_bucket || '/')
     group by cid
  ) as contents
$$;

-- Makes a content of an account as large as it is from now on; 0 takes it away.
create function store_content(content_user text, content_cid text, content_bytes bigint) returns void
language plpgsql security definer
set search_path = pg_catalog, public, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
  bytes_max constant bigint := 9223372036854775807;
  account bigint;
  open_hour timestamptz;
  before user_usage;
  known bigint;
  total numeric;
begin
  -- Only what is missing: a conflict would use up an account id, and billing goes by ranges of them.
  insert into user_credits (user_id)
  select content_user where not exists (select from user_credits where user_id = content_user)
      on conflict (user_id) do nothing;
  select id into strict account from user_credits where user_id = content_user;
  insert into user_usage (account_id)
  select account where not exists (select from user_usage where account_id = account)
      on conflict (account_id) do nothing;
  -- Locked first and read second: who changes contents of the same account at the same time reckons after this one.
  select * into strict before from user_usage where account_id = account for update;
  open_hour := hold_usage_hour();
  select coalesce((select c.bytes from stored_contents c where c.account_id = account and c.cid = content_cid), 0) into known;
  if known = content_bytes then return; end if;

  -- Sizes of pins are what a pinning service was told: at the top the sum is reckoned anew, from before this change.
  if before.bytes < bytes_max then total := before.bytes;
  else select sum(c.bytes) into total from stored_contents c where c.account_id = account; end if;
  total := coalesce(total, 0) + content_bytes - known;
  if content_bytes > 0 then
    insert into stored_contents (account_id, cid, bytes) values (account, content_cid, content_bytes)
        on conflict (account_id, cid) do update set bytes = excluded.bytes;
  else
    delete from stored_contents where account_id = account and cid = content_cid;
  end if;
  -- The server's clock may have been set back; an account's hours never go back.
  update user_usage
     set bytes = least(total, bytes_max), changed_hour = greatest(before.changed_hour, open_hour)
   where account_id = account;
  insert into usage_history (account_id, hour, bytes)
  values (account, greatest(before.changed_hour, open_hour), least(total, bytes_max))
      on conflict (account_id, hour) do update set bytes = excluded.bytes;
end
$$;

-- By rows, because a move is one: most change the bytes of one bucket, and those that do not (a compaction, tags) cost
-- nothing more than looking at the condition.
create function keep_bucket_usage() returns trigger
language plpgsql security definer
set search_path = pg_catalog, public, pg_temp
as $$
declare
  counted bigint := 0;
  counts bigint := 0;
begin
  if tg_op <> 'INSERT' then
    counted := bucket_usage(old.format, old.user_id, old.deleted_at, old.total_bytes, old.covered_bytes);
  end if;
  if tg_op <> 'DELETE' then
    counts := bucket_usage(new.format, new.user_id, new.deleted_at, new.total_bytes, new.covered_bytes);
  end if;
  if counted > 0 and (counts = 0 or old.user_id <> new.user_id or old.bucket <> new.bucket) then
    perform store_content(old.user_id, 'bucket:' || old.bucket, 0);
  end if;
  if counts > 0 then perform store_content(new.user_id, 'bucket:' || new.bucket, counts); end if;
  return null;
end
$$;

create trigger bucket_roots_usage_insert after insert on bucket_roots
  for each row when (bucket_usage(new.format, new.user_id, new.deleted_at, new.total_bytes, new.covered_bytes) > 0)
  execute function keep_bucket_usage();
create trigger bucket_roots_usage_update after update on bucket_roots
  for each row when (
    (old.total_bytes, old.covered_bytes, old.format, old.user_id, old.bucket, old.deleted_at)
    is distinct from (new.total_bytes, new.covered_bytes, new.format, new.user_id, new.bucket, new.deleted_at)
  )
  execute function keep_bucket_usage();
create trigger bucket_roots_usage_delete after delete on bucket_roots
  for each row when (bucket_usage(old.format, old.user_id, old.deleted_at, old.total_bytes, old.covered_bytes) > 0)
  execute function keep_bucket_usage();

-- Takes away all contents that are buckets, or all that are not.
create function clear_contents(of_buckets boolean) returns void
language plpgsql security definer
set search_path = pg_catalog, public, pg_temp
as $$
declare
  open_hour timestamptz;
begin
  -- Truncating takes no heed of snapshots, and what follows would clear only the accounts of an older one.
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'The tables pins and bucket_roots are truncated in transactions of isolation level read committed only.'
      using errcode = 'feature_not_supported', hint = 'truncate it in a transaction of its own, or delete its rows.';
  end if;
  perform from user_usage order by account_id for update;
  open_hour := hold_usage_hour();
  delete from stored_contents where starts_with(cid, 'bucket:') = of_buckets;
  with kept as (
    select account_id, sum(bytes) as bytes from stored_contents group by account_id
  ), cleared as (
    update user_usage u
       set bytes = least(left_over.bytes, 9223372036854775807), changed_hour = greatest(u.changed_hour, open_hour)
      from (select o.account_id, coalesce(k.bytes, 0) as bytes from user_usage o left join kept k using (account_id)) as left_over
     where left_over.account_id = u.account_id and u.bytes <> left_over.bytes
    returning u.account_id, u.changed_hour, u.bytes
  )
  insert into usage_history as h (account_id, hour, bytes)
  select account_id, changed_hour, bytes from cleared
      on conflict (account_id, hour) do update set bytes = excluded.bytes;
end
$$;

create or replace function clear_usage() returns trigger
language plpgsql security definer
set search_path = pg_catalog, public, pg_temp
as $$
begin
  perform clear_contents(of_buckets => false);
  return null;
end
$$;

create function clear_bucket_usage() returns trigger
language plpgsql security definer
set search_path = pg_catalog, public, pg_temp
as $$
begin
  perform clear_contents(of_buckets => true);
  return null;
end
$$;
create trigger bucket_roots_usage_truncate after truncate on bucket_roots
  for each statement execute function clear_bucket_usage();

-- In the order in which everybody locks several accounts.
select store_content(user_id, 'bucket:' || bucket, usage)
  from (
  select b.user_id, b.bucket, bucket_usage(b.format, b.user_id, b.deleted_at, b.total_bytes, b.covered_bytes) as usage
    from bucket_roots b left join user_credits a using (user_id)
   order by a.id, b.user_id, b.bucket
) as stored
 where usage > 0;
