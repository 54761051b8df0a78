import { type BucketEvents, createBuckets, type OwnBuckets } from "../../src/lib/buckets/create-buckets.ts";
import { createKeeper } from "../../src/lib/buckets/keeping/keeper.ts";
import { createLocalHolder } from "../../src/lib/buckets/keeping/holder.ts";
import type { RootPointerStore } from "../../src/lib/buckets/roots/root-pointer.ts";
import { CachedReader } from "../../src/lib/buckets/tree/cached-reader.ts";
import type { Turns } from "../../src/lib/buckets/turns.ts";
import type { BlockStore } from "../../src/lib/blocks/block-store.ts";
import type { PinCluster } from "../../src/lib/cluster/pins.ts";
import { type Clock, systemClock } from "../../src/lib/kernel/clock.ts";
import { silentLog } from "../../src/lib/kernel/log.ts";
import type { Random } from "../../src/lib/kernel/random.ts";
import { MemoryBlocks } from "./memory-blocks.ts";
import { createMemoryCluster } from "./memory-cluster.ts";
import { MemoryRoots } from "./memory-roots.ts";
import { seededRandom } from "./seeded-random.ts";

/** What test buckets stand on; whatever is left out is in memory and theirs alone. */
export interface TestBucketsOptions {
  readonly roots?: RootPointerStore;
  readonly blocks?: BlockStore;
  readonly pins?: PinCluster;
  /** By default it is everybody's turn. */
  readonly turns?: Turns;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly events?: BucketEvents;
  readonly casAttempts?: number;
  readonly compactAfter?: number;
  readonly groupCommit?: boolean;
}

const NO_TURNS: Turns = { isTaken: async () => false, take: async () => true, give: async () => {} };
const NO_EVENTS: BucketEvents = { flushed: () => {}, conflicted: () => {}, compacted: () => {} };

/** Buckets of one gateway as the product has them, over what a test hands in. */
export function testBuckets(options: TestBucketsOptions = {}): OwnBuckets {
  const {
    clock = systemClock,
    random = seededRandom(1),
    events = NO_EVENTS,
    casAttempts = 5,
    compactAfter = 96,
  } = options;
  const roots = options.roots ?? new MemoryRoots(clock);
  const blocks = options.blocks ?? new MemoryBlocks();
  const pins = options.pins ?? createMemoryCluster();
  return createBuckets({
    roots,
    reads: {
      current: async (name) => await roots.get(name),
      read: async (name) => ({ state: await roots.get(name), staleMs: null }),
      list: async (ownerId) => ({ buckets: await roots.list(ownerId), staleMs: null }),
    },
    nodes: new CachedReader(blocks, 1_024 ** 2),
    turns: options.turns ?? NO_TURNS,
    keeper: createKeeper({ roots, blocks, pins, clock, holder: createLocalHolder(blocks) }),
    settings: { casAttempts, compactAfter, graceMs: 3_600_000, groupCommit: options.groupCommit ?? true },
    events,
    clock,
    random,
    log: silentLog,
  });
}
