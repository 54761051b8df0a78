import { ENTRIES_IN_SCOPE, type LedgerLook } from "./verify-look.ts";

/** Entries of this version that stand for something else name it; the others are free text of older software. */
const OWN_ENTRIES = `
  select e.*, split_part(e.reference_id, ':', 1) as what,
         case when split_part(e.reference_id, ':', 2) ~ '^\\d{1,18}$' then split_part(e.reference_id, ':', 2)::bigint end as source_id
    from (${ENTRIES_IN_SCOPE}) e
   where e.tx_type in ('adjustment', 'referral_bonus') and e.reference_id ~ '^(adjustment|bonus|reversal):'`;

/** Every bonus, correction and reversal has what it stands for. */
export const CREDITS: LedgerLook = {
  rules: [
    {
      name: "bonuses",
      claim: "every referral bonus belongs to a deposit, and its record has the same amount",
      remedy: "fula-master billing adjust takes back a bonus that nothing was deposited for.",
    },
    {
      name: "adjustments",
      claim: "every correction says who made it and why",
      remedy: "find who wrote it; fula-master billing adjust takes it back.",
    },
    {
      name: "reversals",
      claim: "every reversal takes back exactly what an entry of the same account gave",
      remedy: "fula-master billing adjust corrects the difference.",
    },
  ],
  findings: `
    select 'bonuses' as rule,
           case when b.id is null then format('bonus %s of user %s (%s) has no record of the deposit that it is for', e.id, e.user_id, e.amount_fula)
                when s.tx_type is distinct from 'deposit' or s.id is distinct from e.source_id
                  then format('bonus %s of user %s is for entry %s, which is %s', e.id, e.user_id, e.source_id, coalesce(s.tx_type, 'not in the ledger'))
                else format('bonus %s of user %s is %s; its record says %s for user %s, on a deposit of %s (%s)', e.id, e.user_id, e.amount_fula,
                            b.bonus_amount_fula, b.recipient_user_id, s.amount_fula, b.source_amount_fula) end as finding
      from (${OWN_ENTRIES}) e
      left join referral_bonuses b on b.credit_history_id = e.id
      left join credit_history s on s.id = b.source_credit_history_id
     where e.what = 'bonus'
       and (b.id is null or s.id is null or s.tx_type is distinct from 'deposit' or s.id is distinct from e.source_id
            or b.bonus_amount_fula <> e.amount_fula or b.source_amount_fula <> s.amount_fula or b.recipient_user_id <> e.user_id)
    union all
    select 'adjustments',
           format('entry %s (%s, %s) of user %s has no note of who made it and why', e.id, e.amount_fula, e.reference_id, e.user_id)
      from (${OWN_ENTRIES}) e left join credit_notes n on n.entry_id = e.id
     where e.tx_type = 'adjustment' and n.entry_id is null
    union all
    select 'reversals',
           case when s.id is null then format('entry %s of user %s takes back entry %s, which is not in the ledger', e.id, e.user_id, e.reference_id)
                else format('entry %s takes %s from user %s; entry %s gave %s to user %s', e.id, e.amount_fula, e.user_id, s.id, s.amount_fula, s.user_id) end
      from (${OWN_ENTRIES}) e left join credit_history s on s.id = e.source_id
     where e.what = 'reversal' and (s.id is null or s.user_id is distinct from e.user_id or s.amount_fula <> -e.amount_fula)`,
};
