import type { BlockStore } from "../blocks/block-store.ts";
import { CachedReader } from "../buckets/tree/cached-reader.ts";
import type { NodeReader } from "../buckets/tree/node-store.ts";
import type { LoadedConfig } from "../config/load.ts";
import type { Pool } from "../postgres/pool.ts";
import { type BillingContext, withMasterLedger } from "./billing-ledger.ts";
import type { Ledger } from "./ledger.ts";
import { openBlocks, type OpenPinCluster, withPinCluster } from "./pinset.ts";

/** What the commands about buckets take from their command. */
export type BucketContext = BillingContext;

/** The stores of a master, open for the time of one command. */
export interface BucketStores {
  readonly loaded: LoadedConfig;
  readonly pool: Pool;
  readonly connection: Ledger["connection"];
  readonly blocks: BlockStore;
  readonly nodes: NodeReader;
  readonly pins: OpenPinCluster;
}

/** Lends the ledger alone. @throws FulaError as `withMasterLedger` */
export async function withBucketLedger<T>(
  context: BucketContext,
  use: (pool: Pool, loaded: LoadedConfig, ledger: Pick<Ledger, "connection">) => Promise<T>,
): Promise<T> {
  return await withMasterLedger(context, "buckets", use);
}

/** Lends ledger, blocks and pinset. @throws FulaError as `withMasterLedger`, `openBlocks` and `openPinCluster` */
export async function withBucketStores<T>(
  context: BucketContext,
  use: (stores: BucketStores) => Promise<T>,
): Promise<T> {
  return await withBucketLedger(context, async (pool, loaded, { connection }) => {
    const blocks = await openBlocks(loaded);
    const nodes = new CachedReader(blocks, loaded.config.buckets.nodeCacheBytes);
    return await withPinCluster(loaded, { clock: context.clock, blocks }, async (pins) =>
      use({ loaded, pool, connection, blocks, nodes, pins }),
    );
  });
}
