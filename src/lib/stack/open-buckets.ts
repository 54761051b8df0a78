import type { BlockStore } from "../blocks/block-store.ts";
import type { KuboHolds } from "../blocks/kubo-holds.ts";
import { type BucketEvents, createBuckets, type OwnBuckets } from "../buckets/create-buckets.ts";
import { createLocalHolder, type Holder } from "../buckets/keeping/holder.ts";
import { createKeeper, type Keeper } from "../buckets/keeping/keeper.ts";
import { createKuboHolder } from "../buckets/keeping/kubo-holder.ts";
import { PostgresRoots } from "../buckets/roots/postgres-roots.ts";
import type { RootPointerStore } from "../buckets/roots/root-pointer.ts";
import { RootReader, type RootReaderOptions } from "../buckets/roots/root-reader.ts";
import { SingleMasterRoots } from "../buckets/roots/single-master-roots.ts";
import { CachedReader } from "../buckets/tree/cached-reader.ts";
import { PostgresTurns } from "../buckets/turns.ts";
import type { PinCluster } from "../cluster/pins.ts";
import { urlOfSetting } from "../config/addresses.ts";
import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import { retry } from "../kernel/retry.ts";
import { createPool, type Pool } from "../postgres/pool.ts";
import { ATTENDED_SESSION } from "../postgres/session-settings.ts";
import type { Ledger } from "./ledger.ts";

/** The stores of a master that its buckets stand on. */
export interface BucketStores {
  readonly connection: Ledger["connection"];
  readonly blocks: BlockStore;
  readonly pins: PinCluster;
}

/** What is told of the work on buckets. */
export interface BucketObserver extends BucketEvents, Pick<RootReaderOptions, "onQuery" | "onStale"> {}

/** What opening buckets needs beside the stores. */
export interface OpenBucketsDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly observer: BucketObserver;
  readonly signal?: AbortSignal | undefined;
}

/** Holds on the Kubo node of a master. */
export interface OpenHolds {
  readonly holds: KuboHolds;
  /** Peer id of the node. */
  readonly node: string;
}

/** Everything that works on buckets. */
export interface OpenBuckets extends AsyncDisposable {
  readonly buckets: OwnBuckets;
  readonly roots: RootPointerStore;
  readonly reader: RootReader;
  readonly keeper: Keeper;
  readonly nodes: CachedReader;
  /** Connections for the arbiter alone, none of which waits for an answer without end. */
  readonly pool: Pool;
  /** Null where blocks lie in a directory of our own. */
  readonly holds: OpenHolds | null;
}

/** Reads come together in one statement and flushes of a bucket in one move, so that few connections carry many clients. */
const CONNECTIONS_MAX = 10;
/** A statement of the arbiter takes milliseconds; whoever waits longer for it tells the client to come again. */
const ANSWER_MAX_MS = 10_000;
const KUBO_ANSWER_MAX_MS = 15_000;
/** After a boot Kubo comes up at the same time. */
const KUBO_DELAYS_MS = [250, 750] as const;

async function openHolds(loaded: LoadedConfig, { clock, signal }: OpenBucketsDeps): Promise<OpenHolds | null> {
  if (loaded.config.blocks.mode === "local") return null;
  const url = urlOfSetting(loaded.config.blocks.kuboApi);
  const { readKuboPeerId } = await import("../blocks/kubo-node.ts");
  const { openKuboHolds } = await import("../blocks/kubo-holds.ts");
  const node = await retry(async () => await readKuboPeerId(url, AbortSignal.timeout(KUBO_ANSWER_MAX_MS)), {
    delaysMs: KUBO_DELAYS_MS,
    clock,
    ...(signal && { signal }),
  });
  return { holds: openKuboHolds(url), node };
}

function openRoots(loaded: LoadedConfig, pool: Pool, { clock, random }: OpenBucketsDeps): RootPointerStore {
  const node = loaded.config.node.name;
  return loaded.config.buckets.cas
    ? new PostgresRoots({ pool, node, clock, random })
    : new SingleMasterRoots({ pool, node, clock });
}

/**
 * Opens the buckets of a master over its stores.
 * @throws FulaError FULA_KUBO_UNREACHABLE where blocks are to lie on a Kubo node that does not answer
 */
export async function openBuckets(
  loaded: LoadedConfig,
  { connection, blocks, pins }: BucketStores,
  deps: OpenBucketsDeps,
): Promise<OpenBuckets> {
  const { clock, random, log, observer } = deps;
  const { casAttempts, compactAfter, graceTime, readTimeout, staleReads, nodeCacheBytes } = loaded.config.buckets;
  const kubo = await openHolds(loaded, deps);
  const pool = createPool({
    ...connection,
    sessionSettings: ATTENDED_SESSION,
    max: CONNECTIONS_MAX,
    queryTimeoutMs: ANSWER_MAX_MS,
    log,
  });
  const store = openRoots(loaded, pool, deps);
  const { onQuery, onStale } = observer;
  const reader = new RootReader({ store, clock, timeoutMs: readTimeout, staleMs: staleReads, onQuery, onStale });
  const roots = reader.noting(store);
  const holder: Holder = kubo === null ? createLocalHolder(blocks) : createKuboHolder({ ...kubo, pool });
  const keeper = createKeeper({ roots, blocks, holder, pins, clock });
  const nodes = new CachedReader(blocks, nodeCacheBytes);
  const buckets = createBuckets({
    roots,
    reads: reader,
    nodes,
    keeper,
    turns: new PostgresTurns(pool),
    settings: { casAttempts, compactAfter, graceMs: graceTime },
    events: observer,
    clock,
    random,
    log,
  });
  return {
    buckets,
    roots,
    reader,
    keeper,
    nodes,
    pool,
    holds: kubo,
    [Symbol.asyncDispose]: async () => {
      await buckets[Symbol.asyncDispose]();
      await pool.end();
    },
  };
}
