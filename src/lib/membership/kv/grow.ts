import { jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { explainNatsError } from "./explain.ts";
import type { ClusterView, PeerView, StreamView } from "./state.ts";

/** What the servers of a control plane are to become. */
export interface GrowthWish {
  /** Names of the buckets. */
  readonly buckets: readonly string[];
  /** Servers that are to hold each record; 0 = three as soon as there are three. */
  readonly replicas: number;
  /** Name of this box's second server, where it has one that is to go once three others are there; else null. */
  readonly witness: string | null;
}

/** What is to be done now; more may follow from what comes of it. */
export interface Growth {
  /** Buckets that more servers are to hold. */
  readonly raise: readonly { readonly bucket: string; readonly replicas: number }[];
  /**
   * `lead`: it leads, and is to give that up first; `member`: it is to be taken out of the group of all servers;
   * `server`: it is out, and may be stopped for good.
   */
  readonly dismiss: "lead" | "member" | "server" | null;
  /** What is waited for; null where nothing is. A sentence without its stop. */
  readonly waits: string | null;
}

/** Masters that have a server before the first one's second server goes: two of three can lose one and go on. */
const MASTERS_MIN = 3;
const REPLICAS_MAX = 3;

const NOTHING: Growth = { raise: [], dismiss: null, waits: null };

function isWell({ current, offline }: PeerView): boolean {
  return current && !offline;
}

/**
 * Names of the servers that are there and have everything, the leader among them. A leader takes one that was killed for
 * current a while longer: only who answers itself counts.
 */
export function wellServers({ metaLeader, members, servers }: ClusterView): readonly string[] {
  if (metaLeader === null) return [];
  const answered = new Set(servers.map(({ name }) => name));
  return [metaLeader, ...members.filter((peer) => isWell(peer) && answered.has(peer.name)).map(({ name }) => name)];
}

/** True for a server that all others have left: it goes on until its next start, and then waits for a second one for ever. */
export function isLeftAlone({ clustered, metaLeader, members }: ClusterView): boolean {
  return clustered && metaLeader !== null && members.length === 0;
}

/** True where a bucket has all its servers, and each of them everything. */
function isWhole({ leader, peers, replicas }: StreamView): boolean {
  return leader !== null && peers.length === replicas - 1 && peers.every(isWell);
}

function isMember({ metaLeader, members }: ClusterView, name: string): boolean {
  return metaLeader === name || members.some((member) => member.name === name);
}

function holdsAny({ streams }: ClusterView, name: string): boolean {
  return streams.some(({ leader, peers }) => leader === name || peers.some((peer) => peer.name === name));
}

/** Decides about the witness, once no bucket waits for more servers. */
function planDismissal(view: ClusterView, witness: string, buckets: readonly StreamView[]): Growth {
  const lagging = buckets.find((stream) => !isWhole(stream));
  const others = wellServers(view).filter((name) => name !== witness);
  if (others.length < MASTERS_MIN) return NOTHING;
  if (lagging !== undefined) return { ...NOTHING, waits: `bucket ${lagging.bucket} is not whole on all its servers` };
  if (view.metaLeader === witness) return { ...NOTHING, dismiss: "lead" };
  if (isMember(view, witness)) return { ...NOTHING, dismiss: "member" };
  if (holdsAny(view, witness)) return { ...NOTHING, waits: `records still move away from ${witness}` };
  return { ...NOTHING, dismiss: "server" };
}

/**
 * Decides what the servers' next step is. Replicas are raised as soon as that many servers are there and have
 * everything, and never lowered: a server that is away comes back, or an operator takes it out.
 */
export function planGrowth(view: ClusterView, { buckets, replicas, witness }: GrowthWish): Growth {
  if (!view.clustered) return NOTHING;
  if (view.metaLeader === null) return { ...NOTHING, waits: "the servers have no leader" };
  const well = wellServers(view).length;
  const wanted = replicas > 0 ? replicas : well >= REPLICAS_MAX ? REPLICAS_MAX : 1;
  const own = view.streams.filter(({ bucket }) => buckets.includes(bucket));
  const low = own.filter((stream) => stream.replicas < wanted);
  if (low.length > 0) {
    if (well < wanted) return { ...NOTHING, waits: `${wanted} servers are wanted, and ${well} have everything` };
    // One that still copies records to a server is not changed under its hands.
    const ready = low.filter(isWhole);
    if (ready.length === 0) return { ...NOTHING, waits: `bucket ${low[0]?.bucket} is not whole on all its servers` };
    return { ...NOTHING, raise: ready.map(({ bucket }) => ({ bucket, replicas: wanted })) };
  }
  return witness === null ? NOTHING : planDismissal(view, witness, own);
}

/**
 * Has more servers hold a bucket, in place: who reads and writes notices nothing.
 * @param user a connection of the account that has the buckets
 * @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE, FULA_CONTROL_PLANE_UNREADABLE
 */
export async function raiseReplicas(
  user: NatsConnection,
  { bucket, replicas }: Growth["raise"][number],
  target: { readonly timeoutMs: number; readonly address: string },
): Promise<void> {
  const stream = `KV_${bucket}`;
  try {
    const manager = await jetstreamManager(user, { checkAPI: false, timeout: target.timeoutMs });
    const { config } = await manager.streams.info(stream);
    // Another master may have been quicker.
    if (config.num_replicas < replicas) await manager.streams.update(stream, { ...config, num_replicas: replicas });
  } catch (error) {
    throw explainNatsError(error, `have ${replicas} servers hold bucket ${bucket}`, target.address);
  }
}
