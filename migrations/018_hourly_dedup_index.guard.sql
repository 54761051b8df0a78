-- No row is lost, but the protection of every hour that is billed from now on; refused while somebody bills with it.

select 'hours billed in the last two hours under the protection of idx_credit_history_hourly_dedup' as what,
       count(*) as rows
  from credit_history
 where tx_type = 'hourly_deduction'
   and reference_id like 'hour:%'
   and created_at > now() - interval '2 hours';
