-- The pins stay; what was stored at the end of past hours is lost.

drop trigger pins_usage_truncate on pins;
drop trigger pins_usage_delete on pins;
drop trigger pins_usage_update on pins;
drop trigger pins_usage_insert on pins;
drop function clear_usage();
drop function keep_usage();
drop function hold_usage_hour();
drop index idx_pins_stored;
drop function pin_counts(text, text, text, bigint);
drop table usage_clock;
drop table stored_contents;
drop table usage_history;
drop table user_usage;
alter table user_credits reset (fillfactor);
