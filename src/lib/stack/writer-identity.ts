import { create } from "kubo-rpc-client";
import { z } from "zod";
import { createCid, RAW_CODEC } from "../blocks/cid.ts";
import { RestConnection } from "../cluster/rest-connection.ts";
import { addressOfSetting, type ServiceAddress, serviceUrl, urlOfSetting } from "../config/addresses.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";

/** Who a writer is: a Kubo node, and the IPFS Cluster peer that pins on it. */
export interface WriterIdentity {
  readonly kuboPeerId: string;
  /** Multiaddresses that Kubo announces, without `/p2p/…`. */
  readonly kuboAddresses: readonly string[];
  readonly kuboVersion: string;
  readonly clusterPeerId: string;
  /** Multiaddresses of the cluster peer, each ending in `/p2p/<id>`. */
  readonly clusterAddresses: readonly string[];
  readonly clusterVersion: string;
  /** Peer id of the Kubo node that the cluster peer pins on; null where it reaches none. */
  readonly clustersKubo: string | null;
}

/** How long one answer may take; both daemons are on this box or next to it. */
const PATIENCE_MS = 10_000;

const idSchema = z.object({
  id: z.string().min(1),
  addresses: z.array(z.string()).nullish(),
  version: z.string().optional(),
  ipfs: z.object({ id: z.string().optional(), error: z.string().optional() }).optional(),
});

async function askKubo(
  address: ServiceAddress,
): Promise<Pick<WriterIdentity, "kuboPeerId" | "kuboAddresses" | "kuboVersion">> {
  const url = serviceUrl(address);
  try {
    const { id, addresses, agentVersion } = await create({ url }).id({
      // The client has a timeout of its own, which never fires.
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    const kuboPeerId = id.toString();
    return {
      kuboPeerId,
      kuboAddresses: addresses.map((each) => each.toString().replace(`/p2p/${kuboPeerId}`, "")),
      kuboVersion: /^kubo\/([^/]+)/.exec(agentVersion)?.[1] ?? agentVersion,
    };
  } catch (error) {
    throw new FulaError("FULA_KUBO_UNREACHABLE", `Kubo at ${url} does not say who it is: ${messageOf(error)}.`, {
      cause: error,
      hint: "look whether it runs, and whether blocks.kuboApi is the address of its RPC API.",
      details: { url },
    });
  }
}

type ClusterIdentity = Pick<WriterIdentity, "clusterPeerId" | "clusterAddresses" | "clusterVersion" | "clustersKubo">;

function connect(clusterApi: string): RestConnection {
  return new RestConnection(urlOfSetting(clusterApi), {
    answerMs: PATIENCE_MS,
    streamStartMs: PATIENCE_MS,
  });
}

async function askCluster(clusterApi: string, signal: AbortSignal): Promise<ClusterIdentity> {
  using connection = connect(clusterApi);
  const { status, body } = await connection.ask("GET", "/id", signal);
  let parsed: ReturnType<typeof idSchema.safeParse> | null = null;
  try {
    parsed = idSchema.safeParse(JSON.parse(body));
  } catch {
    // Not even JSON: somebody else's service listens there.
  }
  if (status !== 200 || parsed?.success !== true) {
    throw new FulaError(
      "FULA_CLUSTER_UNREADABLE",
      `${connection.url} answers ${status} to /id, and not as an IPFS Cluster peer does.`,
      {
        hint: "set cluster.api to the address of the peer's REST API.",
        details: { status },
      },
    );
  }
  const { id, addresses, version, ipfs } = parsed.data;
  const kubo = ipfs?.id ?? "";
  return {
    clusterPeerId: id,
    clusterAddresses: addresses ?? [],
    clusterVersion: version ?? "",
    clustersKubo: kubo === "" ? null : kubo,
  };
}

/**
 * Asks both daemons who they are. Reads only.
 * @param kuboApi setting `blocks.kuboApi`
 * @param clusterApi setting `cluster.api`
 * @throws FulaError FULA_KUBO_UNREACHABLE, FULA_CLUSTER_UNREADABLE, FULA_CLUSTER_DENIED
 */
export async function identifyWriter(
  kuboApi: string,
  clusterApi: string,
  signal: AbortSignal,
): Promise<WriterIdentity> {
  const [kubo, cluster] = await Promise.all([askKubo(addressOfSetting(kuboApi)), askCluster(clusterApi, signal)]);
  return { ...kubo, ...cluster };
}

/**
 * True where the peer refuses every change: it is a follower. It is asked to unpin what was never pinned: a follower
 * refuses before it looks, anybody else answers that there is no such pin. Nothing else over REST tells a follower, and
 * this leaves no trace on either.
 * @throws FulaError FULA_CLUSTER_UNREADABLE, FULA_CLUSTER_DENIED
 */
async function isFollower(clusterApi: string, random: Random, signal: AbortSignal): Promise<boolean> {
  using connection = connect(clusterApi);
  const unknown = createCid(RAW_CODEC, random.bytes(32));
  const { status, body } = await connection.ask("DELETE", `/pins/${unknown.toString()}`, signal);
  if (status === 404) return false;
  if (/follower/i.test(body)) return true;
  throw new FulaError(
    "FULA_CLUSTER_UNREADABLE",
    `${connection.url} answers ${status} when it is asked whether it may change pins: ${body.slice(0, 200)}`,
    { hint: "look into the log of ipfs-cluster-service.", details: { status } },
  );
}

function unfit(message: string, hint: string, identity: WriterIdentity): FulaError {
  return new FulaError("FULA_WRITER_UNFIT", message, { hint, details: { ...identity } });
}

/**
 * Checks that the two belong together.
 * @throws FulaError FULA_WRITER_UNFIT
 */
export function assertPair(identity: WriterIdentity): void {
  const { kuboPeerId, clusterPeerId, clustersKubo } = identity;
  if (clustersKubo === null) {
    throw unfit(
      `The IPFS Cluster peer ${clusterPeerId} does not reach its Kubo node.`,
      "look into the log of ipfs-cluster-service, and run the command again once it does.",
      identity,
    );
  }
  if (clustersKubo !== kuboPeerId) {
    throw unfit(
      `The IPFS Cluster peer ${clusterPeerId} pins on the Kubo node ${clustersKubo}, but blocks.kuboApi is the node ${kuboPeerId}.`,
      "give the two addresses of one writer: --kubo-api and --cluster-api.",
      identity,
    );
  }
}

/**
 * Checks that a writer is one: its two daemons answer, belong together, and the peer may change pins.
 * @throws FulaError FULA_WRITER_UNFIT, FULA_KUBO_UNREACHABLE, FULA_CLUSTER_UNREADABLE, FULA_CLUSTER_DENIED
 */
export async function checkWriter(
  addresses: { readonly kuboApi: string; readonly clusterApi: string },
  deps: { readonly random: Random; readonly signal: AbortSignal },
): Promise<WriterIdentity> {
  const { kuboApi, clusterApi } = addresses;
  const identity = await identifyWriter(kuboApi, clusterApi, deps.signal);
  assertPair(identity);
  if (!(await isFollower(clusterApi, deps.random, deps.signal))) return identity;
  throw unfit(
    `The IPFS Cluster peer ${identity.clusterPeerId} is a follower: it may not change the pinset, and a master must.`,
    "give the address of a writer with --cluster-api, or make this box a storage node with join-as-storage-node.",
    identity,
  );
}
