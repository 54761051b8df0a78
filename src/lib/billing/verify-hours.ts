import { ENTRIES_IN_SCOPE, hourKeySql, type LedgerLook, type VerifyScope } from "./verify-look.ts";

/** Hours have keys only where the federation bills by them. */
export function unlessKeyed({ mode }: VerifyScope): string | null {
  if (mode === "keyed") return null;
  return mode === null ? "nobody has billed yet" : "this federation bills without keys: an hour has no record";
}

/** No hour is missing, none was left out, and none waits for ever. */
export const HOURS: LedgerLook = {
  rules: [
    {
      name: "hours",
      claim: "every hour since billing began is billed or waived",
      remedy:
        "fula-master billing status says why hours wait; fula-master billing backfill bills those that were left out.",
    },
  ],
  leftOut: unlessKeyed,
  findings: `
    select 'hours' as rule,
           case when h.state is null then format('%s is missing: no master has billed it', ${hourKeySql("hour")})
                when h.state = 'skipped' then format('%s was left out: %s', ${hourKeySql("hour")}, coalesce(h.reason, 'no reason is recorded'))
                else format('%s has been open since %s (begun by %s)', ${hourKeySql("hour")}, h.began_at, h.began_by) end as finding
      from scope,
           generate_series(greatest(scope.first_hour, scope.since),
                           greatest(scope.overdue, (select max(b.hour) from billing_hours b)), interval '1 hour') as hour
      left join billing_hours h using (hour)
     where h.state is null
        or h.state = 'skipped'
        or (h.state = 'open' and (hour <= scope.overdue or hour < (select max(b.hour) from billing_hours b)))
    union all
    -- From before the mode was changed: nobody counts them among the hours since, and they are owed all the same.
    select 'hours', format('%s, from before keys were turned off and on, is %s: %s', ${hourKeySql("h.hour")}, h.state, coalesce(h.reason, 'begun by ' || h.began_by))
      from billing_hours h cross join scope
     where h.hour < scope.first_hour and h.hour >= scope.since and h.state in ('open', 'skipped')
    union all
    select 'hours', format('%s is billed, but it is not over yet', ${hourKeySql("h.hour")})
      from billing_hours h cross join scope
     where h.hour >= scope.running_hour and h.basis = 'completed'`,
};

/** What an hour's record says is what the ledger has. */
export const HOUR_RECORDS: LedgerLook = {
  rules: [
    {
      name: "hour-records",
      claim: "the accounts and the sum in each hour's record are those of its entries and of its shards",
      remedy: "compare the hour's entries with the record: somebody changed one of them after the hour was billed.",
    },
  ],
  leftOut: unlessKeyed,
  findings: `
    select 'hour-records' as rule,
           format('%s: the record has %s accounts and %s FULA, the ledger %s and %s',
                  key, users, sum_fula, entries, amount) as finding
      from (
      select h.key, h.users, h.sum_fula, count(e.id) as entries, coalesce(-sum(e.amount_fula), 0) as amount
        from (
        select ${hourKeySql("b.hour")} as key, b.users, b.sum_fula
          from billing_hours b cross join scope where b.state = 'done' and b.hour >= scope.since
      ) h
        -- Entries of other writers have no usage_bytes; they count as conflicts in the record.
        left join (${ENTRIES_IN_SCOPE}) e
          on e.reference_id = h.key and e.tx_type = 'hourly_deduction' and e.usage_bytes is not null
       group by h.key, h.users, h.sum_fula
    ) as compared
     where users <> entries or sum_fula <> amount
    union all
    select 'hour-records', format('%s: the record has %s accounts and %s FULA, its shards %s and %s, %s of them unfinished',
                  key, users, sum_fula, shard_users, shard_sum, unfinished)
      from (
      select ${hourKeySql("h.hour")} as key, h.users, h.sum_fula, sum(s.users) as shard_users, sum(s.sum_fula) as shard_sum,
             count(*) filter (where s.done_at is null) as unfinished
        from billing_hours h cross join scope join billing_shards s using (hour)
       where h.state = 'done' and h.hour >= scope.since
       group by h.hour
    ) as shards
     where unfinished > 0 or users <> shard_users or sum_fula <> shard_sum`,
};

/** Fees have the keys of hours that were billed, and no others. */
export const KEYS: LedgerLook = {
  rules: [
    {
      name: "keys",
      claim: "every fee has the key of an hour that was billed",
      remedy:
        "find who wrote it: software of another mode or age, or a person. fula-master billing adjust gives the amount back.",
    },
  ],
  leftOut: unlessKeyed,
  findings: `
    select 'keys' as rule,
           case when e.reference_id !~ '^hour:\\d{4}-\\d{2}-\\d{2}T\\d{2}$' or e.reference_id is null
                  then format('fee %s of user %s has no key of an hour: %s', e.id, e.user_id, coalesce(quote_literal(e.reference_id), 'null'))
                when e.reference_id collate "C" > ${hourKeySql("scope.running_hour")}
                  then format('fee %s of user %s is for an hour in the future: %s', e.id, e.user_id, e.reference_id)
                when h.state is null
                  then format('fee %s of user %s is for an hour of which there is no record: %s', e.id, e.user_id, e.reference_id)
                else format('fee %s of user %s is for an hour that is %s: %s', e.id, e.user_id, h.state, e.reference_id) end as finding
      from (${ENTRIES_IN_SCOPE}) e
     cross join scope
      left join (select b.state, ${hourKeySql("b.hour")} as key from billing_hours b) h on h.key = e.reference_id
     where e.tx_type = 'hourly_deduction'
       and e.created_at >= scope.opened_at and e.created_at >= scope.mode_since
       and (h.state is null or h.state not in ('open', 'done'))
       and (e.reference_id is null or e.reference_id !~ '^hour:\\d{4}-\\d{2}-\\d{2}T\\d{2}$'
            -- Old software charges the hour that runs, which has no record before it is over.
            or (e.reference_id collate "C" >= ${hourKeySql("scope.first_hour")}
                and not (e.usage_bytes is null and h.state is null
                         and e.reference_id collate "C" <= ${hourKeySql("scope.running_hour")}
                         and e.reference_id collate "C" > coalesce((select max(${hourKeySql("b.hour")} collate "C") from billing_hours b), ''))))`,
};
