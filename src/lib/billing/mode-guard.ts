import { FulaError } from "../kernel/errors.ts";
import { lockHolderNames, tryLockAlone, unlockShared } from "../postgres/advisory-lock.ts";
import type { TransactionClient } from "../postgres/transaction.ts";
import type { BillingMode } from "./billing-mode.ts";

/** Session locks that each serving master holds shared: who holds one serves, and bills in that mode. */
const MODE_LOCKS: Readonly<Record<BillingMode, bigint>> = { keyed: 815_551_003n, unkeyed: 815_551_004n };
/** The trigger that refuses fees of the other mode, from whatever software. */
const REFUSING: Readonly<Record<BillingMode, string>> = {
  keyed: "credit_history_unkeyed_refused",
  unkeyed: "credit_history_keyed_refused",
};
/** Enabling a trigger waits for writers of the ledger, and new ones wait for it. */
const LOCK_TIMEOUT_MS = 10_000;

function otherThan(mode: BillingMode): BillingMode {
  return mode === "keyed" ? "unkeyed" : "keyed";
}

/**
 * The first hour that is billed by key from now on: the running one, but none that the ledger has fees of by key, nor one
 * in which fees without keys were written. Keys of the future, which nobody can have written rightly, do not count.
 */
const FIRST_HOUR = `
  select greatest(
    date_trunc('hour', clock_timestamp(), 'UTC'),
    (select to_timestamp(max(substr(reference_id, 6)), 'YYYY-MM-DD"T"HH24') + interval '1 hour'
       from credit_history
      where tx_type = 'hourly_deduction' and reference_id ~ '^hour:\\d{4}-\\d{2}-\\d{2}T\\d{2}$'
        and reference_id <= 'hour:' || to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24')),
    (select date_trunc('hour', clock_timestamp(), 'UTC') + interval '1 hour'
      where exists (
        select from credit_history
         where tx_type = 'hourly_deduction' and (reference_id like 'hour:%') is not true
           and created_at >= date_trunc('hour', clock_timestamp(), 'UTC')))
  )`;

async function enableTriggers(client: TransactionClient, mode: BillingMode): Promise<void> {
  const { rows } = await client.query<{ name: string; is_enabled: boolean }>(
    `select tgname as name, tgenabled <> 'D' as is_enabled from pg_trigger
      where tgrelid = 'credit_history'::regclass and tgname = any ($1)`,
    [Object.values(REFUSING)],
  );
  for (const { name, is_enabled: isEnabled } of rows) {
    const isWanted = name === REFUSING[mode];
    if (isWanted !== isEnabled) {
      await client.query(`alter table credit_history ${isWanted ? "enable" : "disable"} trigger ${name}`);
    }
  }
}

/**
 * Leaves out the hours that are over and not begun, with an alert: once keys are on again the first hour is a later one,
 * and nobody would ask for these any more. Their price is written by whoever bills them after all.
 */
async function leaveOutUnbilled(client: TransactionClient, node: string): Promise<void> {
  await client.query(
    `with skipped as (
       insert into billing_hours (hour, state, free_tier_bytes, fula_per_gib_month, began_by, reason)
       select h, 'skipped', coalesce(newest.free_tier_bytes, 0), coalesce(newest.fula_per_gib_month, 0), $1,
              'not billed when keys were turned off'
         from billing_mode m
         left join (select free_tier_bytes, fula_per_gib_month from billing_hours order by hour desc limit 1) as newest on true,
              generate_series(m.first_hour, date_trunc('hour', clock_timestamp()) - interval '1 hour', interval '1 hour') as h
        where m.mode = 'keyed'
           on conflict (hour) do nothing
       returning hour
     )
     insert into billing_alerts as standing (kind, subject, details)
     select 'hours-skipped', 'mode/' || to_char(min(hour), 'YYYY-MM-DD"T"HH24'),
            jsonb_build_object('hours', count(*), 'first', min(hour), 'last', max(hour))
       from skipped having count(*) > 0
         on conflict (kind, subject) where resolved_at is null
         do update set details = excluded.details, last_seen_at = now(), times = standing.times + 1`,
    [node],
  );
}

async function writeMode(client: TransactionClient, mode: BillingMode, node: string): Promise<void> {
  // Hours are UTC whatever time zone the session has.
  await client.query("set local time zone 'UTC'");
  if (mode === "unkeyed") await leaveOutUnbilled(client, node);
  await client.query(
    `insert into billing_mode (mode, first_hour, changed_by) values ($1, (${FIRST_HOUR}), $2)
         on conflict (only_row) do update
         set mode = excluded.mode, changed_at = now(), changed_by = excluded.changed_by,
             first_hour = greatest(excluded.first_hour, billing_mode.first_hour)`,
    [mode, node],
  );
}

function mixed(wanted: BillingMode, serving: readonly string[]): FulaError {
  const mode = otherThan(wanted);
  return new FulaError(
    "FULA_BILLING_MODE_MIXED",
    `The federation bills ${mode}, as ${serving.length === 0 ? "another master does" : `do ${serving.join(", ")}`}; this master would bill ${wanted}.`,
    {
      hint: `set BILLING_IDEMPOTENCY=${mode === "keyed"} here; to change all of them, stop every master first.`,
      details: { mode, wanted, serving },
    },
  );
}

/**
 * Joins where the ledger is as wanted already, which it is at every start but the first: without a lock that masters would
 * wait for in turn, and one that is cut off in the middle would keep from all others.
 */
async function joinAsItIs(client: TransactionClient, wanted: BillingMode): Promise<boolean> {
  const lock = [MODE_LOCKS[wanted].toString()];
  // Held first and read second: whoever changes the mode away from it takes this lock for himself alone.
  await client.query("select pg_advisory_lock_shared($1)", lock);
  const { rows } = await client.query<{ is_wanted: boolean }>(
    `select exists (select from billing_mode where mode = $1)
            and not exists (select from pg_trigger
                             where tgrelid = 'credit_history'::regclass and tgname = any ($2)
                               and (tgenabled <> 'D') <> (tgname = $3)) as is_wanted`,
    [wanted, Object.values(REFUSING), REFUSING[wanted]],
  );
  if (rows[0]?.is_wanted === true) return true;
  await client.query("select pg_advisory_unlock_shared($1)", lock);
  return false;
}

/** Writes down the mode where it is another one and nobody else serves in that, until the transaction's end. */
async function changeMode(client: TransactionClient, wanted: BillingMode, node: string): Promise<void> {
  const other = otherThan(wanted);
  // Masters that start at the same time decide one after the other; there may be no row to lock yet.
  await client.query("lock table billing_mode in share row exclusive mode");
  const { rows } = await client.query<{ mode: BillingMode }>("select mode from billing_mode");
  if (rows[0]?.mode !== wanted) {
    if (!(await tryLockAlone(client, MODE_LOCKS[other])))
      throw mixed(wanted, await lockHolderNames(client, MODE_LOCKS[other]));
    await writeMode(client, wanted, node);
  }
  await enableTriggers(client, wanted);
}

/**
 * Joins the masters that bill in a mode, for as long as this session lives. The first master of all writes the mode down;
 * one that wants the other mode may change it while nobody else serves, from the next hour on that has no fee yet. Hours
 * that still wait when keys are turned off are left out, for `billing backfill`.
 * The triggers that refuse fees of the other mode change in the same transaction.
 * @throws FulaError FULA_BILLING_MODE_MIXED where others serve in the other mode; what the driver throws
 */
export async function assertBillingMode(client: TransactionClient, wanted: BillingMode, node: string): Promise<void> {
  if (!(await joinAsItIs(client, wanted))) {
    await client.query("begin");
    try {
      await client.query(`set local lock_timeout = ${LOCK_TIMEOUT_MS}`);
      await client.query("set local statement_timeout = 0");
      await changeMode(client, wanted, node);
      await client.query("select pg_advisory_lock_shared($1)", [MODE_LOCKS[wanted].toString()]);
      await client.query("commit");
    } catch (error) {
      await client.query("rollback");
      throw error;
    }
  }
  await unlockShared(client, MODE_LOCKS[otherThan(wanted)]);
}
