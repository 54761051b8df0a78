-- One identity on every master: keys that end and may belong to a wallet, the keys that sign tokens, and what was
-- revoked before its time.

-- Access keys. The hash is what a bearer token is compared with. The sealed secret stays for Signature V4, where the
-- server computes the same HMAC as the client; a key that is never used so is kept without it. Rows of before have no
-- hash until their secret is opened the next time.
alter table access_keys
  alter column sealed_secret drop not null,
  add column secret_hash bytea,
  add column wallet text,
  add column expires_at timestamptz,
  add column created_by text,
  add column revoked_by text,
  add constraint access_keys_secret_there check (sealed_secret is not null or secret_hash is not null),
  add constraint access_keys_secret_hash_form check (octet_length(secret_hash) = 32),
  -- The subject: buckets are the wallet's, whatever account pays for them.
  add constraint access_keys_wallet_form check (wallet ~ '^0x[0-9a-f]{40}$');
create index access_keys_wallet on access_keys (wallet) where wallet is not null;

-- Keys that sign session tokens (HS256), sealed under ENCRYPTION_KEY, which every master has from its join token: a
-- rotation reaches all of them through the ledger and no secret is copied by hand. The row `env` stands for JWT_SECRET of
-- the settings, which has no secret here.
create table signing_keys (
  kid text primary key,
  sealed_secret bytea,
  created_at timestamptz not null default clock_timestamp(),
  created_by text not null,
  -- Later than created_at, so that every master knows a key before any of them signs with it.
  signs_from timestamptz not null,
  -- Null while no newer key has taken its place.
  verifies_until timestamptz,
  constraint signing_keys_secret check ((kid = 'env') = (sealed_secret is null))
);

-- What is refused though its signature is good. `digest`: one credential. `wallet`, `user`: every credential of that
-- subject issued before `issued_before`.
create table credential_denials (
  kind text not null,
  subject text not null,
  -- Grows with every change (credential_denial_clock): masters read what is newer than what they know.
  revision bigint not null,
  issued_before timestamptz,
  -- From then on no credential that it is about can be in force; null = never.
  expires_at timestamptz,
  reason text not null,
  denied_by text not null,
  denied_at timestamptz not null default clock_timestamp(),
  -- Rows stay for a while after they were lifted, so that masters hear of it.
  lifted_at timestamptz,
  lifted_by text,
  primary key (kind, subject),
  constraint credential_denials_kind check (kind in ('digest', 'wallet', 'user')),
  constraint credential_denials_subject check (
    case kind when 'wallet' then subject ~ '^0x[0-9a-f]{40}$' else subject ~ '^[0-9a-f]{64}$' end),
  constraint credential_denials_before check ((kind = 'digest') = (issued_before is null))
);
create index credential_denials_revision on credential_denials (revision);

-- Locked by whoever changes a denial until it commits, so that revisions become visible in their order.
create table credential_denial_clock (
  only_row boolean primary key default true,
  revision bigint not null default 0,
  constraint credential_denial_clock_one_row check (only_row)
);
insert into credential_denial_clock default values;

-- What a wallet's buckets are billed to follows the wallet when it is linked to an account: a change of user_id alone
-- is no move of a root.
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
  if tg_op = 'UPDATE' and to_jsonb(new) - 'user_id' = to_jsonb(old) - 'user_id' then return new; end if;
  if new.format <> 1 or new.commit_id is null
     or (tg_op = 'UPDATE' and (new.commit_id is not distinct from old.commit_id or new.version <> old.version + 1)) then
    raise exception 'The root of bucket % of % is moved by fula-master alone (mode %).', new.bucket, new.owner_id, present
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'stop the other gateway, or see fula-master buckets mode.';
  end if;
  return new;
end
$$;

-- One account may pay for the buckets of several owners, of whom two may have one of the same name: a bucket counts as a
-- content that is named by both. What was counted under the name alone is counted anew.
lock table user_credits, bucket_roots in share row exclusive mode;

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
    perform store_content(old.user_id, 'bucket:' || old.owner_id || '/' || old.bucket, 0);
  end if;
  if counts > 0 then perform store_content(new.user_id, 'bucket:' || new.owner_id || '/' || new.bucket, counts); end if;
  return null;
end
$$;

select clear_contents(of_buckets => true);
select store_content(user_id, 'bucket:' || owner_id || '/' || bucket, usage)
  from (
  select b.user_id, b.owner_id, b.bucket, bucket_usage(b.format, b.user_id, b.deleted_at, b.total_bytes, b.covered_bytes) as usage
    from bucket_roots b left join user_credits a using (user_id)
   order by a.id, b.user_id, b.owner_id, b.bucket
) as stored
 where usage > 0;

-- What a wallet's own account pays for is looked for when the wallet is linked.
create index bucket_roots_user_id on bucket_roots (user_id) where user_id is not null;
