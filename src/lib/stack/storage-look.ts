import type { LoadedConfig } from "../config/load.ts";
import { addressOfSetting, urlOfSetting } from "../config/addresses.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import type { PeersDocument } from "../membership/peers-document.ts";
import { LABELS, labelFilter } from "../runtime/compose-labels.ts";
import { connectDocker } from "../runtime/docker.ts";
import { askingEngine, orAbsent } from "../runtime/docker-errors.ts";
import { openAddresses, reachableAddressesOfBox } from "../runtime/own-addresses.ts";
import { readAcceptedPeers } from "./storage-entry.ts";
import type { StartedAs, StorageCheck } from "./storage-verify.ts";

/** What looking at a storage node takes beside its configuration. */
export interface StorageLookContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
}

function variable(environment: readonly string[], name: string): string {
  return environment.find((line) => line.startsWith(`${name}=`))?.slice(name.length + 1) ?? "";
}

/**
 * How the cluster peer of this node was started.
 * @throws FulaError FULA_NOT_JOINED where there is no such container, FULA_DOCKER_UNREACHABLE, FULA_DOCKER_FAILED
 */
async function readStartedAs({ config }: LoadedConfig, env: StorageLookContext["env"]): Promise<StartedAs> {
  const docker = await connectDocker(env);
  const { project } = config.docker;
  const filters = labelFilter({ [LABELS.project]: project, [LABELS.service]: "cluster" });
  const info = await askingEngine(`looking at the cluster peer of ${project}`, async () => {
    const [found] = await docker.listContainers({ all: true, filters });
    return found === undefined ? null : await orAbsent(async () => await docker.getContainer(found.Id).inspect());
  });
  if (info === null) {
    throw new FulaError("FULA_NOT_JOINED", `The project ${project} has no container of its cluster peer.`, {
      hint: "fula-master join-as-storage-node makes it.",
      details: { project },
    });
  }
  const { Config } = info;
  const trusted = variable(Config.Env, "FULA_TRUSTED_PEERS");
  return {
    followerMode: variable(Config.Env, "CLUSTER_FOLLOWERMODE") === "true",
    trustedPeers: trusted.split(",").filter((id) => id !== ""),
  };
}

/** Addresses of this box, loopback apart, at which one of the ports takes connections. */
async function openPlaces(ports: readonly number[]): Promise<readonly string[]> {
  const addresses = reachableAddressesOfBox();
  const looked = await Promise.all(
    ports.map(async (port) => (await openAddresses(addresses, port)).map((host) => `${host}:${port}`)),
  );
  return looked.flat();
}

/** Everything that a look at this node is held against. */
export function storageCheck(
  loaded: LoadedConfig,
  document: PeersDocument,
  context: StorageLookContext,
  tryToWrite: boolean,
): StorageCheck {
  const { blocks, cluster } = loaded.config;
  const { env, clock, random, signal } = context;
  return {
    clusterApi: urlOfSetting(cluster.api),
    document,
    startedAs: async () => await readStartedAs(loaded, env),
    openApis: async () => await openPlaces([addressOfSetting(blocks.kuboApi).port, addressOfSetting(cluster.api).port]),
    tryToWrite,
    clock,
    random,
    signal,
  };
}

/**
 * The masters that this storage node has accepted.
 * @throws FulaError FULA_NOT_JOINED, FULA_PEERS_INVALID
 */
export async function requireAcceptedPeers({ paths }: LoadedConfig): Promise<PeersDocument> {
  const accepted = await readAcceptedPeers(paths.stateDir);
  if (accepted !== null) return accepted.document;
  throw new FulaError("FULA_NOT_JOINED", `${paths.baseDir} has accepted no list of masters: it has not joined.`, {
    hint: "fula-master join-as-storage-node --token -",
  });
}
