import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { builtBinaries } from "../infra/infra.ts";
import { askHttp, DaemonProcess, findFreePorts, runOnce } from "./daemon-process.ts";
import { connectAll, type KuboProcess, startKubos } from "./kubo-process.ts";
import { until } from "./until.ts";

/** What a peer of a test cluster shall be. */
export interface PeerWish {
  readonly name: string;
  /** Default false: it may write. */
  readonly follower?: boolean;
  /** Names of the peers whose writes it takes besides its own; by default those that are no followers. */
  readonly trusts?: readonly string[];
  /** Further settings of the daemon, as `CLUSTER_…`. */
  readonly env?: Readonly<Record<string, string>>;
}

/** A real IPFS Cluster peer with a real Kubo of its own. */
export interface ClusterPeer {
  readonly name: string;
  readonly id: string;
  readonly isFollower: boolean;
  /** REST, `http://127.0.0.1:<port>`. */
  readonly api: string;
  /** `/ip4/127.0.0.1/tcp/<port>/p2p/<id>`: what another peer bootstraps from. */
  readonly address: string;
  readonly kubo: KuboProcess;
  readonly process: DaemonProcess;
  /** Runs `ipfs-cluster-ctl <args>` against it. @returns stdout */
  ctl(...args: readonly string[]): string;
}

/** Some of them, joined to one cluster. */
export interface TestCluster extends AsyncDisposable {
  readonly secret: string;
  readonly peers: readonly ClusterPeer[];
  /** @throws Error where there is no peer of that name */
  peer(name: string): ClusterPeer;
}

interface Place {
  readonly wish: PeerWish;
  readonly dir: string;
  readonly id: string;
  readonly restPort: number;
  readonly swarmPort: number;
  readonly kubo: KuboProcess;
}

/**
 * Seconds where the defaults are minutes: tests wait for what these cause. A peer that is dead is taken for dead after
 * twice the ping interval; a metric that another peer needs for allocating lives as long as its TTL, and is sent anew
 * after half of it. So a peer may be late by five seconds, as on a busy machine it is: with less, pins are refused now and
 * then, and given to fewer peers than there are. Pins are given to whoever sent the other metrics of late, so a peer must
 * not be gone, two pings after its last one, before these are over.
 */
const FAST: Readonly<Record<string, string>> = {
  CLUSTER_MONITORPINGINTERVAL: "6s",
  CLUSTER_PUBSUBMON_CHECKINTERVAL: "1s",
  CLUSTER_DISK_METRICTTL: "10s",
  CLUSTER_PINQUEUE_METRICTTL: "10s",
  CLUSTER_TAGS_METRICTTL: "10s",
  CLUSTER_CRDT_REBROADCASTINTERVAL: "1s",
  CLUSTER_IPFSHTTP_CONNECTSWARMSDELAY: "1s",
  CLUSTER_MDNSINTERVAL: "0s",
  CLUSTER_PEERWATCHINTERVAL: "1s",
  CLUSTER_DIALPEERTIMEOUT: "3s",
  CLUSTER_IPFSHTTP_PINTIMEOUT: "20s",
  CLUSTER_IPFSHTTP_IPFSREQUESTTIMEOUT: "30s",
  CLUSTER_DISABLEREPINNING: "true",
};

const HAS_CONSENSUS = "Cluster Peers (without including ourselves)";

interface ServiceConfig {
  readonly api: Readonly<Record<string, unknown>>;
  [section: string]: unknown;
}

/** Leaves out the APIs that nobody asks: each would want a port. */
function keepRestOnly(dir: string): void {
  const path = join(dir, "service.json");
  const config: ServiceConfig = JSON.parse(readFileSync(path, "utf8"));
  writeFileSync(path, JSON.stringify({ ...config, api: { restapi: config.api["restapi"] } }, null, 2));
}

function initPeer(dir: string, wish: PeerWish, kubo: KuboProcess, ports: readonly [number, number]): Place {
  const peerDir = join(dir, wish.name);
  runOnce(builtBinaries().clusterService, ["init", "--consensus", "crdt"], { IPFS_CLUSTER_PATH: peerDir });
  keepRestOnly(peerDir);
  const identity: { readonly id: string } = JSON.parse(readFileSync(join(peerDir, "identity.json"), "utf8"));
  return { wish, dir: peerDir, id: identity.id, restPort: ports[0], swarmPort: ports[1], kubo };
}

function idsTrustedBy(place: Place, places: readonly Place[]): string {
  const isTrusted = ({ wish }: Place): boolean =>
    place.wish.trusts === undefined ? wish.follower !== true : place.wish.trusts.includes(wish.name);
  // An empty list would leave the one that `init` wrote in force: everybody. A peer trusts itself in any case.
  const ids = places.filter(isTrusted).map(({ id }) => id);
  return (ids.length > 0 ? ids : [place.id]).join(",");
}

const addressOf = (place: Place): string => `/ip4/127.0.0.1/tcp/${place.swarmPort}/p2p/${place.id}`;

function clusterPeer(place: Place, places: readonly Place[], secret: string): ClusterPeer {
  const { wish, kubo } = place;
  const { clusterService, clusterCtl } = builtBinaries();
  const restAddress = `/ip4/127.0.0.1/tcp/${place.restPort}`;
  const api = `http://127.0.0.1:${place.restPort}`;
  const first = places[0];
  // Without --no-trust a peer trusts whomever it bootstraps from, whatever its settings say.
  const others = first === undefined || first === place ? [] : ["--bootstrap", addressOf(first), "--no-trust"];
  return {
    name: wish.name,
    id: place.id,
    isFollower: wish.follower === true,
    api,
    address: addressOf(place),
    kubo,
    process: new DaemonProcess(wish.name, {
      program: clusterService,
      args: ["daemon", ...others],
      env: {
        ...FAST,
        IPFS_CLUSTER_PATH: place.dir,
        CLUSTER_SECRET: secret,
        CLUSTER_PEERNAME: wish.name,
        CLUSTER_FOLLOWERMODE: String(wish.follower === true),
        CLUSTER_CRDT_TRUSTEDPEERS: idsTrustedBy(place, places),
        // On loopback, peers find only those whose addresses they were told: the DHT takes no loopback address.
        CLUSTER_PEERADDRESSES: places.map(addressOf).join(","),
        CLUSTER_LISTENMULTIADDRESS: `/ip4/127.0.0.1/tcp/${place.swarmPort}`,
        CLUSTER_RESTAPI_HTTPLISTENMULTIADDRESS: restAddress,
        CLUSTER_IPFSHTTP_NODEMULTIADDRESS: kubo.apiAddress,
        ...wish.env,
      },
      probe: async (said) => {
        // IPFS Cluster 1.1.6 serves its API a moment before its consensus can answer, and a question that waited for it,
        // as /id, brings it down: nil pointer in Consensus.Peers.
        if (!said.includes(HAS_CONSENSUS)) throw new Error(`${wish.name} has no consensus yet`);
        await askHttp(`${api}/id`);
      },
    }),
    ctl: (...args) => runOnce(clusterCtl, ["--host", restAddress, ...args], {}),
  };
}

const metricsSchema = z.array(z.object({ peer: z.string(), valid: z.boolean() }));

/** By these a peer allocates: whoever lacks one of them is given nothing (`balanced` allocator, its `allocate_by`). */
const ALLOCATED_BY = ["freespace", "tag:group"];

/** Ids of the peers that have a live metric of this name at a peer. */
async function liveAt({ api }: ClusterPeer, metric: string): Promise<ReadonlySet<string>> {
  // A peer that is busy with its start may be slow to answer.
  const answer = await askHttp(`${api}/monitor/metrics/${metric}`).catch(() => null);
  if (answer?.status !== 200) return new Set();
  const metrics = metricsSchema.parse(await answer.json());
  return new Set(metrics.filter(({ valid }) => valid).map(({ peer }) => peer));
}

/**
 * Waits until every writer knows live metrics of every peer: before that, it allocates to fewer than there are, and its
 * listings leave out those whose ping it has not heard.
 * @param pinging those that ping every few seconds
 */
async function joined(peers: readonly ClusterPeer[], pinging: readonly ClusterPeer[]): Promise<void> {
  for (const peer of peers.filter(({ isFollower }) => !isFollower)) {
    for (const [metric, wanted] of [
      ...ALLOCATED_BY.map((name) => [name, peers] as const),
      ["ping", pinging] as const,
    ]) {
      await until(`${peer.name} knows the metric ${metric} of ${wanted.length} peers`, async () => {
        const live = await liveAt(peer, metric);
        return wanted.every(({ id }) => live.has(id));
      });
    }
  }
}

/**
 * Starts a cluster of real peers on loopback, with a random secret; all bootstrap from the first. Replication is 2 to 3
 * unless a peer's `env` says else. When it is disposed of, everything is gone.
 */
export async function startCluster(wishes: readonly PeerWish[]): Promise<TestCluster> {
  const kubos = await startKubos(wishes.length);
  const dir = mkdtempSync(join(tmpdir(), "fula-cluster-"));
  const secret = randomBytes(32).toString("hex");
  const ports = await findFreePorts(wishes.length * 2);
  const places = wishes.map((wish, index) => {
    const kubo = kubos.nodes[index];
    if (kubo === undefined) throw new Error("no Kubo");
    return initPeer(dir, wish, kubo, [ports[index * 2] ?? 0, ports[index * 2 + 1] ?? 0]);
  });
  const peers = places.map((place) => clusterPeer(place, places, secret));
  const end = async (): Promise<void> => {
    await Promise.all(peers.map(async (peer) => await peer.process.kill()));
    await kubos[Symbol.asyncDispose]();
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    await connectAll(kubos.nodes);
    // The others bootstrap from the first.
    const [first, ...others] = peers;
    await first?.process.start();
    await Promise.all(others.map(async (peer) => await peer.process.start()));
    const pinging = peers.filter((_, index) => wishes[index]?.env?.["CLUSTER_MONITORPINGINTERVAL"] === undefined);
    await joined(peers, pinging);
  } catch (error) {
    await end();
    throw error;
  }
  return {
    secret,
    peers,
    peer: (name) => {
      const found = peers.find((peer) => peer.name === name);
      if (found === undefined) throw new Error(`The cluster has no peer ${name}`);
      return found;
    },
    [Symbol.asyncDispose]: end,
  };
}
