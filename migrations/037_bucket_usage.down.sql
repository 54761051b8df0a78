-- Buckets count for nobody from now on; what was stored at the end of past hours stays as it was billed.

lock table user_credits, bucket_roots in share row exclusive mode;

drop trigger bucket_roots_usage_truncate on bucket_roots;
drop trigger bucket_roots_usage_delete on bucket_roots;
drop trigger bucket_roots_usage_update on bucket_roots;
drop trigger bucket_roots_usage_insert on bucket_roots;

select clear_contents(of_buckets => true);

create or replace function clear_usage() returns trigger
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
drop function clear_bucket_usage();
drop function clear_contents(boolean);
drop function keep_bucket_usage();
drop function store_content(text, text, bigint);
drop function pinned_object_bytes(text, text);
drop function bucket_usage(smallint, text, timestamptz, bigint, bigint);
alter table bucket_roots drop constraint bucket_roots_covered, drop column covered_bytes;
