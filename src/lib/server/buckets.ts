import type { Buckets } from "../buckets/buckets.ts";
import type { OwnBuckets } from "../buckets/create-buckets.ts";
import { assertOldBucketsImported } from "../buckets/import-objects.ts";
import type { BucketName } from "../buckets/roots/root-pointer.ts";
import { startModeGuard } from "../buckets/roots/mode-guard.ts";
import { savingModeOf } from "../buckets/roots/saving-mode.ts";
import { releaseHolds } from "../buckets/keeping/release-holds.ts";
import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { isFulaError, messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import { type CollectRunParts, collectOnce } from "../stack/bucket-gc-run.ts";
import { type BucketStores, openBuckets, type OpenHolds } from "../stack/open-buckets.ts";
import type { Pool } from "../postgres/pool.ts";
import type { BucketMetrics } from "./metrics-buckets.ts";
import { repeat } from "./repeat.ts";

/** What buckets in `serve` need. */
export interface ServedBucketsDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: BucketMetrics;
  readonly signal?: AbortSignal | undefined;
}

/** The stores of a master that serves. */
export interface ServedStores extends BucketStores {
  /** For what works in the background, and takes its time. */
  readonly pool: Pool;
}

/** The buckets of this master, as they are served. */
export interface ServedBuckets extends AsyncDisposable {
  readonly buckets: Buckets;
}

/** How often our node is looked at for what the cluster has taken over. */
const RELEASE_INTERVAL_MS = 30_000;

/** Runs work again and again until it is disposed of, which ends a run that is under way. */
function keepOn(
  { clock }: ServedBucketsDeps,
  intervalMs: number,
  work: (signal: AbortSignal) => Promise<void>,
): AsyncDisposable {
  const end = new AbortController();
  const running = repeat({ intervalMs, clock }, async () => {
    await work(end.signal);
  });
  return {
    [Symbol.asyncDispose]: async () => {
      end.abort();
      await running[Symbol.asyncDispose]();
    },
  };
}

function keepLettingGo(holds: OpenHolds, { pool, pins }: ServedStores, deps: ServedBucketsDeps): AsyncDisposable {
  const { log, metrics } = deps;
  return keepOn(deps, RELEASE_INTERVAL_MS, async (signal) => {
    try {
      const { released, waiting } = await releaseHolds({ ...holds, pool, pins, log, signal });
      metrics.holdsCounted(waiting);
      if (released > 0) log.info("buckets.holds.released", { released, waiting });
    } catch (error) {
      if (!signal.aborted) log.warn("buckets.holds.failed", { message: messageOf(error) });
    }
  });
}

/** Compacts buckets, so that nothing names any more what a later run of the collector takes. */
async function compactAll(
  names: readonly BucketName[],
  buckets: OwnBuckets,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  for (const name of names) {
    try {
      await buckets.compact(name, signal);
    } catch (error) {
      signal.throwIfAborted();
      // The others are not to wait for one that cannot be compacted.
      log.warn("buckets.compaction.failed", { bucket: name.bucket, message: messageOf(error) });
    }
  }
}

function keepCollecting(
  { config }: LoadedConfig,
  buckets: OwnBuckets,
  parts: Omit<CollectRunParts, "signal">,
  deps: ServedBucketsDeps,
): AsyncDisposable {
  const { graceTime: graceMs, historyAge: historyMs, collectEvery } = config.buckets;
  const options = { graceMs, historyMs, dryRun: false, waitMs: 0 };
  const { log, metrics } = deps;
  return keepOn(deps, collectEvery, async (signal) => {
    try {
      const { report, toCompact } = await collectOnce({ ...parts, signal }, options);
      metrics.collected("complete", report.unpinned);
      if (report.candidates > 0) log.info("buckets.collected", { ...report });
      await compactAll(toCompact, buckets, log, signal);
    } catch (error) {
      // Another master is at it: that is what the lock is there for.
      if (signal.aborted || isFulaError(error, "FULA_BUCKETS_COLLECTING")) return;
      metrics.collected("failed", 0);
      log.warn("buckets.collect.failed", { message: messageOf(error) });
    }
  });
}

/**
 * Opens the buckets of this master and starts what works on them in the background.
 * @throws FulaError FULA_BUCKET_NOT_IMPORTED, FULA_KUBO_UNREACHABLE, FULA_BUCKET_MODE, and what the ledger's connection throws
 */
export async function startBuckets(
  loaded: LoadedConfig,
  stores: ServedStores,
  deps: ServedBucketsDeps,
): Promise<ServedBuckets> {
  const opened = new AsyncDisposableStack();
  try {
    const node = loaded.config.node.name;
    const mode = savingModeOf(loaded.config);
    if (mode !== "fleet") await assertOldBucketsImported(stores.pool);
    opened.use(await startModeGuard({ ...deps, connection: stores.connection, node, mode }));
    const open = opened.use(await openBuckets(loaded, stores, { ...deps, observer: deps.metrics }));
    const { buckets, holds } = open;
    const { pool, pins } = stores;
    if (holds !== null) opened.use(keepLettingGo(holds, stores, deps));
    if (mode !== "fleet")
      opened.use(keepCollecting(loaded, buckets, { pool, pins, blocks: stores.blocks, clock: deps.clock }, deps));
    return { buckets, [Symbol.asyncDispose]: async () => await opened.disposeAsync() };
  } catch (error) {
    await opened.disposeAsync();
    throw error;
  }
}
