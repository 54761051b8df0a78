-- no-transaction

drop index concurrently if exists idx_credit_history_own_reference;
