import { isFulaError } from "../kernel/errors.ts";
import { retry } from "../kernel/retry.ts";
import { sqlStateOf } from "../postgres/database-errors.ts";
import { raiseAlert, resolveAlert } from "./alerts.ts";
import { billingModeOf } from "./billing-mode.ts";
import { chargeShard, openShards, type Shard } from "./charge.ts";
import { compareConflicts } from "./conflicts.ts";
import type { DeductionDeps, DeductionReport, HourOutcome } from "./deduction-report.ts";
import { formatHour, type Hour } from "./hour.ts";
import { completeHour, openHour, readHourSums, settleSkippedAlerts, skipHours, unbilledHours } from "./hours.ts";
import { policyOf } from "./policy.ts";
import { liftSuspensions } from "./suspension.ts";
import { chargeUnkeyed } from "./unkeyed.ts";
import { closeUsageHour, describeUsageHolder } from "./usage-close.ts";

/** Pauses while others have the shards that are left: from the first to the last, then again and again the last. */
const POLL_MS = [5, 10, 25, 50, 100] as const;
/** A shard that was chosen to end a deadlock was rolled back whole. */
const DEADLOCK_DELAYS_MS = [10, 50, 100, 250] as const;
const INDEX_ALERT = "idx_credit_history_hourly_dedup";

/** The shards in a random order, so that masters which race begin at different ends and meet seldom. */
function shuffled(shards: readonly Shard[], deps: DeductionDeps): readonly Shard[] {
  const start = shards.length === 0 ? 0 : deps.random.int(shards.length);
  return [...shards.slice(start), ...shards.slice(0, start)];
}

async function chargeOnce(deps: DeductionDeps, hour: Hour, shard: Shard): Promise<number | null> {
  return await retry(async () => await chargeShard(deps.pool, hour, shard, deps), {
    delaysMs: DEADLOCK_DELAYS_MS,
    clock: deps.clock,
    signal: deps.signal,
    shouldRetry: (error) => sqlStateOf(error) === "40P01",
  });
}

/** Charges the shards of an open hour until all of them are charged, by whomever. */
async function chargeShards(deps: DeductionDeps, hour: Hour): Promise<void> {
  for (let idle = 0; ; ) {
    const { shards, count } = await openShards(deps.pool, hour);
    if (shards.length === 0) return;
    let charged = 0;
    for (const shard of shuffled(shards, deps)) {
      deps.signal.throwIfAborted();
      const users = await chargeOnce(deps, hour, shard);
      if (users === null) continue;
      charged += 1;
      deps.onProgress?.({ hour, shardsDone: count - shards.length + charged, shards: count, users });
    }
    if (charged === shards.length) return;
    idle = charged > 0 ? 0 : idle + 1;
    await deps.clock.sleep(POLL_MS[Math.min(idle, POLL_MS.length - 1)] ?? 0, deps.signal);
  }
}

/** Brings an hour that is open to its end. @throws what its statements throw; run again, it goes on where it was */
export async function finishHour(deps: DeductionDeps, hour: Hour): Promise<HourOutcome> {
  await chargeShards(deps, hour);
  const charged = await readHourSums(deps.pool, hour);
  // Before the hour is done: a master that dies in between leaves it open, and the next one compares again.
  const differing = charged !== null && charged.conflicts > 0 ? await compareConflicts(deps.pool, hour) : 0;
  await completeHour(deps.pool, hour, deps);
  await settleSkippedAlerts(deps.pool, deps.node);
  const sums = await readHourSums(deps.pool, hour);
  if (sums === null || sums.state === "open")
    throw new Error(`the hour ${formatHour(hour)} was not done: open, or gone`);
  const { users, sumUnits, conflicts } = sums;
  // Left out by a master with a lower bound, just before this one would have opened it.
  if (sums.state !== "done") return { hour, state: "skipped", users, sumUnits, conflicts };
  deps.log.info("billing.hour.done", { hour: formatHour(hour), users, conflicts, differing });
  return { hour, state: "done", users, sumUnits, conflicts };
}

/** Bills an hour that is over. @returns null where it is not its turn */
async function billCompleted(deps: DeductionDeps, hour: Hour): Promise<HourOutcome | null> {
  await closeUsageHour(deps.pool, hour, {
    fence: deps.fence,
    clock: deps.clock,
    signal: deps.signal,
    onWaiting: (holders, waitedMs) => {
      deps.log.warn("billing.hour.held", {
        hour: formatHour(hour),
        waitedMs,
        holders: holders.map(describeUsageHolder),
      });
    },
  });
  const opens = await openHour(deps.pool, hour, { basis: "completed", policy: policyOf(deps.settings) }, deps);
  return opens ? await finishHour(deps, hour) : null;
}

/** Leaves out what is further behind than the settings allow. Hours that were begun are always finished. */
async function skipOld(
  deps: DeductionDeps,
  hours: readonly { readonly hour: Hour; readonly isOpen: boolean }[],
  currentHour: Hour,
): Promise<readonly HourOutcome[]> {
  const old = hours.filter(({ hour, isOpen }) => !isOpen && hour < currentHour - deps.settings.catchUpHours);
  const first = old[0]?.hour;
  const last = old.at(-1)?.hour;
  if (first === undefined || last === undefined) return [];
  const skipped = await skipHours(deps.pool, { first, last }, policyOf(deps.settings), deps);
  if (skipped.length > 0) {
    deps.log.error("billing.hours.skipped", {
      first: formatHour(first),
      last: formatHour(last),
      hours: skipped.length,
    });
  }
  return skipped.map((hour) => ({ hour, state: "skipped", users: 0, sumUnits: 0n, conflicts: 0 }));
}

interface Billed {
  readonly hours: readonly HourOutcome[];
  readonly waitingFor: string | null;
}

function outOfTurn(hour: Hour): string {
  return `the ledger is not as this look found it: it is not the turn of the hour ${formatHour(hour)}, the next look begins anew`;
}

async function billKeyed(deps: DeductionDeps): Promise<Billed> {
  const { hours, currentHour, isCurrentDue } = await unbilledHours(deps.pool, billingModeOf(true));
  const skipped = await skipOld(deps, hours, currentHour);
  const left = new Set(skipped.map(({ hour }) => hour));
  const outcomes: HourOutcome[] = [...skipped];
  for (const { hour } of hours) {
    if (left.has(hour)) continue;
    deps.signal.throwIfAborted();
    try {
      const outcome = await billCompleted(deps, hour);
      if (outcome === null) return { hours: outcomes, waitingFor: outOfTurn(hour) };
      outcomes.push(outcome);
    } catch (error) {
      // Later hours wait as well: they are billed in their order.
      if (isFulaError(error, "FULA_USAGE_HELD")) return { hours: outcomes, waitingFor: error.message };
      throw error;
    }
  }
  if (deps.settings.basis === "current" && isCurrentDue) {
    const how = { basis: "current", policy: policyOf(deps.settings) } as const;
    if (!(await openHour(deps.pool, currentHour, how, deps))) {
      return { hours: outcomes, waitingFor: outOfTurn(currentHour) };
    }
    outcomes.push(await finishHour(deps, currentHour));
  }
  return { hours: outcomes, waitingFor: null };
}

/** Has an alert stand for as long as the ledger has no gate against a second fee. */
async function withIndexAlert(deps: DeductionDeps, work: () => Promise<Billed>): Promise<Billed> {
  try {
    const billed = await work();
    if (billed.hours.length > 0) await resolveAlert(deps.pool, "index-missing", INDEX_ALERT, deps.node);
    return billed;
  } catch (error) {
    if (isFulaError(error, "FULA_BILLING_INDEX")) {
      await raiseAlert(deps.pool, "index-missing", INDEX_ALERT, { hint: error.hint });
    }
    throw error;
  }
}

/**
 * One look: bills every hour that is over and not billed, in ascending order, then lifts suspensions whose cause is gone.
 * Any number of masters may look at the same time; they share the work. Whatever it is cut off by, the next look goes
 * on where it was, and nobody is charged twice.
 * @throws FulaError FULA_LEASE_LOST, FULA_BILLING_MODE_MIXED, FULA_BILLING_INDEX, FULA_DATABASE_UNREACHABLE; the signal's reason
 */
export async function runDeduction(deps: DeductionDeps): Promise<DeductionReport> {
  const { idempotency, freeTierBytes } = deps.settings;
  const lift = async (): Promise<number> => await liftSuspensions(deps.pool, freeTierBytes, deps.fence);
  if (!idempotency) {
    // As older masters do it: who was lifted pays in the same run.
    const unsuspended = await lift();
    const unkeyed = await chargeUnkeyed(deps);
    const waitingFor =
      unkeyed.failed === 0 ? null : `accounts that could not be charged (${unkeyed.failed}) do not pay for this run`;
    return { hours: [], waitingFor, unsuspended, unkeyed };
  }
  const { hours, waitingFor } = await withIndexAlert(deps, async () => await billKeyed(deps));
  return { hours, waitingFor, unsuspended: await lift(), unkeyed: null };
}
