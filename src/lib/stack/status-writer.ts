import { readKuboNode } from "../blocks/kubo-node.ts";
import { urlOfSetting } from "../config/addresses.ts";
import type { LoadedConfig } from "../config/load.ts";
import { formatCount } from "../kernel/units.ts";
import { listFederationNodes, mastersOf } from "../membership/federation-nodes.ts";
import { peekLedger } from "./ledger-peek.ts";
import type { LookLimits } from "./look.ts";
import { openPinCluster } from "./pinset.ts";
import { attention, bad, lookAtPart, OK } from "./status-part.ts";
import type { ClusterPart, ClusterPeerLine, KuboPart, StoragePart, TrustPart } from "./status-report.ts";
import { requireAcceptedPeers, storageCheck, type StorageLookContext } from "./storage-look.ts";
import { lookAtStorage } from "./storage-verify.ts";
import { readStorageView } from "./storage-view.ts";

/** Looks at the Kubo node that keeps the blocks. */
export async function readKubo({ config }: LoadedConfig, limits: LookLimits): Promise<KuboPart> {
  const api = urlOfSetting(config.blocks.kuboApi);
  const nothing = { api, peerId: null, version: null, peersConnected: null, repoBytes: null, storageMaxBytes: null };
  return await lookAtPart<KuboPart>(limits, nothing, async (signal) => {
    const { connected, peerId, version, repoBytes, storageMaxBytes } = await readKuboNode(api, signal);
    return { api, peerId, version, peersConnected: connected.length, repoBytes, storageMaxBytes, ...OK };
  });
}

function nameOf({ name, id }: ClusterPeerLine): string {
  return name === "" ? id : name;
}

/** Looks at this box's IPFS Cluster peer, and at whom it sees. */
export async function readCluster(loaded: LoadedConfig, limits: LookLimits): Promise<ClusterPart> {
  const { cluster, node } = loaded.config;
  const api = urlOfSetting(cluster.api);
  return await lookAtPart<ClusterPart>(limits, { api, peers: [] }, async (signal) => {
    await using pins = await openPinCluster(loaded, { clock: limits.clock });
    // Asked of the daemon: an adopted one was not given its list by our settings.
    const trusted = new Set(await readTrusted(loaded, signal));
    const peers = (await pins.peers(signal)).map(({ id, name, isSelf, state, error }): ClusterPeerLine => {
      // A master trusts itself without naming itself; a storage node changes nothing even where it trusted itself.
      const isTrusted = trusted.has(id) || (isSelf && loaded.config.node.role === "master");
      return { id, name, isSelf, role: isTrusted ? "trusted" : "follower", state, error };
    });
    const own = peers.find(({ isSelf }) => isSelf);
    if (own === undefined) return { api, peers, ...bad("the peer does not name itself among its peers") };
    if (own.state !== "answers" || own.error !== "") {
      return { api, peers, ...bad(`this box's own peer is not well: ${own.error || own.state}`) };
    }
    const silent = peers.filter(({ state }) => state !== "answers");
    if (silent.length > 0) {
      const names = silent.map(nameOf).join(", ");
      return {
        api,
        peers,
        ...attention(`${formatCount(silent.length, "peer does", "peers do")} not answer: ${names}`),
      };
    }
    // The first master of a pool asks for one copy, since nobody else is there; nothing raises that by itself.
    if (node.role === "master" && peers.length > 1 && cluster.replicationMin === 1) {
      const remedy = "fula-master config set cluster.replicationMin 2, then fula-master join";
      return {
        api,
        peers,
        ...attention(`new pins ask for one copy, although ${peers.length} peers are here. Try: ${remedy}`),
      };
    }
    return { api, peers, ...OK };
  });
}

/** Peers whose changes of the pinset the daemon takes, as it says itself; its own are not among them. */
async function readTrusted(loaded: LoadedConfig, signal: AbortSignal): Promise<readonly string[]> {
  const { others, clusterPeerId } = await readStorageView(urlOfSetting(loaded.config.cluster.api), signal);
  const heard = new Map(others.map(({ id, isTrusted }) => [id, isTrusted]));
  // Of a peer that it has never met the daemon says nothing; the settings are what it was started with.
  const unmet = loaded.config.cluster.trustedPeers.filter((id) => !heard.has(id) && id !== clusterPeerId);
  return [...others.filter(({ isTrusted }) => isTrusted).map(({ id }) => id), ...unmet];
}

/** Compares whose changes of the pinset this box's peer takes with the masters that the ledger knows. */
export async function readTrust(loaded: LoadedConfig, limits: LookLimits): Promise<TrustPart> {
  const { name } = loaded.config.node;
  return await lookAtPart<TrustPart>(limits, { trusted: [], missing: [], surplus: [] }, async (signal) => {
    const [trusted, nodes] = await Promise.all([
      readTrusted(loaded, signal),
      peekLedger(loaded, listFederationNodes, signal),
    ]);
    if (nodes === null) return { trusted, missing: [], surplus: [], ...bad("the ledger does not run") };
    const masters = mastersOf(nodes).filter((master) => master.name !== name);
    const untrusted = masters.filter(({ clusterPeerId }) => !trusted.includes(clusterPeerId));
    const missing = untrusted.map(({ clusterPeerId }) => clusterPeerId);
    const surplus = trusted.filter((id) => !masters.some(({ clusterPeerId }) => clusterPeerId === id));
    const known = { trusted, missing, surplus };
    if (missing.length > 0) {
      const names = untrusted.map((master) => master.name).join(", ");
      return { ...known, ...bad(`what ${names} pins is not taken here. Try: fula-master join`) };
    }
    if (surplus.length === 0) return { ...known, ...OK };
    const remedy = "fula-master join takes it out; a cluster that somebody else started, its operator has to change";
    return { ...known, ...attention(`${surplus.join(", ")} may change the pinset and is no master. Try: ${remedy}`) };
  });
}

/** Looks whether this storage node is what it must be, without trying to write. */
export async function readStorage(
  loaded: LoadedConfig,
  context: StorageLookContext,
  limits: LookLimits,
): Promise<StoragePart> {
  return await lookAtPart<StoragePart>(limits, { claims: [] }, async (signal) => {
    const document = await requireAcceptedPeers(loaded);
    const { claims } = await lookAtStorage(storageCheck(loaded, document, { ...context, signal }, false));
    const broken = claims.filter(({ holds }) => !holds);
    if (broken.length === 0) return { claims, ...OK };
    return { claims, ...bad(broken.map(({ message, remedy }) => `${message}. Try: ${remedy}`).join("; ")) };
  });
}
