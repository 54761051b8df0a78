select format('column %s.%s %s', t, c, split_part(types, '|', 1)) as part,
       exists (
         select from pg_attribute
          where attrelid = to_regclass('public.' || t) and attname = c and not attisdropped
            and format_type(atttypid, atttypmod) = any (string_to_array(types, '|'))
       ) as present
  from (values
    ('users', 'id', 'integer|bigint'),
    ('users', 'username', 'text'),
    ('users', 'password_hash', 'text'),
    ('users', 'pool_id', 'integer'),
    ('users', 'created_at', 'timestamp with time zone'),
    ('users', 'updated_at', 'timestamp with time zone'),
    ('users', 'user_id', 'character varying(64)'),
    ('sessions', 'id', 'integer|bigint'),
    ('sessions', 'username', 'text'),
    ('sessions', 'session_token', 'text'),
    ('sessions', 'created_at', 'timestamp with time zone'),
    ('sessions', 'expires_at', 'timestamp with time zone'),
    ('sessions', 'token_hash', 'character varying(64)'),
    ('sessions', 'user_id', 'character varying(64)'),
    ('pins', 'id', 'integer|bigint'),
    ('pins', 'requestid', 'text'),
    ('pins', 'username', 'text'),
    ('pins', 'cid', 'text'),
    ('pins', 'name', 'text'),
    ('pins', 'name_lowercase', 'text'),
    ('pins', 'origins', 'text'),
    ('pins', 'meta', 'text'),
    ('pins', 'status', 'text'),
    ('pins', 'upload_status', 'text'),
    ('pins', 'remove_status', 'text'),
    ('pins', 'delegates', 'text'),
    ('pins', 'info', 'text'),
    ('pins', 'size', 'bigint'),
    ('pins', 'session_token', 'text'),
    ('pins', 'created_at', 'timestamp with time zone'),
    ('pins', 'updated_at', 'timestamp with time zone'),
    ('pins', 'token_hash', 'character varying(64)'),
    ('pins', 'user_id', 'character varying(64)'),
    ('logins', 'id', 'integer|bigint'),
    ('logins', 'username', 'text'),
    ('logins', 'status', 'text'),
    ('logins', 'ip_address', 'text'),
    ('logins', 'user_agent', 'text'),
    ('logins', 'created_at', 'timestamp with time zone'),
    ('logins', 'user_id', 'character varying(64)')
  ) as wanted (t, c, types)
union all
select 'unique index ' || i, exists (select from pg_index where indexrelid = to_regclass('public.' || i) and indisunique)
  from (values
    ('users_pkey'),
    ('sessions_pkey'),
    ('sessions_session_token_key'),
    ('idx_sessions_token_hash'),
    ('pins_pkey'),
    ('pins_requestid_key'),
    ('logins_pkey')
  ) as wanted (i)
union all
select 'index ' || i, to_regclass('public.' || i) is not null
  from (values
    ('idx_users_username'),
    ('idx_users_user_id'),
    ('idx_sessions_token'),
    ('idx_sessions_username'),
    ('idx_sessions_expires'),
    ('idx_sessions_user_id'),
    ('idx_pins_requestid'),
    ('idx_pins_username'),
    ('idx_pins_cid'),
    ('idx_pins_status'),
    ('idx_pins_name'),
    ('idx_pins_name_lower'),
    ('idx_pins_created'),
    ('idx_pins_username_status'),
    ('idx_pins_username_created'),
    ('idx_pins_session_token'),
    ('idx_pins_token_hash'),
    ('idx_pins_user_id'),
    ('idx_logins_username'),
    ('idx_logins_created'),
    ('idx_logins_status'),
    ('idx_logins_user_id')
  ) as wanted (i)
union all
select format('constraint %s on %s', c, t),
       exists (select from pg_constraint where conrelid = to_regclass('public.' || t) and conname = c)
  from (values
    ('pins', 'pins_status_check'),
    ('logins', 'logins_status_check')
  ) as wanted (t, c)
union all
select format('trigger %s on %s', c, t),
       exists (select from pg_trigger where tgrelid = to_regclass('public.' || t) and tgname = c)
  from (values
    ('users', 'users_updated_at'),
    ('pins', 'pins_updated_at')
  ) as wanted (t, c);
