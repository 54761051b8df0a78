select format('column bucket_roots.%s %s', c, type) as part,
       exists (
         select from pg_attribute
          where attrelid = to_regclass('public.bucket_roots') and attname = c and not attisdropped
            and format_type(atttypid, atttypmod) = type
       ) as present
  from (values
    ('owner_id', 'text'),
    ('bucket', 'text'),
    ('root_cid', 'text'),
    ('version', 'bigint'),
    ('updated_at', 'timestamp with time zone')
  ) as wanted (c, type)
union all
select 'primary key bucket_roots_pkey', to_regclass('public.bucket_roots_pkey') is not null;
