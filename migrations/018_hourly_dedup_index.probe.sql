-- An INVALID index does not count: it protects nothing and has to be built again.

select 'unique index idx_credit_history_hourly_dedup' as part,
       exists (
         select from pg_index
          where indexrelid = to_regclass('public.idx_credit_history_hourly_dedup')
            and indisvalid and indisunique
       ) as present;
