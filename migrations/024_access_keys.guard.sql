-- Every client of the gateway has one of these pairs; their secrets cannot be made again.

lock table access_keys in share row exclusive mode;

select 'access_keys: access keys that are not revoked' as what, count(*) as rows from access_keys where revoked_at is null;
