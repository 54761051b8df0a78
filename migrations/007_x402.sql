-- baseline
-- Objects that are paid per request (x402): payments, the objects with their expiry, and daily figures.

create table x402_payment_logs (
  id serial primary key,
  payment_id text not null unique,
  wallet text not null,
  tx_hash text,
  amount_raw text not null,
  amount_usdc real not null,
  network text not null,
  bucket text,
  object_key text,
  size_bytes bigint,
  size_mb real,
  ttl_seconds integer,
  status text default 'pending' check (status in ('pending', 'verified', 'settled', 'failed')),
  verified_at timestamptz,
  settled_at timestamptz,
  error_message text,
  created_at timestamptz default current_timestamp
);
create index idx_x402_payment_logs_wallet on x402_payment_logs (wallet);
create index idx_x402_payment_logs_tx_hash on x402_payment_logs (tx_hash);
create index idx_x402_payment_logs_status on x402_payment_logs (status);
create index idx_x402_payment_logs_created on x402_payment_logs (created_at desc);

create table x402_ephemeral_objects (
  id serial primary key,
  bucket text not null,
  object_key text not null,
  wallet text not null,
  size_bytes bigint not null,
  size_mb real not null,
  payment_id text,
  expires_at timestamptz not null,
  deleted integer default 0,
  deleted_at timestamptz,
  delete_error text,
  created_at timestamptz default current_timestamp,
  delete_attempts integer default 0,
  unique (bucket, object_key),
  constraint fk_ephemeral_payment_id foreign key (payment_id) references x402_payment_logs (payment_id)
);
create index idx_x402_ephemeral_bucket_key on x402_ephemeral_objects (bucket, object_key);
create index idx_x402_ephemeral_wallet on x402_ephemeral_objects (wallet);
create index idx_x402_ephemeral_expires on x402_ephemeral_objects (expires_at);
create index idx_x402_ephemeral_deleted on x402_ephemeral_objects (deleted);
create index idx_x402_ephemeral_payment on x402_ephemeral_objects (payment_id);

create table x402_gateway_stats (
  id serial primary key,
  stat_date date not null unique,
  total_requests integer default 0,
  total_payments integer default 0,
  total_settled integer default 0,
  total_failed integer default 0,
  total_bytes_uploaded bigint default 0,
  total_usdc_received real default 0,
  created_at timestamptz default current_timestamp,
  updated_at timestamptz default current_timestamp
);
create index idx_x402_gateway_stats_date on x402_gateway_stats (stat_date desc);
create trigger x402_gateway_stats_updated_at before update on x402_gateway_stats
  for each row execute function update_updated_at_column();
