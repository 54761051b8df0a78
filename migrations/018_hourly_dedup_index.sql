-- no-transaction
-- One hourly deduction per user and hour: the unique index that ON CONFLICT of the hourly billing rests on.
-- Built CONCURRENTLY, so that billing goes on meanwhile; an interrupted build is dropped and built again.

do $check$
declare
  groups bigint;
  examples text;
begin
  with duplicates as (
    select user_id, reference_id, count(*) as copies
      from credit_history
     where tx_type = 'hourly_deduction' and user_id is not null
     group by user_id, reference_id
    having count(*) > 1
  )
  select count(*),
         (select string_agg(format('%s %s (%s rows)', user_id, reference_id, copies), '; ')
            from (select * from duplicates order by copies desc, user_id, reference_id limit 5) as worst)
    into groups, examples
    from duplicates;
  if groups > 0 then
    raise exception 'Migration 018 aborted: % user(s) were charged more than once for one hour.', groups
      using detail = format('Duplicates: %s.', examples),
            hint = 'decide which row of each stays and give the balance back: select * from credit_history where tx_type = ''hourly_deduction'' and (user_id, reference_id) in (…)';
  end if;
end
$check$;

create unique index concurrently if not exists idx_credit_history_hourly_dedup
  on credit_history (user_id, reference_id)
  where tx_type = 'hourly_deduction';
