import { ENTRIES_IN_SCOPE, type LedgerLook } from "./verify-look.ts";

const CORRECT =
  'find who wrote it (docs/billing.md, "Reading billing verify"); fula-master billing adjust sets it right.';

/** Every balance is what was there before the first entry, and the sum of all entries. */
export const BALANCES: LedgerLook = {
  rules: [
    {
      name: "balances",
      claim: "every balance is its opening balance and the sum of its entries",
      remedy: CORRECT,
    },
  ],
  leftOut: ({ isBounded }) => (isBounded ? "the sum of all entries needs all of them" : null),
  findings: `
    select 'balances' as rule,
           format('account %s (%s): balance %s, but opening balance %s and its entries make %s',
                  id, user_id, balance, opening_fula, opening_fula + amount) as finding
      from (
      select c.id, c.user_id, coalesce(c.balance_fula, 0) as balance, c.opening_fula, coalesce(l.amount, 0) as amount
        from user_credits c
        left join (select user_id, sum(amount_fula) as amount from credit_history where user_id is not null group by user_id) l
          using (user_id)
    ) as sums
     where balance <> opening_fula + amount`,
};

/** Every entry says what the balance was after it, and the newest one says what it is. */
export const RUNNING_BALANCES: LedgerLook = {
  rules: [
    {
      name: "running-balances",
      claim: "every entry's balance_after follows from the entry before it",
      remedy: CORRECT,
    },
    {
      name: "newest-balances",
      claim: "the newest entry's balance_after is the account's balance",
      remedy: CORRECT,
    },
  ],
  findings: `
    select case when is_newest and balance_after = expected then 'newest-balances' else 'running-balances' end as rule,
           case when is_newest and balance_after = expected
                then format('account %s (%s): its balance is %s, but after entry %s, its newest, it was %s',
                            account_id, user_id, balance, id, balance_after)
                else format('entry %s of account %s (%s): balance_after is %s and should be %s',
                            id, account_id, user_id, balance_after, expected)
           end as finding
      from (
      select e.id, e.user_id, c.id as account_id, coalesce(c.balance_fula, 0) as balance, e.balance_after,
             row_number() over newest = 1 as is_newest,
             case when lag(e.id) over oldest is not null
                    -- What a float4 kept before the books were opened does not follow from anything.
                    then case when lag(e.created_at) over oldest >= scope.opened_at
                              then lag(e.balance_after) over oldest + e.amount_fula else e.balance_after end
                  when scope.after_id = 0 and e.created_at >= scope.opened_at then c.opening_fula + e.amount_fula
                  else e.balance_after
             end as expected,
             e.created_at >= scope.opened_at as is_ours
        from (${ENTRIES_IN_SCOPE}) e join user_credits c using (user_id) cross join scope
      window oldest as (partition by e.user_id order by e.id), newest as (partition by e.user_id order by e.id desc)
    ) as entries
     where is_ours and (balance_after <> expected or (is_newest and balance_after <> balance))`,
};

/** The totals of an account are the sums of its entries. Older accounts' totals were kept in float4. */
export const TOTALS: LedgerLook = {
  rules: [
    {
      name: "totals",
      claim:
        "deposited, deducted and bonus totals are the sums of the entries, for accounts made since the books were opened",
      remedy: "the totals are shown to users, nothing is reckoned from them; find who wrote them.",
    },
  ],
  leftOut: ({ isBounded }) => (isBounded ? "the sum of all entries needs all of them" : null),
  findings: `
    select 'totals' as rule,
           format('account %s (%s): deposited %s, deducted %s, bonus %s; its entries make %s, %s, %s',
                  id, user_id, deposited, deducted, bonus, sum_deposited, sum_deducted, sum_bonus) as finding
      from (
      select c.id, c.user_id,
             coalesce(c.total_deposited_fula, 0) as deposited, coalesce(l.deposited, 0) as sum_deposited,
             coalesce(c.total_deducted_fula, 0) as deducted, coalesce(l.deducted, 0) as sum_deducted,
             coalesce(c.total_bonus_received_fula, 0) as bonus, coalesce(l.bonus, 0) as sum_bonus
        from user_credits c
       cross join scope
        left join (
        select user_id,
               sum(amount_fula) filter (where tx_type = 'deposit') as deposited,
               -sum(amount_fula) filter (where tx_type = 'hourly_deduction') as deducted,
               sum(amount_fula) filter (where tx_type = 'referral_bonus') as bonus
          from credit_history where user_id is not null group by user_id
      ) l using (user_id)
       where c.created_at >= scope.opened_at
    ) as sums
     where deposited <> sum_deposited or deducted <> sum_deducted or bonus <> sum_bonus`,
};
