import { billingSwitch } from "../billing/billing-switch.ts";
import { verifyLedger } from "../billing/verify.ts";
import { parseCid } from "../blocks/cid.ts";
import { bucketLines } from "../buckets/bucket-rows.ts";
import type { LoadedConfig } from "../config/load.ts";
import type { FailoverCheck, MissingContent } from "../failover/failover-ports.ts";
import type { Clock } from "../kernel/clock.ts";
import { isFulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import { formatCount, formatDuration } from "../kernel/units.ts";
import { readLease } from "../lease/lease-record.ts";
import type { LedgerEpoch, LedgerEpochRecord } from "../membership/ledger-records.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import type { SweepReport } from "../pinset/sweep-report.ts";
import { tryObject } from "./failover-object.ts";
import { tryServe } from "./failover-services.ts";
import { describeError } from "./look.ts";
import { openBlocks } from "./pinset.ts";
import { runSweep } from "./sweep-run.ts";
import { runVerify } from "./verify-run.ts";

/** What trying the new master's service takes. */
export interface ServiceTrial {
  readonly loaded: LoadedConfig;
  /** Of the new primary. */
  readonly pool: Pool;
  readonly epoch: LedgerEpochRecord;
  /** The master that was given up, whose copies may be gone with it; null where none was. */
  readonly lost: string | null;
  /** How many contents may be missing everywhere: the operator's word. */
  readonly allowedMissing: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  readonly cwd: string;
  readonly report: (text: string) => void;
}

/** How something stands beside what is missing, which is judged by how much of it the operator accepts. */
type Judged = Pick<FailoverCheck, "state" | "seen" | "missing">;
type Trial = (trial: ServiceTrial) => Promise<Judged>;

const LEASE_PATIENCE_MS = 60_000;
const LEASE_POLL_MS = 100;
/** Two days and what is younger: what a failover can have disturbed. */
const BILLING_HOURS = 48;
const SWEEP_GRACE_MS = 3_600_000;
const SWEEP_WAIT_MS = 60_000;
/** So few are repaired within the minute; with more, or with a box gone, repair is what sweeps are for that nobody waits for. */
const REPAIRED_MAX = 200;
/** Beyond that a sample stands for all: the look is to take seconds. */
const ROOTS_MAX = 200;
const NAMED_MAX = 5;

function ok(seen: string): Judged {
  return { state: "ok", seen };
}

function attention(seen: string): Judged {
  return { state: "attention", seen };
}

function bad(seen: string): Judged {
  return { state: "bad", seen };
}

async function secondsSince(pool: Pool, { number }: LedgerEpoch): Promise<number | null> {
  const { rows } = await runQuery<{ seconds: number }>(pool, {
    name: "failover_epoch_age",
    text: "select extract(epoch from clock_timestamp() - at)::float8 as seconds from ledger_epochs where number = $1",
    values: [number],
  });
  return rows[0]?.seconds ?? null;
}

/** Whoever holds the lease must have taken it here: its lock did not come along from the old primary. */
async function tryLease({ loaded, pool, epoch, clock, signal, report }: ServiceTrial): Promise<Judged> {
  const { isOn, because } = billingSwitch(loaded.config.billing);
  const deadlineMs = clock.monotonicMs() + LEASE_PATIENCE_MS;
  for (;;) {
    const lease = await readLease(pool);
    const age = await secondsSince(pool, epoch);
    const isNew = age !== null && lease.heldForSeconds !== null && lease.heldForSeconds <= age;
    if (lease.standing === "held" && isNew) {
      return ok(
        `${lease.holder ?? "a master"} holds the cron lease under epoch ${lease.epoch}, taken since the promotion`,
      );
    }
    if (lease.standing === "foreign") return bad("other software holds the cron lease, so no master of ours bills");
    if (!isOn && lease.standing === "free")
      return attention(`nobody holds the cron lease; billing is off here: ${because}`);
    if (clock.monotonicMs() > deadlineMs) {
      return bad(
        `nobody took the cron lease within ${formatDuration(LEASE_PATIENCE_MS)} (it is ${lease.standing}); does serve run?`,
      );
    }
    report("waiting for a master to take the cron lease");
    await clock.sleep(LEASE_POLL_MS, signal);
  }
}

async function tryBooks({ pool, signal }: ServiceTrial): Promise<Judged> {
  const { ok: isRight, looked, checks } = await verifyLedger(pool, { hours: BILLING_HOURS, since: null, signal });
  const wrong = checks.filter((check) => !check.ok);
  if (!isRight) return bad(`billing verify: ${wrong.map(({ name, count }) => `${name} (${count})`).join(", ")} broken`);
  return ok(
    `billing verify: the books of ${formatCount(looked.hours, "hour")} and ${formatCount(looked.accounts, "account")} are right`,
  );
}

/** What the first of them are, for whoever reads a sentence; all of them are in the check. */
function namesOf(missing: readonly MissingContent[]): string {
  const named = missing.slice(0, NAMED_MAX).map(({ cid, name }) => (name === "" ? cid : `${name} (${cid})`));
  return `${named.join(", ")}${missing.length > NAMED_MAX ? ` and ${missing.length - NAMED_MAX} more` : ""}`;
}

/** A sweep that repairs asks one pin after the other to be taken anew: with a box gone, that takes hours. */
async function sweepNow(
  { loaded, pool, clock, signal }: ServiceTrial,
  dryRun: boolean,
): Promise<{ readonly report: SweepReport; readonly missing: readonly MissingContent[] }> {
  const missing: MissingContent[] = [];
  const report = await runSweep(
    loaded,
    {
      deep: false,
      acceptEmpty: false,
      graceMs: SWEEP_GRACE_MS,
      waitMs: SWEEP_WAIT_MS,
      ledger: true,
      repairLedger: false,
      forgetPeers: [],
      dryRun,
    },
    { clock, signal, pool, onGone: ({ cid, name, reason: why }) => missing.push({ cid, name, why }) },
  );
  return { report, missing };
}

async function trySweep(trial: ServiceTrial): Promise<Judged> {
  const { lost: lostMaster } = trial;
  const seen = await sweepNow(trial, true);
  const { belowAfter: below } = seen.report;
  if (lostMaster !== null || below === 0 || below > REPAIRED_MAX) return judgeSweep(seen, lostMaster);
  try {
    return judgeSweep(await sweepNow(trial, false), lostMaster);
  } catch (error) {
    // Another sweep is at it.
    if (isFulaError(error, "FULA_LOCKED")) return judgeSweep(seen, lostMaster);
    throw error;
  }
}

function judgeSweep(
  { report, missing }: { readonly report: SweepReport; readonly missing: readonly MissingContent[] },
  lostMaster: string | null,
): Judged {
  const { outcome, pins, under, lost, ledger, peers, belowAfter, withoutPin } = report;
  if (outcome === "ok") return ok(`sweep --strict: ${formatCount(pins, "pin")} held as they ask for`);
  const gonePeers = peers.map(({ peer, name, reason }) => `; peer ${name === "" ? peer : name}: ${reason}`).join("");
  const list = missing.length === 0 ? "" : `, that is ${namesOf(missing)}`;
  const words = `sweep --strict: ${under} of ${formatCount(pins, "pin")} held by too few, ${lost} by nobody, ${ledger?.missing ?? 0} not in the pinset${list}${gonePeers}`;
  if (outcome !== "below" && outcome !== "problems") return { ...bad(`${words} (${outcome})`), missing };
  if (belowAfter === lost && peers.length === 0 && withoutPin === 0) return { ...attention(words), missing };
  // With a box go its peer and its copies, and in a federation of two there is no third to take them.
  if (lostMaster === null) return { ...bad(`${words} (${outcome})`), missing };
  const gone = belowAfter > lost ? `the copies of ${lostMaster} are` : `the peer of ${lostMaster} is`;
  return { ...attention(`${words}: ${gone} gone with it`), missing };
}

async function tryRoots({ loaded, pool, random, signal, report }: ServiceTrial): Promise<Judged> {
  const roots: { readonly bucket: string; readonly root: string }[] = [];
  let buckets = 0;
  for await (const { imported, bucket, root } of bucketLines(pool, null)) {
    if (!imported) continue;
    buckets += 1;
    // Each has the same chance to be in the sample, however many there are.
    const place = roots.length < ROOTS_MAX ? roots.length : random.int(buckets);
    if (place < ROOTS_MAX) roots[place] = { bucket, root };
  }
  const blocks = await openBlocks(loaded);
  const missing: MissingContent[] = [];
  const unread: string[] = [];
  for (const [index, { bucket, root }] of roots.entries()) {
    signal.throwIfAborted();
    report(`reading roots: ${index} of ${roots.length}`);
    await blocks.get(parseCid(root), signal).catch((error: unknown) => {
      const why = describeError(error);
      if (isFulaError(error, "FULA_BLOCK_MISSING")) missing.push({ cid: root, name: `index-node:${bucket}`, why });
      else unread.push(`${root}: ${why}`);
    });
  }
  const sample = roots.length === buckets ? formatCount(buckets, "bucket") : `${roots.length} of ${buckets} buckets`;
  if (unread.length > 0)
    return { ...bad(`roots: ${unread.length} of ${sample} cannot be read, first ${unread[0] ?? ""}`), missing };
  if (missing.length > 0)
    return { ...ok(`roots: of ${sample}, ${missing.length} are on no box: ${namesOf(missing)}`), missing };
  return ok(`roots: those of ${sample} were read`);
}

async function trySnapshots({ loaded, clock, signal, cwd }: ServiceTrial): Promise<Judged> {
  const { maxAge } = loaded.config.snapshot;
  const options = { file: null, all: false, anyCluster: false, maxAgeMs: maxAge };
  try {
    const [newest] = await runVerify(loaded, options, { clock, signal, cwd });
    if (newest?.ok === true) return ok(`snapshots: ${newest.name} is good`);
    const problems = newest?.problems.map(({ message }) => message) ?? [];
    return attention(`snapshots: ${newest?.name ?? "none"}: ${problems.join("; ")}`);
  } catch (error) {
    if (!isFulaError(error, "FULA_SNAPSHOT_ABSENT")) throw error;
    return attention("snapshots: this box has none yet; fula-master snapshot takes one");
  }
}

/** In the order in which they are tried: what is quick and says most comes first. */
const TRIALS: readonly (readonly [string, Trial])[] = [
  ["serve", async ({ loaded, epoch, ...trial }) => await tryServe(loaded, epoch, trial)],
  ["object", tryObject],
  ["lease", tryLease],
  ["billing", tryBooks],
  ["roots", tryRoots],
  ["snapshots", trySnapshots],
  ["sweep", trySweep],
];

/** What is missing stops a failover, or is for people to know where they have accepted so much. */
function judgeMissing(checks: readonly FailoverCheck[], allowed: number): readonly FailoverCheck[] {
  const all = new Set(checks.flatMap(({ missing = [] }) => missing.map(({ cid }) => cid)));
  return checks.map((check) => {
    if (check.missing === undefined || check.missing.length === 0 || check.state === "bad") return check;
    return all.size > allowed
      ? { ...check, state: "bad" }
      : { ...check, state: "attention", seen: `${check.seen}; accepted by --allow-missing ${allowed}` };
  });
}

/** Tries what must work on the new master, one after the other; what cannot be tried is bad. */
export async function verifyService(trial: ServiceTrial): Promise<readonly FailoverCheck[]> {
  const checks: FailoverCheck[] = [];
  for (const [id, attempt] of TRIALS) {
    trial.signal.throwIfAborted();
    trial.report(id);
    const startMs = trial.clock.monotonicMs();
    let judged: Judged;
    try {
      judged = await attempt(trial);
    } catch (error) {
      trial.signal.throwIfAborted();
      judged = bad(`${id}: ${describeError(error)}`);
    }
    checks.push({ id, ...judged, durationMs: Math.round(trial.clock.monotonicMs() - startMs) });
  }
  return judgeMissing(checks, trial.allowedMissing);
}
