import type { BlockStore } from "../blocks/block-store.ts";
import type { PinCluster } from "../cluster/pins.ts";
import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { openBlocks, openPinCluster } from "./pinset.ts";

/** The stores that a drill makes things in. */
export interface DrillStores {
  readonly cluster: PinCluster;
  readonly blocks: BlockStore;
}

/** Opens the stores of this box for a drill. @throws FulaError as `openPinCluster` does */
export async function openStores(
  loaded: LoadedConfig,
  { clock }: { readonly clock: Clock },
): Promise<DrillStores & AsyncDisposable> {
  const blocks = await openBlocks(loaded);
  const cluster = await openPinCluster(loaded, { clock, blocks });
  return { blocks, cluster, [Symbol.asyncDispose]: async () => await cluster[Symbol.asyncDispose]() };
}
