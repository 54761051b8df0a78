-- baseline
-- Wallets, deposits from the chains, balances, and the ledger (credit_history).

create table user_wallets (
  id serial primary key,
  user_email text,
  wallet_address text not null,
  chain_id integer not null,
  is_verified integer default 0,
  connected_at timestamptz default current_timestamp,
  user_id varchar(64),
  wallet_address_hash varchar(64),
  encrypted_wallet_address text
);
create index idx_user_wallets_email on user_wallets (user_email);
create index idx_user_wallets_address on user_wallets (wallet_address);
create index idx_user_wallets_user_id on user_wallets (user_id);
create index idx_user_wallets_hash on user_wallets (wallet_address_hash);
create unique index idx_user_wallets_uid_hash_chain on user_wallets (user_id, wallet_address_hash, chain_id);

create table token_transactions (
  id serial primary key,
  tx_hash text not null,
  chain_id integer not null,
  from_address text not null,
  to_address text not null,
  amount_raw text not null,
  amount_fula real not null,
  block_number bigint not null,
  block_timestamp bigint not null,
  user_email text,
  claimed_at timestamptz,
  ingestion_source text check (ingestion_source in ('cron', 'manual')),
  created_at timestamptz default current_timestamp,
  user_id varchar(64),
  unique (tx_hash, chain_id)
);
create index idx_token_tx_from on token_transactions (from_address);
create index idx_token_tx_user on token_transactions (user_email);
create index idx_token_tx_hash on token_transactions (tx_hash);
create index idx_token_transactions_user_id on token_transactions (user_id);

create table chain_sync_state (
  chain_id integer primary key,
  chain_name text not null,
  last_scanned_block bigint default 0,
  last_scan_at timestamptz,
  is_enabled integer default 1,
  token_address text not null,
  vault_address text not null
);

create table user_credits (
  id serial primary key,
  user_email text,
  balance_fula real default 0,
  total_deposited_fula real default 0,
  total_deducted_fula real default 0,
  last_deduction_at timestamptz,
  is_suspended integer default 0,
  suspended_at timestamptz,
  created_at timestamptz default current_timestamp,
  updated_at timestamptz default current_timestamp,
  user_id varchar(64),
  total_bonus_received_fula real default 0
);
create index idx_user_credits_email on user_credits (user_email);
create index idx_user_credits_suspended on user_credits (is_suspended);
create index idx_user_credits_user_id on user_credits (user_id);
create unique index idx_user_credits_user_id_unique on user_credits (user_id);
create trigger user_credits_updated_at before update on user_credits
  for each row execute function update_updated_at_column();

create table credit_history (
  id serial primary key,
  user_email text,
  tx_type text,
  amount_fula real not null,
  balance_after real not null,
  reference_id text,
  created_at timestamptz default current_timestamp,
  user_id varchar(64),
  constraint credit_history_tx_type_check
    check (tx_type in ('deposit', 'hourly_deduction', 'adjustment', 'referral_bonus'))
);
create index idx_credit_history_email on credit_history (user_email);
create index idx_credit_history_type on credit_history (tx_type);
create index idx_credit_history_user_id on credit_history (user_id);
