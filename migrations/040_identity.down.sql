lock table user_credits, bucket_roots in share row exclusive mode;

drop index bucket_roots_user_id;

create or replace function keep_bucket_usage() returns trigger
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

-- Of buckets of one name that one account pays for, whatever their owners, the sum is counted.
select clear_contents(of_buckets => true);
select store_content(user_id, 'bucket:' || bucket, usage)
  from (
  select b.user_id, b.bucket, sum(bucket_usage(b.format, b.user_id, b.deleted_at, b.total_bytes, b.covered_bytes))::bigint as usage
    from bucket_roots b left join user_credits a using (user_id)
   group by a.id, b.user_id, b.bucket
   order by a.id, b.user_id, b.bucket
) as stored
 where usage > 0;

create or replace function refuse_foreign_root_move() returns trigger
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

drop table credential_denial_clock;
drop table credential_denials;
drop table signing_keys;
-- Secrets of a wallet's keys are sealed for the wallet, and what there is no more would be taken for damaged.
delete from access_keys where sealed_secret is null or wallet is not null;
-- What was to end is not to live for ever.
update access_keys set revoked_at = now() where expires_at is not null and revoked_at is null;
alter table access_keys
  drop constraint access_keys_wallet_form,
  drop constraint access_keys_secret_hash_form,
  drop constraint access_keys_secret_there,
  drop column revoked_by,
  drop column created_by,
  drop column expires_at,
  drop column wallet,
  drop column secret_hash,
  alter column sealed_secret set not null;
