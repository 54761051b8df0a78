select format('column %s.%s %s', t, c, split_part(types, '|', 1)) as part,
       exists (
         select from pg_attribute
          where attrelid = to_regclass('public.' || t) and attname = c and not attisdropped
            and format_type(atttypid, atttypmod) = any (string_to_array(types, '|'))
       ) as present
  from (values
    ('user_wallets', 'id', 'integer|bigint'),
    ('user_wallets', 'user_email', 'text'),
    ('user_wallets', 'wallet_address', 'text'),
    ('user_wallets', 'chain_id', 'integer'),
    ('user_wallets', 'is_verified', 'integer'),
    ('user_wallets', 'connected_at', 'timestamp with time zone'),
    ('user_wallets', 'user_id', 'character varying(64)'),
    ('user_wallets', 'wallet_address_hash', 'character varying(64)'),
    ('user_wallets', 'encrypted_wallet_address', 'text'),
    ('token_transactions', 'id', 'integer|bigint'),
    ('token_transactions', 'tx_hash', 'text'),
    ('token_transactions', 'chain_id', 'integer'),
    ('token_transactions', 'from_address', 'text'),
    ('token_transactions', 'to_address', 'text'),
    ('token_transactions', 'amount_raw', 'text'),
    ('token_transactions', 'amount_fula', 'real|numeric(38,18)'),
    ('token_transactions', 'block_number', 'bigint'),
    ('token_transactions', 'block_timestamp', 'bigint'),
    ('token_transactions', 'user_email', 'text'),
    ('token_transactions', 'claimed_at', 'timestamp with time zone'),
    ('token_transactions', 'ingestion_source', 'text'),
    ('token_transactions', 'created_at', 'timestamp with time zone'),
    ('token_transactions', 'user_id', 'character varying(64)'),
    ('chain_sync_state', 'chain_id', 'integer'),
    ('chain_sync_state', 'chain_name', 'text'),
    ('chain_sync_state', 'last_scanned_block', 'bigint'),
    ('chain_sync_state', 'last_scan_at', 'timestamp with time zone'),
    ('chain_sync_state', 'is_enabled', 'integer'),
    ('chain_sync_state', 'token_address', 'text'),
    ('chain_sync_state', 'vault_address', 'text'),
    ('user_credits', 'id', 'integer|bigint'),
    ('user_credits', 'user_email', 'text'),
    ('user_credits', 'balance_fula', 'real|numeric(38,18)'),
    ('user_credits', 'total_deposited_fula', 'real|numeric(38,18)'),
    ('user_credits', 'total_deducted_fula', 'real|numeric(38,18)'),
    ('user_credits', 'last_deduction_at', 'timestamp with time zone'),
    ('user_credits', 'is_suspended', 'integer'),
    ('user_credits', 'suspended_at', 'timestamp with time zone'),
    ('user_credits', 'created_at', 'timestamp with time zone'),
    ('user_credits', 'updated_at', 'timestamp with time zone'),
    ('user_credits', 'user_id', 'character varying(64)'),
    ('user_credits', 'total_bonus_received_fula', 'real|numeric(38,18)'),
    ('credit_history', 'id', 'integer|bigint'),
    ('credit_history', 'user_email', 'text'),
    ('credit_history', 'tx_type', 'text'),
    ('credit_history', 'amount_fula', 'real|numeric(38,18)'),
    ('credit_history', 'balance_after', 'real|numeric(38,18)'),
    ('credit_history', 'reference_id', 'text'),
    ('credit_history', 'created_at', 'timestamp with time zone'),
    ('credit_history', 'user_id', 'character varying(64)')
  ) as wanted (t, c, types)
union all
select 'unique index ' || i, exists (select from pg_index where indexrelid = to_regclass('public.' || i) and indisunique)
  from (values
    ('user_wallets_pkey'),
    ('idx_user_wallets_uid_hash_chain'),
    ('token_transactions_pkey'),
    ('token_transactions_tx_hash_chain_id_key'),
    ('chain_sync_state_pkey'),
    ('user_credits_pkey'),
    ('idx_user_credits_user_id_unique'),
    ('credit_history_pkey')
  ) as wanted (i)
union all
select 'index ' || i, to_regclass('public.' || i) is not null
  from (values
    ('idx_user_wallets_email'),
    ('idx_user_wallets_address'),
    ('idx_user_wallets_user_id'),
    ('idx_user_wallets_hash'),
    ('idx_token_tx_from'),
    ('idx_token_tx_user'),
    ('idx_token_tx_hash'),
    ('idx_token_transactions_user_id'),
    ('idx_user_credits_email'),
    ('idx_user_credits_suspended'),
    ('idx_user_credits_user_id'),
    ('idx_credit_history_email'),
    ('idx_credit_history_type'),
    ('idx_credit_history_user_id')
  ) as wanted (i)
union all
select format('constraint %s on %s', c, t),
       exists (select from pg_constraint where conrelid = to_regclass('public.' || t) and conname = c)
  from (values
    ('token_transactions', 'token_transactions_ingestion_source_check'),
    ('credit_history', 'credit_history_tx_type_check')
  ) as wanted (t, c)
union all
select format('trigger %s on %s', c, t),
       exists (select from pg_trigger where tgrelid = to_regclass('public.' || t) and tgname = c)
  from (values
    ('user_credits', 'user_credits_updated_at')
  ) as wanted (t, c);
