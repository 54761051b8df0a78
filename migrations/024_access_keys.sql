-- Access key pairs of the S3 gateway. The secret is sealed (AES-256-GCM, src/lib/identity/sealed-secret.ts) and not
-- hashed: to check a Signature V4 the server must compute the same HMAC as the client, and needs the secret for it.

create table access_keys (
  key_id text primary key,
  user_id text not null,
  sealed_secret bytea not null,
  scopes text[] not null,
  label text not null default '',
  created_at timestamptz not null default now(),
  last_used_at timestamptz,
  revoked_at timestamptz,
  constraint access_keys_key_id_form check (key_id ~ '^FULA[A-Z2-7]{16}$'),
  constraint access_keys_user_id_form check (user_id ~ '^[0-9a-f]{64}$'),
  constraint access_keys_scopes_known
    check (cardinality(scopes) > 0 and scopes <@ array['storage:read', 'storage:write'])
);

create index access_keys_user on access_keys (user_id);
