lock table user_credits, credit_history, token_transactions, referral_bonuses in share row exclusive mode;

select 'user_credits: rows with amounts that would be rounded' as what, count(*) as rows from user_credits
 where balance_fula <> balance_fula::real::text::numeric
    or total_deposited_fula <> total_deposited_fula::real::text::numeric
    or total_deducted_fula <> total_deducted_fula::real::text::numeric
    or total_bonus_received_fula <> total_bonus_received_fula::real::text::numeric
union all
select 'credit_history: rows with amounts that would be rounded' as what, count(*) as rows from credit_history
 where amount_fula <> amount_fula::real::text::numeric or balance_after <> balance_after::real::text::numeric
union all
select 'token_transactions: rows with amounts that would be rounded' as what, count(*) as rows from token_transactions
 where amount_fula <> amount_fula::real::text::numeric
union all
select 'referral_bonuses: rows with amounts that would be rounded' as what, count(*) as rows from referral_bonuses
 where bonus_amount_fula <> round(bonus_amount_fula, 8) or source_amount_fula <> round(source_amount_fula, 8)
union all
select 'token_transactions: rows whose log_index would be dropped', count(*) from token_transactions where log_index <> -1;
