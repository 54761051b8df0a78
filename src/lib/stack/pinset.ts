import { createHash } from "node:crypto";
import type { BlockStore } from "../blocks/block-store.ts";
import { openLocalBlockStore } from "../blocks/local.ts";
import { openLocalCluster } from "../cluster/local.ts";
import type { PinCluster } from "../cluster/pins.ts";
import { urlOfSetting } from "../config/addresses.ts";
import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";

/** What `openPinCluster` needs beside the settings. */
export interface PinClusterDeps {
  readonly clock: Clock;
  /** The block store, where the caller has one open already. */
  readonly blocks?: BlockStore;
  /**
   * True makes an empty pinset where there is none: `join` and `restore` do. Everything else must leave it false, so
   * that a lost pinset file is an error and not an empty pinset that looks well.
   */
  readonly create?: boolean;
}

/** A pin cluster that was opened for the time of a command or of `serve`. */
export type OpenPinCluster = PinCluster & AsyncDisposable;

/**
 * The peer id of an embedded master, derived from the cluster id alone: the box is the only peer its pinset will ever
 * have, so a renamed host or a box rebuilt from its snapshots is the same peer to everything that was written before.
 */
export function embeddedPeerId(clusterId: string): string {
  return `embedded-${createHash("sha256").update(`fula-master peer ${clusterId}`).digest("hex").slice(0, 32)}`;
}

/** Opens the block store that the settings ask for. @throws FulaError as `openLocalBlockStore` does */
export async function openBlocks({ config, paths }: LoadedConfig): Promise<BlockStore> {
  if (config.blocks.mode === "local") return openLocalBlockStore(paths.blocksDir);
  // Only where it is used: Kubo's client takes longer to load than all the rest.
  const { openKuboBlockStore } = await import("../blocks/kubo.ts");
  return openKuboBlockStore(urlOfSetting(config.blocks.kuboApi));
}

/**
 * Opens the pinset that the settings ask for.
 * @throws FulaError FULA_CLUSTER_ID_MISSING, FULA_CLUSTER_UNSUPPORTED, FULA_PINSET_*
 */
export async function openPinCluster(loaded: LoadedConfig, deps: PinClusterDeps): Promise<OpenPinCluster> {
  const { config, paths } = loaded;
  const { clusterId } = config.node;
  if (clusterId === null) {
    throw new FulaError("FULA_CLUSTER_ID_MISSING", "This box has no pinset yet: the settings name no node.clusterId.", {
      hint: "fula-master join sets it up; or give --base-dir if the master lives elsewhere.",
    });
  }
  if (config.cluster.mode !== "local") {
    assertBlocksReachable(loaded);
    const { openRestCluster } = await import("../cluster/rest.ts");
    const { replicationMin, replicationMax } = config.cluster;
    return openRestCluster({
      clusterId,
      url: urlOfSetting(config.cluster.api),
      defaultFactors: { replication_factor_min: replicationMin, replication_factor_max: replicationMax },
    });
  }
  return openLocalCluster({
    dbFile: paths.pinsFile,
    clusterId,
    peerId: embeddedPeerId(clusterId),
    blocks: deps.blocks ?? (await openBlocks(loaded)),
    clock: deps.clock,
    create: deps.create ?? false,
  });
}

/** The peers of a cluster fetch what they pin from Kubo nodes: of a directory on this box they know nothing. */
function assertBlocksReachable({ config }: LoadedConfig): void {
  if (config.blocks.mode !== "local") return;
  throw new FulaError(
    "FULA_CLUSTER_UNSUPPORTED",
    `cluster.mode is ${config.cluster.mode}, but blocks.mode is local: no peer of an IPFS Cluster can fetch blocks from a directory.`,
    {
      hint: "set blocks.mode to docker or kubo in fula-master.yaml, or cluster.mode to local; no pin was read or changed.",
    },
  );
}

/** Opens the pinset for the time of one call. */
export async function withPinCluster<T>(
  loaded: LoadedConfig,
  deps: PinClusterDeps,
  use: (cluster: OpenPinCluster) => Promise<T>,
): Promise<T> {
  await using cluster = await openPinCluster(loaded, deps);
  return await use(cluster);
}
