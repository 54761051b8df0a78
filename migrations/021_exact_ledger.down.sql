-- Back to float4 and 32-bit ids: amounts keep the six to nine digits that a float4 holds.

lock table user_credits, credit_history, token_transactions, referral_bonuses in access exclusive mode;

do $$
declare
  too_wide text;
begin
  select string_agg(format('%s (%s)', place, highest), ', ') into too_wide
    from (
    select 'user_credits', max(id) from user_credits
    union all select 'credit_history', max(id) from credit_history
    union all select 'token_transactions', max(id) from token_transactions
    union all select 'referral_bonuses', max(id) from referral_bonuses
  ) as ids (place, highest)
   where highest > 2147483647;
  if too_wide is not null then
    raise exception 'Revert 021 aborted: ids do not fit into 32 bits any more: %.', too_wide;
  end if;
end
$$;

alter table referral_bonuses
  alter column id type integer,
  alter column credit_history_id type integer,
  alter column source_credit_history_id type integer,
  alter column bonus_amount_fula type numeric(30, 8),
  alter column source_amount_fula type numeric(30, 8);
alter sequence referral_bonuses_id_seq as integer;

alter table token_transactions
  alter column id type integer,
  alter column amount_fula type real,
  drop column log_index;
alter sequence token_transactions_id_seq as integer;

alter table credit_history
  alter column id type integer,
  alter column amount_fula type real,
  alter column balance_after type real;
alter sequence credit_history_id_seq as integer;

alter table user_credits
  alter column id type integer,
  alter column balance_fula type real,
  alter column total_deposited_fula type real,
  alter column total_deducted_fula type real,
  alter column total_bonus_received_fula type real;
alter sequence user_credits_id_seq as integer;
