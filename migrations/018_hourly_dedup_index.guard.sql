-- No row is lost, but the protection of every hour that is billed from now on; refused while somebody bills with it.

select 'protection against charging an hour twice (charges of the last two hours)' as what,
       count(*) as rows
  from credit_history
 where tx_type = 'hourly_deduction'
   and reference_id like 'hour:%'
   and created_at > now() - interval '2 hours';
