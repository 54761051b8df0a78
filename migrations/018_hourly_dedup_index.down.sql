-- no-transaction
-- Turn BILLING_IDEMPOTENCY off on every master first: its ON CONFLICT fails without this index (42P10).

drop index concurrently if exists idx_credit_history_hourly_dedup;
