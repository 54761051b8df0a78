import type { Clock } from "../kernel/clock.ts";
import { isFulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import { formatDuration } from "../kernel/units.ts";
import type { PeersDocument } from "../membership/peers-document.ts";
import { attemptWrite, readLocalStatus, readStorageView, retryIfStuck, type StorageView } from "./storage-view.ts";

/** What a storage node must be, in the order it is shown. */
export const STORAGE_CLAIMS = [
  "answers",
  "private",
  "kubo",
  "joined",
  "trust",
  "follower",
  "no-trace",
  "replicates",
] as const;

/** Names one of them. */
export type StorageClaimName = (typeof STORAGE_CLAIMS)[number];

/** One claim about a storage node, and whether it holds; `--json` prints it as it is. */
export interface StorageClaim {
  readonly name: StorageClaimName;
  readonly holds: boolean;
  /** What was seen. */
  readonly message: string;
  /** What to do; empty where the claim holds. */
  readonly remedy: string;
}

/** How the cluster peer was started, as its container says. */
export interface StartedAs {
  readonly followerMode: boolean;
  /** Peer ids; `*` is everybody. */
  readonly trustedPeers: readonly string[];
}

/** What is asked, and what it is held against. */
export interface StorageCheck {
  /** REST API of the node's own cluster peer. */
  readonly clusterApi: string;
  readonly document: PeersDocument;
  readonly startedAs: () => Promise<StartedAs>;
  /** Addresses, loopback apart, at which Kubo's RPC API or the cluster's REST API takes connections. */
  readonly openApis: () => Promise<readonly string[]>;
  /** False only looks: nothing is asked of the daemons that would change anything if they were wrong. */
  readonly tryToWrite: boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
}

/** Time between two looks at what comes by itself. */
const LOOK_INTERVAL_MS = 1_000;

function holds(name: StorageClaimName, message: string): StorageClaim {
  return { name, holds: true, message, remedy: "" };
}

function fails(name: StorageClaimName, message: string, remedy: string): StorageClaim {
  return { name, holds: false, message, remedy };
}

function kuboClaim({ kuboPeerId, kuboError }: StorageView): StorageClaim {
  if (kuboPeerId !== null && kuboError === "") return holds("kubo", `it pins on the Kubo node ${kuboPeerId}`);
  const why = kuboError === "" ? "it names none" : kuboError;
  return fails(
    "kubo",
    `it does not reach its Kubo node: ${why}`,
    "look into the log of the kubo container (docker logs).",
  );
}

function nameOf(id: string, document: PeersDocument): string {
  return document.masters.find(({ clusterPeerId }) => clusterPeerId === id)?.name ?? id;
}

function joinedClaim({ others, clusterPeerId }: StorageView, document: PeersDocument): StorageClaim {
  const masters = document.masters.map((master) => ({
    name: master.name,
    addresses: master.clusterAddresses,
    seen: others.find(({ id }) => id === master.clusterPeerId),
  }));
  const mutual = masters.filter(({ seen }) => seen?.answers === true && seen.seesUs);
  if (mutual.length > 0) {
    const silent = masters.filter((master) => !mutual.includes(master)).map(({ name }) => name);
    const rest = silent.length === 0 ? "" : `; ${silent.join(", ")} did not answer`;
    return holds(
      "joined",
      `${mutual.map(({ name }) => name).join(", ")} and this node see one another as peers${rest}`,
    );
  }
  const answering = masters.find(({ seen }) => seen?.answers === true);
  if (answering !== undefined) {
    return fails(
      "joined",
      `${answering.name} answers, but does not name this node (${clusterPeerId}) among its peers yet`,
      "wait a minute and run the command again; if it stays so, look into the log of the master's cluster.",
    );
  }
  const where = masters.flatMap(({ addresses }) => addresses).join(", ");
  return fails(
    "joined",
    `no master is among the peers of this node's cluster; it looked at ${where}`,
    "open the master's cluster port (TCP, cluster.swarmPort) for this box, see that the master announces an address that is reached from here (fula-master peers show), and that the cluster secret is the federation's.",
  );
}

/**
 * Who is trusted, held against the masters: as the peer was started, and as it says of every peer that it knows. It
 * always trusts itself, which is not counted; that it was told to is.
 */
function trustClaim(
  { others, clusterPeerId }: StorageView,
  configured: readonly string[],
  document: PeersDocument,
): StorageClaim {
  const masters = new Set(document.masters.map((master) => master.clusterPeerId));
  const remedy = "run join-as-storage-node again: it gives the container the masters' peer ids, and no others.";
  const isStranger = (id: string): boolean => !masters.has(id);
  const trusted = others.filter(({ isTrusted }) => isTrusted).map(({ id }) => id);
  const strangers = new Set([...configured, ...trusted].filter(isStranger));
  if (strangers.size > 0) {
    const named = [...strangers].map((id) => (id === clusterPeerId ? "itself" : id === "*" ? "everybody" : id));
    return fails("trust", `it takes changes of the pinset from ${named.join(", ")}, which is no master`, remedy);
  }
  const unheard = others.filter(({ id, isTrusted }) => !isTrusted && masters.has(id)).map(({ id }) => id);
  const missing = new Set([...[...masters].filter((id) => !configured.includes(id)), ...unheard]);
  if (missing.size > 0) {
    const named = [...missing].map((id) => nameOf(id, document)).join(", ");
    return fails("trust", `it does not take changes of the pinset from ${named}, which is a master`, remedy);
  }
  return holds("trust", `it trusts ${document.masters.map(({ name }) => name).join(", ")} and nobody else`);
}

function privateClaim(open: readonly string[]): StorageClaim {
  if (open.length === 0) return holds("private", "Kubo's RPC API and the cluster's REST API are on loopback alone");
  return fails(
    "private",
    `an API of this node takes connections on ${open.join(", ")}`,
    "whoever reaches it controls this node's blocks; see which program publishes the port: ss -ltnp",
  );
}

const FOLLOWER_REMEDY =
  "run join-as-storage-node again: it starts the cluster container with CLUSTER_FOLLOWERMODE=true.";

async function writeClaims(check: StorageCheck, { followerMode }: StartedAs): Promise<readonly StorageClaim[]> {
  const { clusterApi, random, signal } = check;
  if (!followerMode) return [fails("follower", "its container was not started as a follower", FOLLOWER_REMEDY)];
  if (!check.tryToWrite) return [holds("follower", "its container was started as a follower")];
  const { refusedAsFollower, answer, leftNoTrace } = await attemptWrite(clusterApi, random, signal);
  return [
    refusedAsFollower
      ? holds("follower", `it refuses to pin: ${answer}`)
      : fails("follower", `an attempt to pin on it was not refused as a follower does: ${answer}`, FOLLOWER_REMEDY),
    leftNoTrace
      ? holds("no-trace", "the refused pin is in no pinset")
      : fails("no-trace", "the pin of that attempt was in the pinset; it was taken away again", "as for follower."),
  ];
}

async function replicatesClaim({ clusterApi, document, signal }: StorageCheck): Promise<StorageClaim> {
  const { probe, issuer } = document;
  const { status, error } = await readLocalStatus(clusterApi, probe, signal);
  if (status === "pinned") return holds("replicates", `it holds the probe ${probe}`);
  if (status === "unpinned") {
    return fails(
      "replicates",
      `the pinset that it has does not name the probe ${probe}`,
      `see on ${issuer} that it is pinned (fula-master pin status ${probe}; token create and peers export pin it), and that this node trusts ${issuer}.`,
    );
  }
  const why = error === "" ? "" : ` (${error})`;
  return fails(
    "replicates",
    `the probe ${probe} is ${status} here${why}`,
    `open the master's Kubo port (kubo.swarmPort, TCP and UDP) for this box: Kubo fetches the blocks from there.`,
  );
}

/** What one look saw. */
export interface StorageLook {
  /** The node's own cluster peer and Kubo; null where the peer does not answer, or reaches no Kubo. */
  readonly clusterPeerId: string | null;
  readonly kuboPeerId: string | null;
  readonly claims: readonly StorageClaim[];
}

/** True where every claim holds. */
export function isWell({ claims }: StorageLook): boolean {
  return claims.every((claim) => claim.holds);
}

/** Looks once at everything that a storage node must be. A peer that does not answer makes one failed claim. */
export async function lookAtStorage(check: StorageCheck): Promise<StorageLook> {
  const { clusterApi, document, signal } = check;
  try {
    const view = await readStorageView(clusterApi, signal);
    const started = await check.startedAs();
    const claims = [
      holds("answers", `cluster peer ${view.clusterPeerId}, IPFS Cluster ${view.clusterVersion}`),
      privateClaim(await check.openApis()),
      kuboClaim(view),
      joinedClaim(view, document),
      trustClaim(view, started.trustedPeers, document),
      ...(await writeClaims(check, started)),
      await replicatesClaim(check),
    ];
    return { clusterPeerId: view.clusterPeerId, kuboPeerId: view.kuboPeerId, claims };
  } catch (error) {
    signal.throwIfAborted();
    if (!isFulaError(error)) throw error;
    const remedy = error.hint ?? "look into the log of the cluster container (docker logs).";
    return { clusterPeerId: null, kuboPeerId: null, claims: [fails("answers", error.message, remedy)] };
  }
}

/** True where the node kept a pin that was tried on it: it is not asked to take another. */
function tookPin({ claims }: StorageLook): boolean {
  return claims.some(({ name, holds: well }) => name === "no-trace" && !well);
}

/**
 * Looks until every claim holds, or the patience is over: joining and replicating take their time, and a probe that the
 * node has given up is tried again. What is wanted to be refused is tried once all else is well, or at the end.
 * @param report is told what is still waited for
 * @returns what was seen last
 */
export async function awaitStorage(
  check: StorageCheck,
  patienceMs: number,
  report: (text: string) => void,
): Promise<StorageLook> {
  const { clock, signal } = check;
  const startMs = clock.monotonicMs();
  for (;;) {
    let look = await lookAtStorage({ ...check, tryToWrite: false });
    const elapsedMs = clock.monotonicMs() - startMs;
    const isOver = elapsedMs >= patienceMs;
    if (isOver || isWell(look)) {
      look = await lookAtStorage(check);
      // A daemon that was well a moment ago and is busy now has the rest of the time.
      if (isOver || isWell(look) || tookPin(look)) return look;
    }
    await retryIfStuck(check.clusterApi, check.document.probe, signal).catch((error: unknown) => {
      // What does not answer is what the next look says.
      if (!isFulaError(error)) throw error;
    });
    const waiting = look.claims.filter((claim) => !claim.holds);
    report(`${waiting.map(({ name }) => name).join(", ")}: waiting, ${formatDuration(patienceMs - elapsedMs)} at most`);
    await clock.sleep(LOOK_INTERVAL_MS, signal);
  }
}
