-- No row is lost, but a correction could be applied twice from then on; refused while corrections are made.

select 'protection against applying a correction twice (corrections of the last two hours)' as what,
       count(*) as rows
  from credit_history
 where tx_type in ('adjustment', 'referral_bonus')
   and reference_id ~ '^(adjustment|bonus|reversal):'
   and created_at > now() - interval '2 hours';
