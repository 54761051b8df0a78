-- The boxes of a federation, and the tokens that let further ones in. Every master writes its own row of
-- federation_nodes; a storage node has no way to the ledger and is written down by the master that asks the cluster.
-- A token's bundle is sealed under a key that stands in the token's text alone (src/lib/membership/join-token.ts), so
-- that neither a dump nor whoever reads this table can open it; it is wiped once it is used, revoked or too old.

create table federation_nodes (
  node_id bigint generated always as identity primary key,
  name text collate "C" not null,
  role text not null,
  cluster_id text not null,
  cluster_peer_id text,
  cluster_addresses text[] not null default '{}',
  kubo_peer_id text,
  kubo_addresses text[] not null default '{}',
  signing_key text,
  secrets_digest text,
  version text not null,
  joined_at timestamptz not null default now(),
  seen_at timestamptz not null default now(),
  constraint federation_nodes_name unique (name),
  constraint federation_nodes_cluster_peer unique (cluster_peer_id),
  constraint federation_nodes_role_known check (role in ('master', 'storage')),
  constraint federation_nodes_name_form check (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$'),
  constraint federation_nodes_key_form check (signing_key ~ '^ed25519:[0-9a-f]{64}$')
);

create table join_tokens (
  token_id uuid primary key,
  role text not null,
  issuer text not null,
  verifier bytea not null,
  sealed_bundle bytea,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  revoked_at timestamptz,
  redeemed_at timestamptz,
  redeemed_by text,
  redeemer bytea,
  constraint join_tokens_role_known check (role in ('master', 'storage')),
  constraint join_tokens_redeemer_known
    check ((redeemed_at is null) = (redeemed_by is null) and (redeemed_at is null) = (redeemer is null))
);
