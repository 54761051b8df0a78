select format('column %s.%s %s', t, c, split_part(types, '|', 1)) as part,
       exists (
         select from pg_attribute
          where attrelid = to_regclass('public.' || t) and attname = c and not attisdropped
            and format_type(atttypid, atttypmod) = any (string_to_array(types, '|'))
       ) as present
  from (values
    ('blocked_cids', 'id', 'integer|bigint'),
    ('blocked_cids', 'cid', 'text'),
    ('blocked_cids', 'reason', 'text'),
    ('blocked_cids', 'blocked_by', 'character varying(64)'),
    ('blocked_cids', 'created_at', 'timestamp with time zone'),
    ('blocked_cids', 'mode', 'text')
  ) as wanted (t, c, types)
union all
select 'unique index ' || i, exists (select from pg_index where indexrelid = to_regclass('public.' || i) and indisunique)
  from (values
    ('blocked_cids_pkey'),
    ('blocked_cids_cid_key')
  ) as wanted (i)
union all
select 'index ' || i, to_regclass('public.' || i) is not null
  from (values
    ('idx_blocked_cids_created_at')
  ) as wanted (i)
union all
select format('constraint %s on %s', c, t),
       exists (select from pg_constraint where conrelid = to_regclass('public.' || t) and conname = c)
  from (values
    ('blocked_cids', 'blocked_cids_mode_check')
  ) as wanted (t, c);
