select format('column %s.%s %s', t, c, split_part(types, '|', 1)) as part,
       exists (
         select from pg_attribute
          where attrelid = to_regclass('public.' || t) and attname = c and not attisdropped
            and format_type(atttypid, atttypmod) = any (string_to_array(types, '|'))
       ) as present
  from (values
    ('admin_audit_log', 'id', 'integer|bigint'),
    ('admin_audit_log', 'actor', 'text'),
    ('admin_audit_log', 'action', 'text'),
    ('admin_audit_log', 'target_email', 'text'),
    ('admin_audit_log', 'details', 'jsonb'),
    ('admin_audit_log', 'created_at', 'timestamp with time zone'),
    ('admin_audit_log', 'actor_id', 'character varying(64)'),
    ('admin_audit_log', 'target_id', 'character varying(64)')
  ) as wanted (t, c, types)
union all
select 'unique index ' || i, exists (select from pg_index where indexrelid = to_regclass('public.' || i) and indisunique)
  from (values
    ('admin_audit_log_pkey')
  ) as wanted (i)
union all
select 'index ' || i, to_regclass('public.' || i) is not null
  from (values
    ('idx_admin_audit_log_actor'),
    ('idx_admin_audit_log_created_at'),
    ('idx_admin_audit_log_actor_id')
  ) as wanted (i);
