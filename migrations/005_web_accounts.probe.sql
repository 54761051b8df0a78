select format('column %s.%s %s', t, c, split_part(types, '|', 1)) as part,
       exists (
         select from pg_attribute
          where attrelid = to_regclass('public.' || t) and attname = c and not attisdropped
            and format_type(atttypid, atttypmod) = any (string_to_array(types, '|'))
       ) as present
  from (values
    ('webui_users', 'id', 'integer|bigint'),
    ('webui_users', 'email', 'text'),
    ('webui_users', 'name', 'text'),
    ('webui_users', 'picture', 'text'),
    ('webui_users', 'created_at', 'timestamp with time zone'),
    ('webui_users', 'last_login_at', 'timestamp with time zone'),
    ('webui_users', 'total_upload_size', 'bigint'),
    ('webui_users', 'app_downloaded', 'integer'),
    ('webui_users', 'app_downloaded_at', 'timestamp with time zone'),
    ('webui_users', 'company', 'text'),
    ('webui_users', 'user_id', 'character varying(64)'),
    ('webui_users', 'encrypted_email', 'text'),
    ('api_keys', 'id', 'integer|bigint'),
    ('api_keys', 'key_id', 'text'),
    ('api_keys', 'user_email', 'text'),
    ('api_keys', 'created_at', 'timestamp with time zone'),
    ('api_keys', 'last_used_at', 'timestamp with time zone'),
    ('api_keys', 'is_deleted', 'integer'),
    ('api_keys', 'deleted_at', 'timestamp with time zone'),
    ('api_keys', 'encrypted_key', 'text'),
    ('api_keys', 'user_id', 'character varying(64)'),
    ('api_keys', 'key_hash', 'character varying(64)')
  ) as wanted (t, c, types)
union all
select 'unique index ' || i, exists (select from pg_index where indexrelid = to_regclass('public.' || i) and indisunique)
  from (values
    ('webui_users_pkey'),
    ('idx_webui_users_user_id_unique'),
    ('api_keys_pkey'),
    ('api_keys_key_id_key'),
    ('idx_api_keys_key_hash')
  ) as wanted (i)
union all
select 'index ' || i, to_regclass('public.' || i) is not null
  from (values
    ('idx_webui_users_user_id'),
    ('idx_api_keys_user_email'),
    ('idx_api_keys_key_id'),
    ('idx_api_keys_user_id')
  ) as wanted (i)
union all
select format('constraint %s on %s', c, t),
       exists (select from pg_constraint where conrelid = to_regclass('public.' || t) and conname = c)
  from (values
    ('api_keys', 'fk_api_keys_user_id')
  ) as wanted (t, c);
