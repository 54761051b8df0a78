drop table credit_history;
drop table user_credits;
drop table chain_sync_state;
drop table token_transactions;
drop table user_wallets;
