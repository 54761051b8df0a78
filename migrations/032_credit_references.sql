-- no-transaction
-- One entry for each reference of an adjustment, a referral bonus or a reversal, as 018 has it for fees and 023 for
-- deposits: with it every entry that this version writes can be applied once only. Entries of other writers, whose
-- references are free text, are left alone. Built CONCURRENTLY, so that billing goes on meanwhile.

do $check$
declare
  groups bigint;
  examples text;
begin
  with duplicates as (
    select format('%s (rows %s of credit_history)', lower(reference_id), string_agg(id::text, ', ' order by id)) as line
      from credit_history
     where tx_type in ('adjustment', 'referral_bonus') and reference_id ~ '^(adjustment|bonus|reversal):'
     group by lower(reference_id)
    having count(*) > 1
  )
  select count(*), (select string_agg(line, '; ') from (select line from duplicates order by line limit 20) as first)
    into groups, examples
    from duplicates;
  if groups > 0 then
    raise exception 'Migration 032 aborted: % reference(s) that must be unique are there more than once.', groups
      using detail = format('Duplicates: %s.', examples),
            hint = 'find out which entry of each is the right one, take the others back with an adjustment and mark their rows: update credit_history set reference_id = ''duplicate-'' || reference_id where id = …';
  end if;
end
$check$;

-- In lower case, as those of deposits: a key that an operator types in again may be in another case.
create unique index concurrently if not exists idx_credit_history_own_reference
  on credit_history (lower(reference_id))
  where tx_type in ('adjustment', 'referral_bonus') and reference_id ~ '^(adjustment|bonus|reversal):';
