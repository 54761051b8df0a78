import { unlessKeyed } from "./verify-hours.ts";
import { ENTRIES_IN_SCOPE, hourKeySql, type LedgerLook } from "./verify-look.ts";

/** The fee in units of 10⁻¹⁸ FULA, exact and rounded half to even, reckoned here by whole numbers alone. */
const FEE_OF = `
  select account_id, user_id, key, bytes, knows_who_pays,
         (quotient + case when 2 * rest > divisor or (2 * rest = divisor and mod(quotient, 2) = 1) then 1 else 0 end)
         * 0.000000000000000001 as fee
    from (
    select reckoned.*, div(scaled, divisor) as quotient, mod(scaled, divisor) as rest
      from (
      select s.account_id, a.user_id, h.key, s.bytes, h.knows_who_pays,
             (s.bytes - h.free_tier_bytes) * trunc(h.fula_per_gib_month * 1e18) as scaled, 1073741824::numeric * 720 as divisor
        from segments s
        join hours h on h.hour >= s.from_hour and (s.to_hour is null or h.hour < s.to_hour) and s.bytes > h.free_tier_bytes
        join user_credits a on a.id = s.account_id
       where a.user_id is not null
    ) as reckoned
  ) as divided`;

/**
 * Who had to pay for an hour, and how much: worked out from the history of what everybody stored, by another way than
 * the one that charges.
 */
export const FEES: LedgerLook = {
  rules: [
    {
      name: "charged",
      claim: "whoever stored more than the free tier at the end of a billed hour was charged for it",
      remedy: "fula-master billing adjust charges by hand; tell us how it came about.",
    },
    {
      name: "not-due",
      claim: "nobody was charged who did not store more than the free tier",
      remedy: "fula-master billing adjust gives it back.",
    },
    {
      name: "amounts",
      claim: "every fee is that of the bytes at the hour's end, at the price of that hour, to the last unit",
      remedy:
        "fula-master billing adjust corrects the difference; fula-master billing alerts has hours that other software charged.",
    },
    {
      name: "usage-bytes",
      claim: "every fee says the bytes that were stored at the hour's end",
      remedy: "fula-master billing reconcile says whether usage is right.",
    },
  ],
  leftOut: unlessKeyed,
  findings: `
    select case when d.user_id is null then 'not-due'
                when p.id is null then 'charged'
                when p.amount <> d.fee then 'amounts'
                else 'usage-bytes' end as rule,
           case when d.user_id is null then format('user %s was charged %s for %s (entry %s) and stored no more than the free tier', p.user_id, p.amount, p.key, p.id)
                when p.id is null then format('account %s (%s) was not charged for %s: %s bytes, fee %s', d.account_id, d.user_id, d.key, d.bytes, d.fee)
                when p.amount <> d.fee then format('account %s (%s) was charged %s for %s (entry %s%s), but %s bytes cost %s', d.account_id, d.user_id, p.amount, d.key, p.id,
                                                   case when p.usage_bytes is null then ', by other software' else '' end, d.bytes, d.fee)
                else format('entry %s of account %s (%s) for %s says %s bytes; stored were %s', p.id, d.account_id, d.user_id, d.key, p.usage_bytes, d.bytes) end as finding
      from (
      with hours as materialized (
        select b.hour, ${hourKeySql("b.hour")} as key, b.free_tier_bytes, b.fula_per_gib_month, b.while_suspended = 'accrue' as knows_who_pays
          from billing_hours b cross join scope
         where b.state = 'done' and b.basis = 'completed' and b.hour >= scope.since
      ), segments as (
        select account_id, bytes, hour as from_hour, lead(hour) over (partition by account_id order by hour) as to_hour
          from usage_history
      )
      ${FEE_OF}
    ) d
      full join (
      select e.id, e.user_id, e.reference_id as key, -e.amount_fula as amount, e.usage_bytes
        from (${ENTRIES_IN_SCOPE}) e
       where e.tx_type = 'hourly_deduction' and e.user_id is not null
         and e.reference_id in (select ${hourKeySql("b.hour")} from billing_hours b cross join scope
                                 where b.state = 'done' and b.basis = 'completed' and b.hour >= scope.since)
    ) p on p.user_id = d.user_id and p.key = d.key
     where (d.user_id is null)
        or (p.id is null and d.knows_who_pays and d.fee > 0)
        or p.amount <> d.fee
        or p.usage_bytes <> d.bytes`,
};

/** Two gates keep an hour from being charged twice; the second one is the account's own mark. */
export const WATERMARKS: LedgerLook = {
  rules: [
    {
      name: "watermarks",
      claim: "no account is marked as billed beyond the newest billed hour, and none was charged beyond its mark",
      remedy:
        "a mark that is too high keeps hours from being charged: set user_credits.billed_hour to the account's newest fee.",
    },
  ],
  leftOut: unlessKeyed,
  findings: `
    select 'watermarks' as rule,
           format('account %s (%s) is marked as billed through %s; the newest billed hour is %s', c.id, c.user_id,
                  ${hourKeySql("c.billed_hour")}, coalesce((select ${hourKeySql("max(b.hour)")} from billing_hours b), 'none')) as finding
      from user_credits c
     where c.billed_hour > coalesce((select max(b.hour) from billing_hours b), '-infinity')
    union all
    select 'watermarks', format('account %s (%s) was charged for %s, but is marked as billed through %s only', c.id, c.user_id, newest.key,
                                coalesce(${hourKeySql("c.billed_hour")}, 'no hour'))
      from (
      select e.user_id, max(e.reference_id collate "C") as key
        from (${ENTRIES_IN_SCOPE}) e
        join billing_hours b on ${hourKeySql("b.hour")} = e.reference_id and b.basis = 'completed'
       where e.tx_type = 'hourly_deduction' and e.usage_bytes is not null group by e.user_id
    ) as newest join user_credits c using (user_id)
     where c.billed_hour is null or newest.key > ${hourKeySql("c.billed_hour")} collate "C"`,
};
