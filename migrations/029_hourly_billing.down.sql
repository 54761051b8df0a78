-- The fees stay in the ledger; the record of which hours were billed, by whom and how, is lost.

drop trigger credit_history_keyed_refused on credit_history;
drop trigger credit_history_unkeyed_refused on credit_history;
drop function refuse_other_billing_mode();
drop table billing_alerts;
drop table billing_shards;
drop table billing_hours;
drop function hourly_fee(bigint, bigint, numeric);
drop table billing_mode;
alter table credit_history drop column usage_bytes;
alter table user_credits drop column opening_fula, drop column billed_hour;
