-- No row is lost, but a deposit could be credited twice from then on; refused while deposits come in.

select 'deposits credited in the last two hours under the protection of idx_credit_history_deposit_reference' as what,
       count(*) as rows
  from credit_history
 where tx_type = 'deposit'
   and created_at > now() - interval '2 hours';
