import { type CollectReport, collectGarbage } from "../buckets/collector.ts";
import { withCollectorLock } from "../buckets/collector-lock.ts";
import { reachOfBuckets } from "../buckets/collector-reach.ts";
import { countOldCommits, pruneCommits } from "../buckets/prune-commits.ts";
import type { BucketName } from "../buckets/roots/root-pointer.ts";
import { CachedReader } from "../buckets/tree/cached-reader.ts";
import type { NodeReader } from "../buckets/tree/node-store.ts";
import type { PinCluster } from "../cluster/pins.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { parseDurationMs } from "../kernel/units.ts";
import type { Pool } from "../postgres/pool.ts";
import { type BucketContext, withBucketStores } from "./bucket-ledger.ts";

/** What `buckets gc` prints; `--json` keeps these fields. */
export interface CollectRun extends CollectReport {
  /** Earlier roots that were forgotten, because they are older than `buckets.historyAge`. */
  readonly prunedCommits: number;
}

/** What a run needs. */
export interface CollectRunParts {
  readonly pool: Pool;
  readonly pins: Pick<PinCluster, "pin" | "put" | "remove">;
  readonly blocks: NodeReader;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** How it is made. */
export interface CollectRunOptions {
  readonly graceMs: number;
  readonly historyMs: number;
  readonly dryRun: boolean;
  /** How long to wait for another master that collects. */
  readonly waitMs: number;
}

/** Logs and the nodes that they hide keys of are read several times, all others once. */
const CACHE_BYTES = 16 * 1024 ** 2;

/** A run, and the buckets whose compaction some of what it found waits for. */
export interface CollectOutcome {
  readonly report: CollectRun;
  readonly toCompact: readonly BucketName[];
}

/** Collects once, under the lock of all masters. @throws FulaError FULA_BUCKETS_COLLECTING, and as `collectGarbage` */
export async function collectOnce(parts: CollectRunParts, options: CollectRunOptions): Promise<CollectOutcome> {
  const { pool, pins, clock, signal } = parts;
  // Its own: a walk of everything would drive out of the gateway's what clients ask for.
  const nodes = new CachedReader(parts.blocks, CACHE_BYTES);
  const { graceMs, historyMs, dryRun, waitMs } = options;
  return await withCollectorLock(pool, { clock, signal, waitMs }, async () => {
    const reach = (stop: AbortSignal): ReturnType<typeof reachOfBuckets> => reachOfBuckets(pool, nodes, graceMs, stop);
    const { report, toCompact } = await collectGarbage({ pool, pins, reach }, { graceMs, dryRun, signal });
    const prunedCommits = dryRun ? await countOldCommits(pool, historyMs) : await pruneCommits(pool, historyMs, signal);
    return { report: { ...report, prunedCommits }, toCompact };
  });
}

/** What a save may take between its first pin and its move, with room to spare. */
const GRACE_MS_MIN = 300_000;

function durationOf(flag: string, text: string): number {
  const ms = parseDurationMs(text);
  if (ms !== null) return ms;
  throw new FulaError("FULA_USAGE", `${flag} ${JSON.stringify(text)} is not a duration such as "30m" or "2h".`, {
    hint: "fula-master buckets gc --help",
  });
}

/** Reads `--grace`. @throws FulaError FULA_USAGE */
function graceOf(text: string): number {
  const graceMs = durationOf("--grace", text);
  if (graceMs >= GRACE_MS_MIN) return graceMs;
  throw new FulaError("FULA_USAGE", `--grace ${text} is too short: saves that are under way would lose their pins.`, {
    hint: "give 5m or more.",
  });
}

/** Collects once, for an operator. @throws FulaError FULA_USAGE, and as `collectOnce` and `withBucketStores` */
export async function runBucketGc(
  context: BucketContext,
  options: { readonly dryRun: boolean; readonly grace: string | null; readonly wait: string | null },
): Promise<CollectRun> {
  const { clock, signal } = context;
  const { dryRun, grace, wait } = options;
  const waitMs = wait === null ? 0 : durationOf("--wait", wait);
  const chosenMs = grace === null ? null : graceOf(grace);
  return await withBucketStores(context, async ({ pool, pins, blocks, loaded }) => {
    const { graceTime, historyAge } = loaded.config.buckets;
    const graceMs = chosenMs ?? graceTime;
    const parts = { pool, pins, blocks, clock, signal };
    return (await collectOnce(parts, { graceMs, historyMs: historyAge, dryRun, waitMs })).report;
  });
}
