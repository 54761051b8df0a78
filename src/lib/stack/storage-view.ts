import { z } from "zod";
import { createCid, RAW_CODEC } from "../blocks/cid.ts";
import { errorMessageOf, RestConnection } from "../cluster/rest-connection.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";

/** Another peer, as the peer of a storage node sees it. */
export interface SeenPeer {
  readonly id: string;
  readonly name: string;
  /** True where it answered just now. */
  readonly answers: boolean;
  /** True where it names us among the peers of its cluster. */
  readonly seesUs: boolean;
  /** True where its changes of the pinset are taken. */
  readonly isTrusted: boolean;
}

/** What the cluster peer of a storage node says of itself and of the others. */
export interface StorageView {
  readonly clusterPeerId: string;
  readonly clusterAddresses: readonly string[];
  readonly clusterVersion: string;
  /** The Kubo node that it pins on; null where it reaches none. */
  readonly kuboPeerId: string | null;
  /** What it says is wrong with its Kubo; empty where nothing is. */
  readonly kuboError: string;
  /** Every peer that it knows, without itself. */
  readonly others: readonly SeenPeer[];
}

/** What became of an attempt to change the pinset from here. */
export interface WriteAttempt {
  /** True where the daemon refused it because it is a follower. */
  readonly refusedAsFollower: boolean;
  /** What it answered. */
  readonly answer: string;
  /** True where nothing of it is in the pinset afterwards. */
  readonly leftNoTrace: boolean;
}

/** A peer of this box answers at once; one on another continent that does not answer is given up by the daemon in 15 s. */
const PATIENCE = { answerMs: 30_000, streamStartMs: 30_000 };

const idSchema = z.object({
  id: z.string().min(1),
  peername: z.string().default(""),
  version: z.string().default(""),
  error: z.string().default(""),
  addresses: z.array(z.string()).nullish(),
  cluster_peers: z.array(z.string()).nullish(),
  ipfs: z.object({ id: z.string().default(""), error: z.string().default("") }).nullish(),
});

const graphSchema = z.object({ cluster_trust_links: z.record(z.string(), z.boolean()) });

function parsed<T>(schema: z.ZodType<T>, text: string, connection: RestConnection, path: string): T {
  let value: unknown = null;
  try {
    value = JSON.parse(text);
  } catch {
    // Not even JSON: somebody else's service listens there.
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw connection.unexpected(path, { status: 200, body: text });
}

async function ask<T>(connection: RestConnection, path: string, schema: z.ZodType<T>, signal: AbortSignal): Promise<T> {
  const answer = await connection.ask("GET", path, signal);
  if (answer.status !== 200) throw connection.unexpected(path, answer);
  return parsed(schema, answer.body, connection, path);
}

/**
 * Asks the cluster peer of a storage node who it is, whom it sees and whom it trusts. Reads only.
 * @param url its REST API
 * @throws FulaError FULA_CLUSTER_UNREADABLE, FULA_CLUSTER_DENIED
 */
export async function readStorageView(url: string, signal: AbortSignal): Promise<StorageView> {
  using connection = new RestConnection(url, PATIENCE);
  const self = await ask(connection, "/id", idSchema, signal);
  const { cluster_trust_links: trust } = await ask(connection, "/health/graph", graphSchema, signal);
  const others: SeenPeer[] = [];
  for await (const line of connection.lines("/peers", signal)) {
    const { id, peername, error, cluster_peers: peers } = parsed(idSchema, line, connection, "/peers");
    if (id === self.id) continue;
    const answers = error === "";
    others.push({
      id,
      name: peername,
      answers,
      seesUs: peers?.includes(self.id) === true,
      isTrusted: trust[id] === true,
    });
  }
  // A peer that is trusted and gone is in no list of peers, but still in the graph.
  for (const [id, isTrusted] of Object.entries(trust)) {
    if (id === self.id || others.some((other) => other.id === id)) continue;
    others.push({ id, name: "", answers: false, seesUs: false, isTrusted });
  }
  return {
    clusterPeerId: self.id,
    clusterAddresses: self.addresses ?? [],
    clusterVersion: self.version,
    kuboPeerId: self.ipfs === null || self.ipfs === undefined || self.ipfs.id === "" ? null : self.ipfs.id,
    kuboError: self.ipfs?.error ?? "",
    others,
  };
}

/** A CID that no pinset has: of random bytes. */
function unknownCid(random: Random): string {
  return createCid(RAW_CODEC, random.bytes(32)).toString();
}

/**
 * Tries to pin something on a storage node, as nobody there may. What names no content anywhere is pinned, and is taken
 * away again where the daemon took it: then it is no follower.
 * @throws FulaError FULA_CLUSTER_UNREADABLE, FULA_CLUSTER_DENIED
 */
export async function attemptWrite(url: string, random: Random, signal: AbortSignal): Promise<WriteAttempt> {
  using connection = new RestConnection(url, PATIENCE);
  const cid = unknownCid(random);
  const { status, body } = await connection.ask("POST", `/pins/${cid}`, signal);
  const answer = status === 200 ? "it took the pin" : errorMessageOf(body);
  const { status: after } = await connection.ask("GET", `/allocations/${cid}`, signal);
  if (after !== 404) await connection.ask("DELETE", `/pins/${cid}`, signal);
  return { refusedAsFollower: status !== 200 && answer.includes("follower mode"), answer, leftNoTrace: after === 404 };
}

const statusSchema = z.object({
  peer_map: z.record(z.string(), z.object({ status: z.string(), error: z.string().default("") })),
});

/**
 * How a pin stands on the node itself, in IPFS Cluster's words: "pinned", "pinning", "pin_error", …; "unpinned" where
 * the pinset that it has does not name it.
 * @throws FulaError FULA_CLUSTER_UNREADABLE, FULA_CLUSTER_DENIED
 */
export async function readLocalStatus(
  url: string,
  cid: string,
  signal: AbortSignal,
): Promise<{ readonly status: string; readonly error: string }> {
  using connection = new RestConnection(url, PATIENCE);
  const path = `/pins/${cid}?local=true`;
  const { peer_map: peers } = await ask(connection, path, statusSchema, signal);
  const [own] = Object.values(peers);
  if (own !== undefined) return own;
  throw new FulaError("FULA_CLUSTER_UNREADABLE", `The IPFS Cluster peer at ${url} says nothing of how ${cid} stands.`, {
    hint: "look into the log of ipfs-cluster-service.",
    details: { url, cid },
  });
}

/** What a peer does not get out of by itself before it looks again, every 12 minutes. */
const STUCK = new Set(["unexpectedly_unpinned", "pin_error"]);

/**
 * Has the node itself try a pin again that it has given up. A peer that learns of a long history at once takes an old
 * removal of a CID for news, stops fetching it, and leaves it so although it was pinned again since.
 * @throws FulaError FULA_CLUSTER_UNREADABLE, FULA_CLUSTER_DENIED
 */
export async function retryIfStuck(url: string, cid: string, signal: AbortSignal): Promise<void> {
  if (!STUCK.has((await readLocalStatus(url, cid, signal)).status)) return;
  using connection = new RestConnection(url, PATIENCE);
  const path = `/pins/${cid}/recover?local=true`;
  const answer = await connection.ask("POST", path, signal);
  if (answer.status !== 200) throw connection.unexpected(path, answer);
}
