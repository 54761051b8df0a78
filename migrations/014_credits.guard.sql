lock table user_wallets, token_transactions, chain_sync_state, user_credits, credit_history in share row exclusive mode;

select 'user_wallets: rows' as what, count(*) as rows from user_wallets
union all
select 'token_transactions: rows', count(*) from token_transactions
union all
select 'chain_sync_state: rows', count(*) from chain_sync_state
union all
select 'user_credits: rows', count(*) from user_credits
union all
select 'credit_history: rows', count(*) from credit_history;
