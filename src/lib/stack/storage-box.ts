import {
  type ConfigReading,
  type LoadedConfig,
  loadConfig,
  type Override,
  type Overrides,
  readConfig,
} from "../config/load.ts";
import { errorOf } from "../config/problems.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Secret } from "../kernel/secret.ts";
import type { PeersDocument } from "../membership/peers-document.ts";
import { type DockerDetection, detectDockerEngine } from "../runtime/docker.ts";
import { assertIngestSettings } from "./ingest-check.ts";
import { type Installation, readInstallation } from "./installation.ts";
import { type JoinContext, loadSaved } from "./join-box.ts";
import { overridesOf } from "./join-options.ts";
import type { RuntimeChoice } from "./join-runtime.ts";
import type { FileBox } from "./join-steps-files.ts";
import { readAcceptedPeers, readStorageEntry, type StorageEntry } from "./storage-entry.ts";
import type { StorageOptions } from "./storage-options.ts";

/** The box as a run of `join-as-storage-node` finds it, and as it shall be afterwards. */
export interface StorageBox extends FileBox {
  readonly options: StorageOptions;
  readonly docker: DockerDetection;
  readonly choice: RuntimeChoice;
  /** Null before the first join. */
  readonly installation: Installation | null;
  /** What this run joins with; null where it brings nothing new. */
  readonly entry: StorageEntry | null;
  /** Who the masters are: as this run says, else as an earlier one did. */
  readonly document: PeersDocument;
  /** The configuration that this run aims at, with what is doubtful about it. */
  readonly reading: ConfigReading;
  /** Reads the wanted configuration again, with the secrets that were written meanwhile. */
  reload(): Promise<LoadedConfig>;
  /** Reads again what the files alone give. */
  reloadSaved(): Promise<LoadedConfig>;
}

/** What the command line says of blocks that clients bring; an option of its own stands above `--set`. */
function entranceOf({ storageApi, ingestPort }: StorageOptions): Overrides {
  return {
    ...(storageApi === undefined ? {} : { "ingest.masters": { flag: "--storage-api", value: storageApi } }),
    ...(ingestPort === undefined ? {} : { "ingest.port": { flag: "--ingest-port", value: ingestPort } }),
  };
}

function decided(value: unknown): Override {
  return { flag: "join-as-storage-node", value };
}

/** What a storage node is, whatever the settings said before; the masters are those of the signed document alone. */
function decisions({ clusterId, masters }: PeersDocument, entry: StorageEntry | null): Overrides {
  return {
    // A token of a private network brings its key; a peers document tells nothing of it, and leaves it as it is.
    ...(entry === null || entry.clusterSecret === null ? {} : { "kubo.private": decided(entry.swarmKey !== null) }),
    runtime: decided("docker"),
    "node.role": decided("storage"),
    "node.clusterId": decided(clusterId),
    "blocks.mode": decided("docker"),
    "cluster.mode": decided("docker"),
    "cluster.trustedPeers": decided(masters.map(({ clusterPeerId }) => clusterPeerId)),
    "cluster.bootstrap": decided(masters.flatMap(({ clusterAddresses }) => clusterAddresses)),
    "kubo.peers": decided(masters.flatMap(({ kuboAddresses }) => kuboAddresses)),
  };
}

/** What the token brings for `.env`. */
export function broughtSecrets(entry: StorageEntry | null): Readonly<Record<string, Secret>> {
  const { clusterSecret = null, swarmKey = null } = entry ?? {};
  return {
    ...(clusterSecret === null ? {} : { CLUSTER_SECRET: clusterSecret }),
    ...(swarmKey === null ? {} : { SWARM_KEY: swarmKey }),
  };
}

function withSecrets(context: JoinContext, entry: StorageEntry | null): JoinContext {
  const brought = Object.entries(broughtSecrets(entry));
  for (const [name, secret] of brought) {
    const other = context.env[name] ?? "";
    if (other === "" || other === secret.reveal()) continue;
    throw new FulaError("FULA_JOIN_CONFLICT", `${name} in the environment differs from the one of the federation.`, {
      hint: `unset ${name}; the join token brings the right one.`,
    });
  }
  const revealed = Object.fromEntries(brought.map(([name, secret]) => [name, secret.reveal()]));
  return { ...context, env: { ...context.env, ...revealed } };
}

/** A key that the federation has changed is the operator's to replace: the old one may be another federation's. */
function assertSwarmKey(wanted: LoadedConfig, saved: LoadedConfig): void {
  const [key, there] = [wanted.secrets.swarmKey, saved.secrets.swarmKey];
  if (wanted.config.kubo.private && key === null) {
    throw new FulaError("FULA_USAGE", "kubo.private is on, and there is no SWARM_KEY on this box.", {
      hint: "join with a token of a master whose kubo.private is on too: it brings the key.",
    });
  }
  if (key === null || there === null || there.reveal() === key.reveal()) return;
  throw new FulaError(
    "FULA_JOIN_CONFLICT",
    `The swarm key of this run is another than the one in ${saved.paths.envFile}.`,
    {
      hint: `if the federation's key was changed, remove the line SWARM_KEY from ${saved.paths.envFile} and run the command again; else this is the token of another federation.`,
    },
  );
}

function assertSecret(wanted: LoadedConfig, saved: LoadedConfig): void {
  const [secret, there] = [wanted.secrets.clusterSecret, saved.secrets.clusterSecret];
  if (secret === null) {
    throw new FulaError("FULA_USAGE", "A peers document brings no cluster secret, and there is none on this box.", {
      hint: "put CLUSTER_SECRET=… into the environment of this one run; or join with a token, which brings it.",
    });
  }
  if (!/^[0-9a-f]{64}$/.test(secret.reveal())) {
    throw new FulaError("FULA_USAGE", "CLUSTER_SECRET is not 64 hex digits, as IPFS Cluster needs it.");
  }
  if (there === null || there.reveal() === secret.reveal()) return;
  throw new FulaError(
    "FULA_JOIN_CONFLICT",
    `The cluster secret of this run is another than the one in ${saved.paths.envFile}.`,
    {
      hint: `if the federation's secret was changed, remove the line CLUSTER_SECRET from ${saved.paths.envFile} and run the command again; else this is the token of another federation.`,
    },
  );
}

function assertStorageNode(installation: Installation | null, saved: LoadedConfig, document: PeersDocument): void {
  if (installation === null) return;
  const { baseDir } = saved.paths;
  // A run that was killed early has written no settings yet; a master's always say how it runs.
  const hasSettings = saved.sources.runtime.kind !== "default";
  if ((hasSettings && saved.config.node.role === "master") || installation.made.length > 0) {
    throw new FulaError("FULA_JOIN_CONFLICT", `${baseDir} is a master's: it cannot become a storage node in place.`, {
      hint: "choose another --base-dir for the storage node.",
      details: { baseDir },
    });
  }
  if (installation.clusterId === document.clusterId) return;
  throw new FulaError(
    "FULA_JOIN_CONFLICT",
    `${baseDir} was made for cluster ${installation.clusterId}, and this run is of cluster ${document.clusterId}.`,
    {
      hint: "join the other federation in another --base-dir and --project.",
      details: { installation: installation.clusterId, document: document.clusterId },
    },
  );
}

/**
 * Reads what is there and decides what is wanted. Writes nothing.
 * @param tokenText the text of a join token, where one was given
 * @throws FulaError FULA_USAGE, FULA_JOIN_CONFLICT, FULA_TOKEN_*, FULA_PEERS_*, FULA_CONFIG_*, FULA_STATE_NEWER,
 *   FULA_BASE_DIR_FOREIGN, FULA_INGEST_EXPOSED, FULA_INGEST_UNREADY
 */
export async function readStorageBox(
  context: JoinContext,
  options: StorageOptions,
  tokenText: Secret | null,
): Promise<StorageBox> {
  const saved = await loadSaved(context);
  const { paths } = saved;
  const accepted = await readAcceptedPeers(paths.stateDir);
  const entry = await readStorageEntry(options, tokenText, accepted, context);
  const document = entry?.document ?? accepted?.document;
  if (document === undefined) throw new Error("A run without an entry has accepted one before");
  const installation = await readInstallation(paths.stateDir);
  assertStorageNode(installation, saved, document);
  const given = withSecrets(context, entry);
  const overrides = { ...overridesOf(options, null), ...entranceOf(options), ...decisions(document, entry) };
  const reading = await readConfig(given, overrides);
  const problem = errorOf(reading.problems);
  if (problem !== null) throw problem;
  const reload = async (): Promise<LoadedConfig> => await loadConfig(given, overrides);
  const wanted = await reload();
  assertSecret(wanted, saved);
  assertSwarmKey(wanted, saved);
  if (wanted.config.ingest.mode === "on") assertIngestSettings(wanted);
  const { env, signal } = context;
  const docker = await detectDockerEngine({ env, signal });
  return {
    context,
    options,
    paths,
    docker,
    choice: { runtime: "docker", reason: "a storage node's services run in containers" },
    installation,
    entry,
    document,
    clusterId: document.clusterId,
    wanted,
    saved,
    reading,
    reload,
    reloadSaved: async () => await loadSaved(context),
  };
}
