import { createHash } from "node:crypto";
import { readKuboNode } from "../blocks/kubo-node.ts";
import { readPings } from "../cluster/rest-pings.ts";
import { urlOfSetting } from "../config/addresses.ts";
import type { LoadedConfig } from "../config/load.ts";
import { formatBytes, formatCount, formatDuration } from "../kernel/units.ts";
import type { Secret } from "../kernel/secret.ts";
import type { DoctorBox } from "./doctor-box.ts";
import { type DoctorCheck, doubtful, failed, fine } from "./doctor.ts";
import { LONG_LOOK_MS } from "./look.ts";
import { openPinCluster } from "./pinset.ts";
import type { Finding } from "./preflight.ts";
import { readTrust } from "./status-writer.ts";
import { requireAcceptedPeers, storageCheck } from "./storage-look.ts";
import { lookAtStorage } from "./storage-verify.ts";
import { assertPair, checkWriter, identifyWriter } from "./writer-identity.ts";

type Env = Readonly<Record<string, string | undefined>>;

function peerIdOf(address: string): string {
  return address.slice(address.lastIndexOf("/") + 1);
}

async function checkKubo({ config }: LoadedConfig, signal: AbortSignal): Promise<readonly Finding[]> {
  const url = urlOfSetting(config.blocks.kuboApi);
  const { peerId, version, repoVersion, repoBytes, storageMaxBytes, connected } = await readKuboNode(url, signal);
  const found: Finding[] = [
    fine(`Kubo ${version} (${peerId}), repository ${repoVersion}, ${formatCount(connected.length, "node")} connected`),
  ];
  const share = storageMaxBytes === 0 ? 0 : repoBytes / storageMaxBytes;
  const room = `${formatBytes(repoBytes)} of Datastore.StorageMax ${formatBytes(storageMaxBytes)}`;
  if (share > 0.9) {
    found.push(doubtful(`Kubo's blocks take ${room}.`, "ipfs config Datastore.StorageMax <size>, or more disk."));
  } else {
    found.push(fine(`its blocks take ${room}`));
  }
  const away = [...new Set(config.kubo.peers.map(peerIdOf))].filter((id) => !connected.includes(id));
  if (away.length > 0) {
    found.push(
      doubtful(
        `Kubo is not connected with ${away.join(", ")}, of kubo.peers.`,
        "see whether that box runs, and whether its Kubo swarm port is open in the firewalls between.",
      ),
    );
  }
  return found;
}

async function checkCluster({ loaded: { config }, random }: DoctorBox, signal: AbortSignal): Promise<Finding> {
  const { kuboApi } = config.blocks;
  const clusterApi = config.cluster.api;
  if (config.node.role === "master") {
    const { clusterPeerId, clusterVersion } = await checkWriter({ kuboApi, clusterApi }, { random, signal });
    return fine(`IPFS Cluster ${clusterVersion} (${clusterPeerId}) pins on our Kubo node, and may change the pinset`);
  }
  const identity = await identifyWriter(kuboApi, clusterApi, signal);
  assertPair(identity);
  return fine(`IPFS Cluster ${identity.clusterVersion} (${identity.clusterPeerId}) pins on our Kubo node`);
}

/** Everything that a storage node must be, with an attempt to write that its peer has to refuse. */
async function checkStorage(
  { loaded, clock, random }: DoctorBox,
  env: Env,
  signal: AbortSignal,
): Promise<readonly Finding[]> {
  const document = await requireAcceptedPeers(loaded);
  const { claims } = await lookAtStorage(storageCheck(loaded, document, { env, clock, random, signal }, true));
  return claims.map(({ holds, name, message, remedy }) =>
    holds ? fine(`${name}: ${message}`) : failed(`${name}: ${message}`, remedy),
  );
}

/** A peer that pings more rarely than this is taken for alive too long after its death. */
const PING_LIFETIME_MAX_MS = 10 * 60_000;

async function checkPeers({ loaded, clock }: DoctorBox, signal: AbortSignal): Promise<readonly Finding[]> {
  await using pins = await openPinCluster(loaded, { clock });
  const peers = await pins.peers(signal);
  const nameOf = (id: string): string => peers.find((peer) => peer.id === id)?.name || id;
  const found = peers
    .filter(({ state, error }) => state !== "answers" || error !== "")
    .map(({ id, state, error, isSelf }): Finding => {
      const message = `${isSelf ? "this box's own peer" : `peer ${nameOf(id)}`} is ${state}${error === "" ? "" : `: ${error}`}.`;
      if (isSelf) return failed(message, "look into the log of ipfs-cluster-service.");
      return doubtful(message, "see whether that box runs; fula-master sweep has others take what it held.");
    });
  const slow = (await readPings(urlOfSetting(loaded.config.cluster.api), signal)).filter(
    ({ lifetimeMs }) => lifetimeMs > PING_LIFETIME_MAX_MS,
  );
  for (const { peer, lifetimeMs } of slow) {
    found.push(
      doubtful(
        `Peer ${nameOf(peer)} would count as alive for ${formatDuration(lifetimeMs)} after its death, because it pings so rarely.`,
        "start it with CLUSTER_MONITORPINGINTERVAL=15s.",
      ),
    );
  }
  const answering = peers.filter(({ state }) => state === "answers").length;
  return [fine(`${answering} of ${formatCount(peers.length, "peer")} answer`), ...found];
}

async function checkTrust({ loaded, clock, signal }: DoctorBox): Promise<Finding> {
  const { state, problem, trusted } = await readTrust(loaded, { clock, signal, limitMs: LONG_LOOK_MS });
  const remedy = "fula-master join on this box.";
  if (state === "bad") return failed(`${problem ?? "It is bad"}.`, remedy);
  if (state === "attention") return doubtful(`${problem ?? "It differs"}.`, remedy);
  return fine(`every other master of the ledger is trusted, and nobody else (${trusted.length})`);
}

/** Numbered pools had their number for a name. */
const NUMBERS_TRIED = 99_999;

/** Names that pools have had, from which the old installers made the secret. */
function* guesses({ config, paths }: LoadedConfig): Generator<string> {
  const { name, clusterId } = config.node;
  yield* [name, config.docker.project, clusterId ?? "", paths.baseDir];
  yield* ["", "fula", "fula-master", "fula-storage", "functionland", "ipfs-cluster", "pinning", "test", "secret"];
  for (let number = 0; number <= NUMBERS_TRIED; number += 1) yield String(number);
}

function checkSecret(loaded: LoadedConfig, secret: Secret): Finding {
  const given = secret.reveal();
  for (const guess of guesses(loaded)) {
    if (createHash("sha256").update(guess).digest("hex") !== given) continue;
    return failed(
      `CLUSTER_SECRET is the SHA-256 of "${guess}": whoever guesses that name can join the cluster's network.`,
      "make a new one for all peers at once (openssl rand -hex 32, CLUSTER_SECRET in .env, then fula-master join on every box).",
    );
  }
  return fine("CLUSTER_SECRET is not made from a name that is easily guessed");
}

/** A peer asks every other one, and gives each 15 s. */
const STORAGE_LIMIT_MS = 40_000;

/** Checks of Kubo and the IPFS Cluster peer, where this box has them. */
export function writerChecks(box: DoctorBox, env: Env): readonly DoctorCheck[] {
  const { loaded } = box;
  const { blocks, cluster, node } = loaded.config;
  const { clusterSecret } = loaded.secrets;
  if (blocks.mode === "local" || cluster.mode === "local") return [];
  return [
    { name: "kubo", run: async (signal) => await checkKubo(loaded, signal) },
    { name: "cluster", run: async (signal) => await checkCluster(box, signal) },
    { name: "cluster-peers", run: async (signal) => await checkPeers(box, signal) },
    ...(clusterSecret === null
      ? []
      : [
          {
            name: "cluster-secret" as const,
            run: async () => await Promise.resolve(checkSecret(loaded, clusterSecret)),
          },
        ]),
    node.role === "master"
      ? { name: "trust", run: async () => await checkTrust(box) }
      : { name: "storage", limitMs: STORAGE_LIMIT_MS, run: async (signal) => await checkStorage(box, env, signal) },
  ];
}
