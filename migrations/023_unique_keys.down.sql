-- no-transaction

drop index concurrently if exists idx_token_transactions_log;
drop index concurrently if exists idx_credit_history_deposit_reference;
drop index concurrently if exists idx_users_username_unique;
drop index concurrently if exists idx_users_user_id_unique;
