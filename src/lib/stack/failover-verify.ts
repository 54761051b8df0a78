import { billingSwitch } from "../billing/billing-switch.ts";
import { verifyLedger } from "../billing/verify.ts";
import { parseCid } from "../blocks/cid.ts";
import { bucketLines } from "../buckets/bucket-rows.ts";
import type { LoadedConfig } from "../config/load.ts";
import type { FailoverCheck } from "../failover/failover-ports.ts";
import type { Clock } from "../kernel/clock.ts";
import { isFulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import { formatCount, formatDuration } from "../kernel/units.ts";
import { readLease } from "../lease/lease-record.ts";
import type { LedgerEpoch, LedgerEpochRecord } from "../membership/ledger-records.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
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
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  readonly cwd: string;
  readonly report: (text: string) => void;
}

type Judged = Pick<FailoverCheck, "state" | "seen">;
type Trial = (trial: ServiceTrial) => Promise<Judged>;

const LEASE_PATIENCE_MS = 60_000;
const LEASE_POLL_MS = 100;
/** Two days and what is younger: what a failover can have disturbed. */
const BILLING_HOURS = 48;
const SWEEP_GRACE_MS = 3_600_000;
const SWEEP_WAIT_MS = 60_000;
/** Beyond that a sample stands for all: the look is to take seconds. */
const ROOTS_MAX = 200;

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

async function trySweep({ loaded, pool, clock, signal, lost: lostMaster }: ServiceTrial): Promise<Judged> {
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
      dryRun: false,
    },
    { clock, signal, pool },
  );
  const { outcome, pins, under, lost, ledger, peers } = report;
  if (outcome === "ok") return ok(`sweep --strict: ${formatCount(pins, "pin")} held as they ask for`);
  const gonePeers = peers.map(({ peer, name, reason }) => `; peer ${name === "" ? peer : name}: ${reason}`).join("");
  const words = `sweep --strict: ${under} of ${formatCount(pins, "pin")} held by too few, ${lost} by nobody, ${ledger?.missing ?? 0} not in the pinset${gonePeers}`;
  // With a box go its peer and its copies, and in a federation of two there is no third to take them.
  const isOfTheLost = lostMaster !== null && (outcome === "below" || outcome === "problems");
  if (!isOfTheLost || lost > 0 || (ledger !== null && ledger.missing > 0)) return bad(`${words} (${outcome})`);
  const gone = outcome === "below" ? `the copies of ${lostMaster} are` : `the peer of ${lostMaster} is`;
  return attention(`${words}: ${gone} gone with it`);
}

async function tryRoots({ loaded, pool, random, signal, report }: ServiceTrial): Promise<Judged> {
  const roots: string[] = [];
  let buckets = 0;
  for await (const { imported, root } of bucketLines(pool, null)) {
    if (!imported) continue;
    buckets += 1;
    // Each has the same chance to be in the sample, however many there are.
    const place = roots.length < ROOTS_MAX ? roots.length : random.int(buckets);
    if (place < ROOTS_MAX) roots[place] = root;
  }
  const blocks = await openBlocks(loaded);
  const unread: string[] = [];
  for (const [index, root] of roots.entries()) {
    signal.throwIfAborted();
    report(`reading roots: ${index} of ${roots.length}`);
    await blocks.get(parseCid(root), signal).catch((error: unknown) => unread.push(`${root}: ${describeError(error)}`));
  }
  const sample = roots.length === buckets ? formatCount(buckets, "bucket") : `${roots.length} of ${buckets} buckets`;
  if (unread.length > 0) return bad(`roots: ${unread.length} of ${sample} cannot be read, first ${unread[0] ?? ""}`);
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
  ["lease", tryLease],
  ["billing", tryBooks],
  ["roots", tryRoots],
  ["snapshots", trySnapshots],
  ["sweep", trySweep],
];

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
  return checks;
}
