import { ENTRIES_IN_SCOPE, type LedgerLook } from "./verify-look.ts";

/** What came in on a chain was credited, once, to whom it belongs; and nothing was credited that did not come in. */
export const DEPOSITS: LedgerLook = {
  rules: [
    {
      name: "deposits",
      claim:
        "every credited transfer has its entry, with its amount and user, and every deposit from a chain its transfer",
      remedy:
        "look the transaction up on its chain; fula-master billing reverse takes a wrong credit back, billing adjust makes up for a missing one.",
    },
  ],
  findings: `
    select 'deposits' as rule,
           case when e.id is null then format('transfer %s (%s FULA) counts as %s, but the ledger has no entry for it', t.reference, t.amount_fula, t.state)
                when t.state = 'credited' and r.id is not null then format('transfer %s counts as credited, but entry %s took it back', t.reference, r.id)
                when t.state = 'reversed' and r.id is null then format('transfer %s counts as taken back, but entry %s stands', t.reference, e.id)
                when t.state not in ('credited', 'reversed') then format('transfer %s is %s, but entry %s credits it', t.reference, t.state, e.id)
                when t.entry_id is distinct from e.id and t.entry_id is not null
                  then format('transfer %s names entry %s; its entry is %s', t.reference, t.entry_id, e.id)
                else format('transfer %s is %s FULA for user %s; entry %s credits %s to user %s', t.reference, t.amount_fula, t.user_id, e.id, e.amount_fula, e.user_id) end as finding
      from token_transactions t
     cross join scope
      left join credit_history e on e.tx_type = 'deposit' and lower(e.reference_id) = t.reference
      left join credit_history r on r.tx_type = 'adjustment' and r.reference_id ~ '^(adjustment|bonus|reversal):'
                                and lower(r.reference_id) = 'reversal:' || e.id
     where (t.state in ('credited', 'reversed') and e.id is null)
        or (e.id is not null and t.state not in ('credited', 'reversed'))
        or (t.state = 'credited' and r.id is not null) or (t.state = 'reversed' and e.id is not null and r.id is null)
        or (t.entry_id is not null and t.entry_id <> e.id)
        or (e.created_at >= scope.opened_at and (e.amount_fula <> t.amount_fula or e.user_id is distinct from t.user_id))
    union all
    select 'deposits', format('entry %s credits %s FULA to user %s for %s, a transfer that nobody saw', e.id, e.amount_fula, e.user_id, e.reference_id)
      from (${ENTRIES_IN_SCOPE}) e
     cross join scope
      left join token_transactions t on t.reference = lower(e.reference_id)
     where e.tx_type = 'deposit' and e.reference_id ~* '^\\d+:0x[0-9a-f]{64}' and e.created_at >= scope.opened_at and t.id is null`,
};
