import { runDeduction } from "../billing/deduction.ts";
import type { DeductionDeps, HourOutcome } from "../billing/deduction-report.ts";
import { billingModeOf } from "../billing/billing-mode.ts";
import { billingSwitch } from "../billing/billing-switch.ts";
import { formatHour, type Hour, parseHour } from "../billing/hour.ts";
import { unbilledHours } from "../billing/hours.ts";
import { backfillHour, notWaived, skippedHours, waiveHours } from "../billing/late-hours.ts";
import { estimateHour, planWaiver } from "../billing/hour-plans.ts";
import { assertBillingMode } from "../billing/mode-guard.ts";
import { formatUnits } from "../billing/money.ts";
import { policyOf } from "../billing/policy.ts";
import type { LoadedConfig } from "../config/load.ts";
import { FulaError } from "../kernel/errors.ts";
import { silentLog } from "../kernel/log.ts";
import { type LeaseRecord, readLease } from "../lease/lease-record.ts";
import { describeSession } from "../postgres/advisory-lock.ts";
import type { Pool } from "../postgres/pool.ts";
import type { Fence } from "../postgres/fence.ts";
import { openSession } from "../postgres/session.ts";
import { type BillingContext, withBillingLedger } from "./billing-ledger.ts";
import { underLease } from "./billing-lease.ts";
import { operatorOf } from "./credit-run.ts";

/** What became, or would become, of one hour. FULA as decimal text. */
export interface HourLine {
  readonly hour: string;
  readonly state: HourOutcome["state"] | "waiting" | "waived";
  readonly users: number | null;
  readonly sumFula: string | null;
}

/** What `billing run --json`, `billing backfill --json` and `billing waive --json` print. */
export interface HoursReport {
  readonly dryRun: boolean;
  readonly hours: readonly HourLine[];
  /** Why something is left, or nothing was done; null where all is done. */
  readonly waitingFor: string | null;
}

function outcomeLine({ hour, state, users, sumUnits }: HourOutcome): HourLine {
  return { hour: formatHour(hour), state, users, sumFula: formatUnits(sumUnits) };
}

function depsOf(
  pool: Pool,
  { config }: LoadedConfig,
  { clock, random, signal }: BillingContext,
  onHour?: (hour: string) => void,
): Omit<DeductionDeps, "fence"> {
  return {
    pool,
    log: silentLog,
    clock,
    random,
    signal,
    node: config.node.name,
    settings: config.billing,
    onProgress: ({ hour }) => onHour?.(formatHour(hour)),
  };
}

async function waitingLines(pool: Pool): Promise<readonly HourLine[]> {
  const { hours } = await unbilledHours(pool, billingModeOf(true));
  return hours.map(({ hour }) => ({ hour: formatHour(hour), state: "waiting", users: null, sumFula: null }));
}

/** The right of `serve` on this box, which a command here may use beside it: both share the work of an hour. */
function fenceOfServe({ standing, holder, epoch }: LeaseRecord, node: string): Fence | null {
  return standing === "held" && holder === node ? { holder, epoch } : null;
}

/**
 * One look for unbilled hours, now: under the lease of `serve` on this box where that holds it, else under one of its own.
 * @throws FulaError FULA_LEASE_HELD where another master holds it, FULA_BILLING_UNKEYED where the settings bill without
 * keys, and what `runDeduction` throws
 */
export async function runBillingLook(context: BillingContext, dryRun: boolean): Promise<HoursReport> {
  return await withBillingLedger(context, async (pool, loaded, ledger) => {
    const { billing, node } = loaded.config;
    if (!billing.idempotency) throw unkeyed();
    const { mode } = await readMode(pool, loaded, dryRun);
    // Before the first master serves with billing on no hour waits, and no command begins to bill by accident.
    if (mode === null && (dryRun || !billingSwitch(billing).isOn)) return { dryRun, hours: [], waitingFor: null };
    if (dryRun) return { dryRun, hours: await waitingLines(pool), waitingFor: null };
    const look = async (fence: Fence | null, signal: AbortSignal): Promise<HoursReport> => {
      const report = await runDeduction({ ...depsOf(pool, loaded, { ...context, signal }), fence });
      return { dryRun, hours: report.hours.map(outcomeLine), waitingFor: report.waitingFor };
    };
    const lease = await readLease(pool);
    const shared = fenceOfServe(lease, node.name);
    if (shared !== null) return await look(shared, context.signal);
    if (billing.cronLeaderLease && lease.standing !== "free") throw leaseHeld(lease);
    return await underLease({ context, loaded, connection: ledger.connection }, look);
  });
}

function unkeyed(): FulaError {
  return new FulaError(
    "FULA_BILLING_UNKEYED",
    "The settings of this master bill without keys: no hour waits, and a run now would charge everybody once more. Nothing was done.",
    { hint: "serve charges by itself, once each billing.deductionIntervalMs; fula-master billing mode says more." },
  );
}

function leaseHeld(lease: LeaseRecord): FulaError {
  const who = lease.holder ?? describeSession(lease.session);
  return new FulaError("FULA_LEASE_HELD", `${who} holds the cron lease and bills. Nothing was done.`, {
    hint: "run the command there, or stop that master first; fula-master billing status says how far it is.",
    details: { holder: who, epoch: lease.epoch.toString() },
  });
}

/** What `billing backfill` is given: hours as an operator writes them, both of them meant. */
export interface BackfillOptions {
  readonly from: string | undefined;
  readonly to: string | undefined;
  readonly dryRun: boolean;
  readonly onHour?: (hour: string) => void;
}

/**
 * Bills hours that were left out, in order, at the price of the settings; a dry run reckons what that would come to. It
 * needs no lease: shards and the ledger's index let any number of masters share an hour.
 * @throws FulaError FULA_HOUR_INVALID, FULA_BILLING_HOUR where none of them was left out, and what `backfillHour` throws
 */
export async function runBackfill(context: BillingContext, options: BackfillOptions): Promise<HoursReport> {
  const first = options.from === undefined ? Number.NEGATIVE_INFINITY : parseHour(options.from);
  const last = options.to === undefined ? Number.POSITIVE_INFINITY : parseHour(options.to);
  return await withBillingLedger(context, async (pool, loaded) => {
    const wanted = (await skippedHours(pool)).filter((hour) => hour >= first && hour <= last);
    if (wanted.length === 0 && (options.from !== undefined || options.to !== undefined)) {
      throw new FulaError("FULA_BILLING_HOUR", "None of these hours was left out. Nothing was done.", {
        hint: "fula-master billing status names the hours that were.",
      });
    }
    const hours: HourLine[] = [];
    for (const hour of wanted) {
      context.signal.throwIfAborted();
      hours.push(
        options.dryRun
          ? await estimateLine(pool, loaded, hour)
          : outcomeLine(await backfillHour({ ...depsOf(pool, loaded, context, options.onHour), fence: null }, hour)),
      );
    }
    return { dryRun: options.dryRun, hours, waitingFor: null };
  });
}

async function estimateLine(pool: Pool, { config }: LoadedConfig, hour: Hour): Promise<HourLine> {
  const { users, sumUnits } = await estimateHour(pool, hour, policyOf(config.billing));
  return { hour: formatHour(hour), state: "waiting", users, sumFula: formatUnits(sumUnits) };
}

function waivedLine(hour: Hour): HourLine {
  return { hour: formatHour(hour), state: "waived", users: null, sumFula: null };
}

/** What `billing waive` is given. */
export interface WaiveOptions {
  readonly from: string;
  readonly to: string;
  readonly reason: string | undefined;
  readonly operator: string | undefined;
  readonly dryRun: boolean;
}

/**
 * Decides that nobody pays for some hours. @throws FulaError FULA_USAGE without a reason, FULA_HOUR_INVALID,
 * FULA_BILLING_HOUR where one of them runs or is billed: nothing is done then
 */
export async function runWaive(context: BillingContext, options: WaiveOptions): Promise<HoursReport> {
  const [first, last] = [parseHour(options.from), parseHour(options.to)];
  if (first > last) {
    throw new FulaError("FULA_USAGE", `${options.from} is after ${options.to}.`, {
      hint: "give the first hour, then the last; both are waived.",
    });
  }
  return await withBillingLedger(context, async (pool, loaded) => {
    const { reason, operator } = operatorOf("billing waive", options, context, loaded);
    if (options.dryRun) {
      const { hours, refused } = await planWaiver(pool, first, last);
      if (refused !== null) throw notWaived(refused.hour, refused.state);
      return { dryRun: true, hours: hours.map(waivedLine), waitingFor: null };
    }
    const policy = policyOf(loaded.config.billing);
    const waived = await waiveHours(pool, { first, last, reason, operator, fence: null }, policy);
    return { dryRun: false, hours: waived.map(waivedLine), waitingFor: null };
  });
}

/** What `billing mode --json` prints. */
export interface ModeReport {
  readonly dryRun: boolean;
  /** How the ledger is billed now; null where nobody has billed yet. */
  readonly mode: "keyed" | "unkeyed" | null;
  /** RFC 3339, UTC. */
  readonly firstHour: string | null;
  readonly changedAt: string | null;
  readonly changedBy: string | null;
  /** How this box's settings would bill. */
  readonly setting: "keyed" | "unkeyed";
}

async function readMode(pool: Pool, { config }: LoadedConfig, dryRun: boolean): Promise<ModeReport> {
  const { rows } = await pool.query<{
    mode: "keyed" | "unkeyed";
    first_hour: Date;
    changed_at: Date;
    changed_by: string;
  }>("select mode, first_hour, changed_at, changed_by from billing_mode");
  const [row] = rows;
  return {
    dryRun,
    mode: row?.mode ?? null,
    firstHour: row?.first_hour.toISOString() ?? null,
    changedAt: row?.changed_at.toISOString() ?? null,
    changedBy: row?.changed_by ?? null,
    setting: billingModeOf(config.billing.idempotency),
  };
}

/**
 * Shows how the ledger is billed, or changes it while no master serves in the other mode.
 * @param wanted null only shows
 * @throws FulaError FULA_BILLING_MODE_MIXED where masters serve in the other mode
 */
export async function runMode(
  context: BillingContext,
  wanted: "keyed" | "unkeyed" | null,
  dryRun: boolean,
): Promise<ModeReport> {
  return await withBillingLedger(context, async (pool, loaded, ledger) => {
    if (wanted !== null && !dryRun) {
      const options = { ...ledger.connection, part: "billing-mode", node: loaded.config.node.name };
      await using session = await openSession(options, context.clock);
      await assertBillingMode(session.client, wanted, loaded.config.node.name);
    }
    return await readMode(pool, loaded, dryRun);
  });
}
