-- Revoked credentials would be in force again, tokens of rotated keys would be refused, keys of wallets and those without
-- a sealed secret would be lost, and keys that were to end would be revoked. Where an account pays for two buckets of one name, the next change of one would be counted for both.

lock table access_keys, signing_keys, credential_denials, bucket_roots in share row exclusive mode;

select 'credential_denials: in force' as what, count(*) as rows from credential_denials
 where lifted_at is null and (expires_at is null or expires_at > now())
union all
select 'signing_keys: rows', count(*) from signing_keys
union all
select 'access_keys: with an expiry, a wallet, or no sealed secret', count(*) from access_keys
 where revoked_at is null and (expires_at is not null or wallet is not null or sealed_secret is null)
union all
select 'bucket_roots: of the same name and account as another', count(*) from bucket_roots b
 where exists (select from bucket_roots o where o.user_id = b.user_id and o.bucket = b.bucket and o.owner_id <> b.owner_id);
