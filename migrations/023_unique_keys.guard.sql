-- No row is lost, but a deposit could be credited twice from then on; refused while deposits come in.

select 'protection against crediting a deposit twice (deposits of the last two hours)' as what,
       count(*) as rows
  from credit_history
 where tx_type = 'deposit'
   and created_at > now() - interval '2 hours';
