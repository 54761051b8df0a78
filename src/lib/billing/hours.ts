import { FulaError } from "../kernel/errors.ts";
import { assertFenced, type Fence, fenceCte, fenceValues } from "../postgres/fence.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import { type BillingMode, findBillingMode } from "./billing-mode.ts";
import { formatHour, type Hour, hourFromSql } from "./hour.ts";
import { parseUnits } from "./money.ts";
import { type HourPolicy, policyValues } from "./policy.ts";

/** Who writes a record, and by which right. */
export interface Writer {
  readonly node: string;
  readonly fence: Fence | null;
  /** Accounts in a shard of hours that are opened. Default `DEFAULT_SHARD_ACCOUNTS`. */
  readonly shardAccounts?: number | undefined;
}

/** What is to be billed by the database's clock. */
export interface UnbilledHours {
  /** Over, and neither done nor left out on purpose; ascending. */
  readonly hours: readonly { readonly hour: Hour; readonly isOpen: boolean }[];
  readonly currentHour: Hour;
  /** True where the current hour is one of those that are billed by key, and no record says that it is. */
  readonly isCurrentDue: boolean;
}

/** The record of an hour as far as its end is concerned. */
export interface HourSums {
  readonly state: string;
  readonly users: number;
  readonly sumUnits: bigint;
  readonly conflicts: number;
}

/**
 * Accounts in a shard: few enough that one statement takes a moment and sorts in the memory that PostgreSQL gives by
 * default, many enough that the entries of neighbouring users meet in the pages of the ledger's indexes.
 */
const DEFAULT_SHARD_ACCOUNTS = 10_000;

/**
 * Common table expressions that cut the accounts into shards for the hour that the one named `opened` gives. An hour
 * without accounts has one shard all the same; the last one takes in accounts that are made later.
 */
function shardsCte(accounts: string): string {
  return `bounds as (
        select (place / ${accounts})::integer as shard, account_id
          from (select account_id, row_number() over (order by account_id) - 1 as place from user_usage) as numbered
         where place % ${accounts} = 0
        union all
        select 0, 0 where not exists (select from user_usage)
      ), made as (
        insert into billing_shards (hour, shard, id_from, id_to)
        select opened.hour, shard, case shard when 0 then 0 else account_id end, lead(account_id) over (order by shard)
          from opened, bounds
      )`;
}

/**
 * The hours from the federation's first one on that are over and not yet billed, and those before it that were begun: the
 * first one moves when the mode changes, and whoever was not charged yet by then still owes.
 * @throws FulaError FULA_BILLING_MODE_MIXED where the ledger's mode is not `wanted`, or nobody has set one
 */
export async function unbilledHours(pool: Pool, wanted: BillingMode): Promise<UnbilledHours> {
  await findBillingMode(pool, wanted);
  const { rows } = await runQuery<{ hour: Date; state: string | null; is_current: boolean; is_ours: boolean }>(pool, {
    name: "billing_hours_unbilled",
    text: `
      with clock as materialized (select date_trunc('hour', clock_timestamp(), 'UTC') as hour)
      select h as hour, b.state, h = clock.hour as is_current, h >= m.first_hour as is_ours
        from clock, billing_mode m,
             generate_series(least(m.first_hour, clock.hour), clock.hour, interval '1 hour') as h
        left join billing_hours b on b.hour = h
       where h = clock.hour or (h >= m.first_hour and (b.state is null or b.state = 'open'))
       union all
      select b.hour, b.state, false, false
        from clock, billing_mode m, billing_hours b
       where b.state = 'open' and b.hour < least(m.first_hour, clock.hour)
       order by hour`,
    values: [],
  });
  const current = rows.at(-1);
  if (current === undefined) throw new Error("the current hour is missing among the hours");
  return {
    hours: rows
      .filter((row) => !row.is_current)
      .map((row) => ({ hour: hourFromSql(row.hour), isOpen: row.state !== null })),
    currentHour: hourFromSql(current.hour),
    isCurrentDue: current.is_ours && (current.state === null || current.state === "open"),
  };
}

/**
 * Begins the billing of an hour: writes its record, with what it is charged by, and its shards. Nothing where it has one.
 *
 * The statement itself looks whether it is the hour's turn: a look may be older than what it stands on, where its master
 * slept, the mode was changed, or a standby took over that lacks the newest. An account's watermark passes the hour as
 * soon as this one is charged, and whoever then still owed an earlier one would never be asked for it.
 * @returns false where it is not its turn: an earlier hour is not billed, its usage is not closed, or it has no key
 */
export async function openHour(
  pool: Pool,
  hour: Hour,
  how: { readonly basis: "completed" | "current"; readonly policy: HourPolicy },
  { node, fence, shardAccounts = DEFAULT_SHARD_ACCOUNTS }: Writer,
): Promise<boolean> {
  const { basis, policy } = how;
  const { rows } = await runQuery<{ fenced: boolean; opens: boolean }>(pool, {
    name: "billing_hour_open",
    text: `
      with ${fenceCte(1)}, turn as materialized (
        select from billing_mode m, usage_clock c
         where m.mode = 'keyed' and m.first_hour <= $3::timestamptz
           and ($4::text = 'current' or c.closed_through >= $3::timestamptz)
           and not exists (select from billing_hours b where b.hour < $3::timestamptz and b.state = 'open' and not b.late)
           and not exists (
             select from generate_series(m.first_hour, $3::timestamptz - interval '1 hour', interval '1 hour') as earlier
              where not exists (select from billing_hours b where b.hour = earlier))
      ), opened as (
        insert into billing_hours
               (hour, state, basis, free_tier_bytes, fula_per_gib_month, while_suspended, began_by, began_epoch)
        select $3::timestamptz, 'open', $4::text, $5, $6, $7, $8, $2 from fence, turn
            on conflict (hour) do nothing
        returning hour
      ), ${shardsCte("$9::integer")}
      select exists (select from fence) as fenced,
             exists (select from turn) or exists (select from billing_hours where hour = $3::timestamptz) as opens`,
    values: [...fenceValues(fence), formatHour(hour), basis, ...policyValues(policy), node, shardAccounts],
  });
  assertFenced(rows[0]?.fenced, fence);
  return rows[0]?.opens === true;
}

/**
 * Begins the billing of an hour that was left out, at a price of today or another one.
 * @throws FulaError FULA_BILLING_HOUR where it is not `skipped`
 */
export async function openSkippedHour(
  pool: Pool,
  hour: Hour,
  policy: HourPolicy,
  { node, fence, shardAccounts = DEFAULT_SHARD_ACCOUNTS }: Writer,
): Promise<void> {
  const { rows } = await runQuery<{ fenced: boolean; opened: boolean }>(pool, {
    name: "billing_hour_open_skipped",
    text: `
      with ${fenceCte(1)}, opened as (
        update billing_hours h
           set state = 'open', late = true, free_tier_bytes = $4, fula_per_gib_month = $5, while_suspended = $6,
               began_at = clock_timestamp(), began_by = $7, began_epoch = $2
          from fence
         where h.hour = $3 and h.state = 'skipped'
        returning h.hour
      ), noted as (
        insert into admin_audit_log (actor, action, target_id, details)
        select 'operator@' || $7, 'billing.backfill', to_char(hour at time zone 'UTC', 'YYYY-MM-DD"T"HH24'), '{}' from opened
      ), ${shardsCte("$8::integer")}
      select exists (select from fence) as fenced, exists (select from opened) as opened`,
    values: [...fenceValues(fence), formatHour(hour), ...policyValues(policy), node, shardAccounts],
  });
  assertFenced(rows[0]?.fenced, fence);
  if (rows[0]?.opened === true) return;
  // An hour whose backfill was cut off is gone on with, and so is one that another master has just begun.
  const state = (await readHourSums(pool, hour))?.state ?? null;
  if (state !== "open") throw notSkipped(hour, state);
}

/** Leaves hours out that nobody has opened, with an alert in the same statement. @returns those that this call left out */
export async function skipHours(
  pool: Pool,
  span: { readonly first: Hour; readonly last: Hour },
  policy: HourPolicy,
  { node, fence }: Writer,
): Promise<readonly Hour[]> {
  const { rows } = await runQuery<{ fenced: boolean; hours: Date[] | null }>(pool, {
    name: "billing_hours_skip",
    text: `
      with ${fenceCte(1)}, skipped as (
        insert into billing_hours (hour, state, free_tier_bytes, fula_per_gib_month, while_suspended, began_by,
                                   began_epoch, reason)
        select h, 'skipped', $5, $6, $7, $8, $2, 'longer ago than billing.catchUpHours'
          from fence, generate_series($3::timestamptz, $4::timestamptz, interval '1 hour') as h
            on conflict (hour) do nothing
        returning hour
      ), raised as (
        insert into billing_alerts as standing (kind, subject, details)
        select 'hours-skipped', $9, jsonb_build_object('hours', count(*), 'first', min(hour), 'last', max(hour))
          from skipped having count(*) > 0
            on conflict (kind, subject) where resolved_at is null
            do update set details = excluded.details, last_seen_at = now(), times = standing.times + 1
      )
      select exists (select from fence) as fenced, (select array_agg(hour order by hour) from skipped) as hours`,
    values: [
      ...fenceValues(fence),
      formatHour(span.first),
      formatHour(span.last),
      ...policyValues(policy),
      node,
      `${formatHour(span.first)}/${formatHour(span.last)}`,
    ],
  });
  assertFenced(rows[0]?.fenced, fence);
  return (rows[0]?.hours ?? []).map(hourFromSql);
}

/** Ends the billing of an hour whose shards are all charged: writes down the sums of them. */
export async function completeHour(pool: Pool, hour: Hour, { node, fence }: Writer): Promise<void> {
  const { rows } = await runQuery<{ fenced: boolean }>(pool, {
    name: "billing_hour_complete",
    text: `
      with ${fenceCte(1)}, sums as (
        select sum(users) as users, sum(sum_fula) as sum_fula, sum(conflicts) as conflicts
          from billing_shards where hour = $3 having count(*) = count(done_at)
      ), completed as (
        update billing_hours h
           set state = 'done', ended_at = clock_timestamp(), ended_by = $4, ended_epoch = $2,
               users = sums.users, sum_fula = sums.sum_fula, conflicts = sums.conflicts
          from fence, sums
         where h.hour = $3 and h.state = 'open'
      )
      select exists (select from fence) as fenced`,
    values: [...fenceValues(fence), formatHour(hour), node],
  });
  assertFenced(rows[0]?.fenced, fence);
}

/** Lets alerts about hours that were left out stand for as long as there are such hours. */
export async function settleSkippedAlerts(pool: Pool, by: string): Promise<void> {
  await runQuery(pool, {
    name: "billing_alert_skipped_settle",
    text: `
      update billing_alerts set resolved_at = now(), resolved_by = $1
       where kind = 'hours-skipped' and resolved_at is null
         and not exists (select from billing_hours where state = 'skipped')`,
    values: [by],
  });
}

/** The record of an hour; null where it has none. Of an open one the sums so far. */
export async function readHourSums(pool: Pool, hour: Hour): Promise<HourSums | null> {
  const { rows } = await runQuery<{ state: string; users: string; sum_fula: string; conflicts: string }>(pool, {
    name: "billing_hour_sums",
    text: `
      select h.state, coalesce(sum(s.users), 0) as users, coalesce(sum(s.sum_fula), 0) as sum_fula,
             coalesce(sum(s.conflicts), 0) as conflicts
        from billing_hours h left join billing_shards s using (hour)
       where h.hour = $1 group by h.hour`,
    values: [formatHour(hour)],
  });
  const row = rows[0];
  if (row === undefined) return null;
  return {
    state: row.state,
    users: Number(row.users),
    sumUnits: parseUnits(row.sum_fula),
    conflicts: Number(row.conflicts),
  };
}

function notSkipped(hour: Hour, state: string | null): FulaError {
  const was = state === null ? "has no record" : `is ${state}`;
  return new FulaError("FULA_BILLING_HOUR", `The hour ${formatHour(hour)} was not left out: it ${was}.`, {
    hint: "fula-master billing status names the hours that were.",
    details: { hour: formatHour(hour), state },
  });
}
