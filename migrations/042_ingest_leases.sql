-- Bytes that a storage node took in for an account and that no object refers to yet. They count against the account's
-- quota until a mapping PUT refers to them or the lease is over, so that nobody stores without an account; and whoever has
-- one has sent the block's bytes, which is why the gateway maps it without a further proof.

create table ingest_leases (
  -- The account that pays.
  user_id text not null,
  cid text collate "C" not null,
  bytes bigint not null,
  -- Name of the storage node that took the bytes.
  node text not null,
  leased_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  -- Since then an object refers to the block, and it is billed with the pins. The row stays until the lease is over: a
  -- client whose answer was lost maps it again.
  mapped_at timestamptz,
  primary key (user_id, cid),
  constraint ingest_leases_user_form check (user_id ~ '^[0-9a-f]{64}$'),
  constraint ingest_leases_bytes check (bytes > 0)
);
-- What is over is deleted by the masters.
create index ingest_leases_expires_at on ingest_leases (expires_at);
