-- Money as numeric(38,18) and 64-bit ids in the ledger.
-- Each table is rewritten once, under ACCESS EXCLUSIVE: reckon with about 10 s per million rows (docs/migrations.md).
-- A float4 becomes the shortest decimal that reads back as that float4, which is what everybody has been shown so far;
-- float4::numeric would cut it to six digits.

-- In the order in which billing takes them, and all before the first row is rewritten: a lock that is not to be had
-- costs nothing, and there is no deadlock in the middle.
lock table user_credits, credit_history, token_transactions, referral_bonuses in access exclusive mode;

do $check$
declare
  amounts constant text := $q$
    select 'user_credits.balance_fula' as place, id, balance_fula as amount from user_credits
    union all select 'user_credits.total_deposited_fula', id, total_deposited_fula from user_credits
    union all select 'user_credits.total_deducted_fula', id, total_deducted_fula from user_credits
    union all select 'user_credits.total_bonus_received_fula', id, total_bonus_received_fula from user_credits
    union all select 'credit_history.amount_fula', id, amount_fula from credit_history
    union all select 'credit_history.balance_after', id, balance_after from credit_history
    union all select 'token_transactions.amount_fula', id, amount_fula from token_transactions
  $q$;
  bad bigint;
  examples text;
begin
  -- numeric(38,18) has 20 digits before the point and no infinity; NaN would poison every sum.
  execute format($q$
    with bad as (select * from (%s) as amounts where amount = 'NaN' or abs(amount) >= 1e20::real)
    select count(*), (select string_agg(format('%%s of row %%s is %%s', place, id, amount), '; ')
                        from (select * from bad order by place, id limit 5) as first)
      from bad$q$, amounts) into bad, examples;
  if bad > 0 then
    raise exception 'Migration 021 aborted: % amount(s) are no amounts of money.', bad
      using detail = format('Found: %s.', examples),
            hint = 'set these amounts right by hand, then run the command again.';
  end if;
end
$check$;

-- The shortest exact decimal text, whatever the role or the server has set.
set local extra_float_digits = 1;

alter table user_credits
  alter column id type bigint,
  alter column balance_fula type numeric(38, 18) using balance_fula::text::numeric,
  alter column total_deposited_fula type numeric(38, 18) using total_deposited_fula::text::numeric,
  alter column total_deducted_fula type numeric(38, 18) using total_deducted_fula::text::numeric,
  alter column total_bonus_received_fula type numeric(38, 18) using total_bonus_received_fula::text::numeric;
alter sequence user_credits_id_seq as bigint;

alter table credit_history
  alter column id type bigint,
  alter column amount_fula type numeric(38, 18) using amount_fula::text::numeric,
  alter column balance_after type numeric(38, 18) using balance_after::text::numeric;
alter sequence credit_history_id_seq as bigint;

-- log_index: the place of the transfer within its transaction, which may hold several. -1 = not recorded, which is
-- what a writer that does not know the column gets.
alter table token_transactions
  alter column id type bigint,
  alter column amount_fula type numeric(38, 18) using amount_fula::text::numeric,
  add column log_index integer not null default -1
    constraint token_transactions_log_index_check check (log_index >= -1);
alter sequence token_transactions_id_seq as bigint;

alter table referral_bonuses
  alter column id type bigint,
  alter column credit_history_id type bigint,
  alter column source_credit_history_id type bigint,
  alter column bonus_amount_fula type numeric(38, 18),
  alter column source_amount_fula type numeric(38, 18);
alter sequence referral_bonuses_id_seq as bigint;
