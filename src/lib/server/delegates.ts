import type { PinCluster } from "../cluster/pins.ts";
import { urlOfSetting } from "../config/addresses.ts";
import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import type { Log } from "../kernel/log.ts";
import { createDelegates, type Delegates } from "../pinning/delegates.ts";

const ASK_MS = 10_000;

/** Where clients of this master's pinning service connect to: our own Kubo, and those of the cluster's other peers. */
export function openDelegates(
  { config }: LoadedConfig,
  { pins, clock, log }: { readonly pins: PinCluster; readonly clock: Clock; readonly log: Log },
): Delegates {
  const own = async (): Promise<readonly string[]> => {
    if (config.blocks.mode === "local") return [];
    // Only where it is used: Kubo's client takes longer to load than all the rest.
    const { readKuboAddresses } = await import("../blocks/kubo-node.ts");
    return await readKuboAddresses(urlOfSetting(config.blocks.kuboApi), AbortSignal.timeout(ASK_MS));
  };
  const others = async (): Promise<readonly string[]> => {
    const peers = await pins.peers(AbortSignal.timeout(ASK_MS));
    return peers.flatMap(({ kuboId, kuboAddresses }) =>
      kuboAddresses.map((address) =>
        kuboId === null || address.includes("/p2p/") ? address : `${address}/p2p/${kuboId}`,
      ),
    );
  };
  return createDelegates({ sources: [own, others], clock, log });
}
