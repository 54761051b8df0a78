-- no-transaction
-- The unique keys that statements in use rely on (ON CONFLICT, one credit for one deposit) and that were missing.
-- Built CONCURRENTLY; duplicates are looked for first, all of them, so that one look shows everything to mend.

do $check$
declare
  groups bigint;
  examples text;
begin
  with duplicates as (
    select format('users.user_id %s (rows %s)', user_id, string_agg(id::text, ', ' order by id)) as line
      from users where user_id is not null group by user_id having count(*) > 1
    union all
    select format('users.username %s (rows %s)', username, string_agg(id::text, ', ' order by id))
      from users where username is not null group by username having count(*) > 1
    union all
    select format('deposit %s (rows %s of credit_history)', lower(reference_id), string_agg(id::text, ', ' order by id))
      from credit_history where tx_type = 'deposit' and reference_id is not null
     group by lower(reference_id) having count(*) > 1
  )
  select count(*), (select string_agg(line, '; ') from (select line from duplicates order by line limit 20) as first)
    into groups, examples
    from duplicates;
  if groups > 0 then
    raise exception 'Migration 023 aborted: % key(s) that must be unique are there more than once.', groups
      using detail = format('Duplicates: %s.', examples),
            hint = 'merge the users; of a deposit that was credited twice, take the second credit back with an adjustment and mark its row: update credit_history set reference_id = reference_id || ''#duplicate'' where id = …';
  end if;
end
$check$;

create unique index concurrently if not exists idx_users_user_id_unique on users (user_id);

create unique index concurrently if not exists idx_users_username_unique on users (username);

-- In lower case, because a transaction hash that a user types in may be in any case.
create unique index concurrently if not exists idx_credit_history_deposit_reference
  on credit_history (lower(reference_id))
  where tx_type = 'deposit';

-- Beside UNIQUE (tx_hash, chain_id), which old scanners name in ON CONFLICT and which stays as long as they run.
create unique index concurrently if not exists idx_token_transactions_log
  on token_transactions (tx_hash, chain_id, log_index);
