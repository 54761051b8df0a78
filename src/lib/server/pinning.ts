import type { BlockStore } from "../blocks/block-store.ts";
import { openKuboNetwork } from "../blocks/kubo-network.ts";
import { announceCids } from "../buckets/roots/root-queries.ts";
import type { PinCluster } from "../cluster/pins.ts";
import { urlOfSetting } from "../config/addresses.ts";
import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import { dialOrigins } from "../pinning/dial-origins.ts";
import { measureDag } from "../pinning/measure-dag.ts";
import { readPinQueueFigures } from "../pinning/queue/figures.ts";
import { keyRows, queueForgotten, queueUnwanted } from "../pinning/queue/reconcile.ts";
import type { WorkParts } from "../pinning/queue/work.ts";
import { startWorkers } from "../pinning/queue/worker.ts";
import type { Pool } from "../postgres/pool.ts";
import { askNetwork } from "../runtime/network.ts";
import type { PinningMetrics } from "./metrics-pinning.ts";
import { repeat } from "./repeat.ts";

/** The stores that the pinning service works on. */
export interface PinningStores {
  readonly pool: Pool;
  readonly pins: PinCluster;
  readonly blocks: BlockStore;
}

/** What its workers in `serve` need. */
export interface PinningDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: PinningMetrics;
}

/** Longer than any single answer of the ledger or the pinset is waited for. */
const CLAIM_MS = 60_000;
const LOOK_EVERY_MS = 60_000;
/** Rows of other software that were changed later may be in its own hands. */
const FORGOTTEN_AGE_MS = 120_000;
/** Reading the whole pinset is not for every minute. */
const UNWANTED_EVERY_MS = 6 * 3_600_000;

function workPartsOf({ config }: LoadedConfig, { pool, pins, blocks }: PinningStores, deps: PinningDeps): WorkParts {
  const { clock, random } = deps;
  const kubo = config.blocks.mode === "local" ? null : openKuboNetwork(urlOfSetting(config.blocks.kuboApi), askNetwork);
  return {
    pins,
    announce: async (cids) => await announceCids(pool, cids),
    // Kubo adds up where its blocks are; what it does not have it fetches from the peers that do.
    measure: async (cid, signal) =>
      kubo === null ? await measureDag(cid, blocks, signal) : await kubo.measure(cid, signal),
    dial: async (origins, signal) => {
      if (kubo !== null) await dialOrigins(kubo, origins, signal);
    },
    clock,
    random,
    giveUpMs: config.pinning.giveUpAfter,
  };
}

/** Looks after what no request puts on the queue. */
function keepReconciled({ pool, pins }: PinningStores, { clock, log, metrics }: PinningDeps): AsyncDisposable {
  const end = new AbortController();
  const { signal } = end;
  // At the start others may have begun the same: it is looked at one interval later.
  let unwantedDueMs = clock.monotonicMs() + UNWANTED_EVERY_MS;
  const lookForUnwanted = async (): Promise<number> => {
    if (clock.monotonicMs() < unwantedDueMs) return 0;
    const { seen, unwanted, queued } = await queueUnwanted(pool, pins, signal);
    unwantedDueMs = clock.monotonicMs() + UNWANTED_EVERY_MS;
    if (queued < unwanted) log.error("pinning.unwanted.left", { seen, unwanted, queued });
    return queued;
  };
  const running = repeat({ intervalMs: LOOK_EVERY_MS, clock }, async () => {
    try {
      metrics.queueRead(await readPinQueueFigures(pool));
    } catch {
      metrics.queueRead(null);
    }
    try {
      const keyed = await keyRows(pool, signal);
      const forgotten = await queueForgotten(pool, FORGOTTEN_AGE_MS, signal);
      const unwanted = await lookForUnwanted();
      if (keyed + forgotten + unwanted > 0) log.info("pinning.reconciled", { keyed, forgotten, unwanted });
    } catch (error) {
      if (!signal.aborted) log.warn("pinning.reconcile.failed", { message: messageOf(error) });
    }
  });
  return {
    [Symbol.asyncDispose]: async () => {
      end.abort();
      await running[Symbol.asyncDispose]();
    },
  };
}

/** Starts the pinning service's workers of this master, and what finds wishes that no request has queued. */
export function startPinning(loaded: LoadedConfig, stores: PinningStores, deps: PinningDeps): AsyncDisposable {
  const { config } = loaded;
  const { workers } = config.pinning;
  const opened = new AsyncDisposableStack();
  opened.use(keepReconciled(stores, deps));
  opened.use(
    startWorkers({
      ...workPartsOf(loaded, stores, deps),
      pool: stores.pool,
      log: deps.log,
      node: config.node.name,
      workers,
      claimMs: CLAIM_MS,
      onSettled: (kind) => {
        deps.metrics.settled(kind);
      },
    }),
  );
  return opened;
}
