select format('column %s.%s %s', t, c, split_part(types, '|', 1)) as part,
       exists (
         select from pg_attribute
          where attrelid = to_regclass('public.' || t) and attname = c and not attisdropped
            and format_type(atttypid, atttypmod) = any (string_to_array(types, '|'))
       ) as present
  from (values
    ('x402_payment_logs', 'id', 'integer|bigint'),
    ('x402_payment_logs', 'payment_id', 'text'),
    ('x402_payment_logs', 'wallet', 'text'),
    ('x402_payment_logs', 'tx_hash', 'text'),
    ('x402_payment_logs', 'amount_raw', 'text'),
    ('x402_payment_logs', 'amount_usdc', 'real|numeric(38,18)'),
    ('x402_payment_logs', 'network', 'text'),
    ('x402_payment_logs', 'bucket', 'text'),
    ('x402_payment_logs', 'object_key', 'text'),
    ('x402_payment_logs', 'size_bytes', 'bigint'),
    ('x402_payment_logs', 'size_mb', 'real'),
    ('x402_payment_logs', 'ttl_seconds', 'integer'),
    ('x402_payment_logs', 'status', 'text'),
    ('x402_payment_logs', 'verified_at', 'timestamp with time zone'),
    ('x402_payment_logs', 'settled_at', 'timestamp with time zone'),
    ('x402_payment_logs', 'error_message', 'text'),
    ('x402_payment_logs', 'created_at', 'timestamp with time zone'),
    ('x402_ephemeral_objects', 'id', 'integer|bigint'),
    ('x402_ephemeral_objects', 'bucket', 'text'),
    ('x402_ephemeral_objects', 'object_key', 'text'),
    ('x402_ephemeral_objects', 'wallet', 'text'),
    ('x402_ephemeral_objects', 'size_bytes', 'bigint'),
    ('x402_ephemeral_objects', 'size_mb', 'real'),
    ('x402_ephemeral_objects', 'payment_id', 'text'),
    ('x402_ephemeral_objects', 'expires_at', 'timestamp with time zone'),
    ('x402_ephemeral_objects', 'deleted', 'integer'),
    ('x402_ephemeral_objects', 'deleted_at', 'timestamp with time zone'),
    ('x402_ephemeral_objects', 'delete_error', 'text'),
    ('x402_ephemeral_objects', 'created_at', 'timestamp with time zone'),
    ('x402_ephemeral_objects', 'delete_attempts', 'integer'),
    ('x402_gateway_stats', 'id', 'integer|bigint'),
    ('x402_gateway_stats', 'stat_date', 'date'),
    ('x402_gateway_stats', 'total_requests', 'integer'),
    ('x402_gateway_stats', 'total_payments', 'integer'),
    ('x402_gateway_stats', 'total_settled', 'integer'),
    ('x402_gateway_stats', 'total_failed', 'integer'),
    ('x402_gateway_stats', 'total_bytes_uploaded', 'bigint'),
    ('x402_gateway_stats', 'total_usdc_received', 'real|numeric(38,18)'),
    ('x402_gateway_stats', 'created_at', 'timestamp with time zone'),
    ('x402_gateway_stats', 'updated_at', 'timestamp with time zone')
  ) as wanted (t, c, types)
union all
select 'unique index ' || i, exists (select from pg_index where indexrelid = to_regclass('public.' || i) and indisunique)
  from (values
    ('x402_payment_logs_pkey'),
    ('x402_payment_logs_payment_id_key'),
    ('x402_ephemeral_objects_pkey'),
    ('x402_ephemeral_objects_bucket_object_key_key'),
    ('x402_gateway_stats_pkey'),
    ('x402_gateway_stats_stat_date_key')
  ) as wanted (i)
union all
select 'index ' || i, to_regclass('public.' || i) is not null
  from (values
    ('idx_x402_payment_logs_wallet'),
    ('idx_x402_payment_logs_tx_hash'),
    ('idx_x402_payment_logs_status'),
    ('idx_x402_payment_logs_created'),
    ('idx_x402_ephemeral_bucket_key'),
    ('idx_x402_ephemeral_wallet'),
    ('idx_x402_ephemeral_expires'),
    ('idx_x402_ephemeral_deleted'),
    ('idx_x402_ephemeral_payment'),
    ('idx_x402_gateway_stats_date')
  ) as wanted (i)
union all
select format('constraint %s on %s', c, t),
       exists (select from pg_constraint where conrelid = to_regclass('public.' || t) and conname = c)
  from (values
    ('x402_payment_logs', 'x402_payment_logs_status_check'),
    ('x402_ephemeral_objects', 'fk_ephemeral_payment_id')
  ) as wanted (t, c)
union all
select format('trigger %s on %s', c, t),
       exists (select from pg_trigger where tgrelid = to_regclass('public.' || t) and tgname = c)
  from (values
    ('x402_gateway_stats', 'x402_gateway_stats_updated_at')
  ) as wanted (t, c);
