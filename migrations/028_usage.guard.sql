-- What past hours are billed by cannot be worked out again from the pins.

lock table usage_history in share row exclusive mode;

select 'usage_history: what accounts stored at the end of past hours' as what, count(*) as rows from usage_history;
