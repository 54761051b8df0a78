import type { PeerPinStatus, PinCluster, PinStatus } from "../cluster/pins.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError, isFulaError } from "../kernel/errors.ts";
import { retryUntil } from "../kernel/retry.ts";
import { formatCount } from "../kernel/units.ts";

/** What a peer says about a CID that is not, or soon no longer, in its pinset, or when it says nothing. */
const NO_PIN: ReadonlySet<PeerPinStatus> = new Set([
  "unpinned",
  "unpinning",
  "unpin_queued",
  "unpin_error",
  "undefined",
  "cluster_error",
]);

/** How much shorter than the pinset's own count a listing may be. */
const LISTING_SHORTFALL_SHARE = 0.01;

/** True where at least one peer has a CID in its pinset, whoever holds it. */
export function isHeldSomewhere({ peers }: PinStatus): boolean {
  return peers.some(({ status }) => !NO_PIN.has(status));
}

/** What a listing is compared with. */
export interface ListingCheck {
  readonly cluster: PinCluster;
  /** The settings name other peers of this cluster. */
  readonly expectsPeers: boolean;
  /** True where there is no earlier snapshot to compare with. */
  readonly isFirst: boolean;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
}

/** What the peers of a cluster know together. */
export interface KnownToPeers {
  /** Pins that at least one of them has. */
  readonly held: number;
  /** Peers that answered. */
  readonly answering: number;
}

/**
 * Looks how many pins the peers of a cluster know together: a peer that was just set up, or was cut off, lists the few
 * that have reached it so far as if they were all. @returns null where this box is the whole cluster
 * @throws FulaError FULA_CLUSTER_UNREADABLE where other peers should be there and none can be seen
 */
export async function countKnownToPeers(check: ListingCheck): Promise<KnownToPeers | null> {
  const { cluster, expectsPeers, isFirst, signal } = check;
  const members = (await cluster.peers(signal)).filter(({ state }) => state !== "gone");
  if (members.length > 1) return await countKnown(check);
  if (!expectsPeers || !isFirst) return null;
  throw new FulaError(
    "FULA_CLUSTER_UNREADABLE",
    "The cluster peer sees none of the other peers that the settings name, so it may not have the pinset yet. No snapshot was taken.",
    { hint: "see that the peers of cluster.bootstrap can be reached from here, then run the command again." },
  );
}

async function countKnown({ cluster, signal }: ListingCheck): Promise<KnownToPeers> {
  const held = await countHeld(cluster, signal);
  // Asked last: whoever does not answer any more may have been missing while pins were counted.
  const peers = await cluster.peers(signal);
  return { held, answering: peers.filter(({ state }) => state === "answers").length };
}

async function countHeld(cluster: PinCluster, signal: AbortSignal | undefined): Promise<number> {
  let held = 0;
  for await (const status of cluster.statuses({ signal })) if (isHeldSomewhere(status)) held += 1;
  return held;
}

/** Pause between two looks at what the peers know. */
const POLL_MS = 2_000;

/** What was unpinned reaches every peer within seconds, and is theirs until then. */
const SETTLE_MS = 60_000;

/**
 * Refuses a listing that is shorter than what the peers know together, and goes on being so: pins may have been removed
 * while it was made, and before some of the peers had heard of it. What a peer knew that fell silent meanwhile still counts.
 * @param known what `countKnownToPeers` gave before the pins were listed
 * @throws FulaError FULA_CLUSTER_UNREADABLE
 */
export async function assertCaughtUp(
  listed: number,
  known: KnownToPeers | null,
  check: ListingCheck,
  patienceMs: number = SETTLE_MS,
): Promise<void> {
  if (known === null || !isTooShort(listed, known.held)) return;
  const { clock, signal } = check;
  const untilMs = clock.monotonicMs() + patienceMs;
  for (;;) {
    const now = await countKnown(check);
    if (now.answering >= known.answering && !isTooShort(listed, now.held)) return;
    if (clock.monotonicMs() >= untilMs) throw notCaughtUp(listed, Math.max(now.held, known.held));
    await clock.sleep(POLL_MS, signal);
  }
}

function notCaughtUp(listed: number, known: number): FulaError {
  return new FulaError(
    "FULA_CLUSTER_UNREADABLE",
    `The cluster peer lists ${formatCount(listed, "pin")}, its peers know ${known}: it has not caught up with them. No snapshot was taken.`,
    {
      hint: "wait until it has, then run the command again; fula-master sweep tells how many are missing.",
      details: { listed, known },
    },
  );
}

/**
 * Waits until a peer that has just joined lists what the others know: thousands of pins take it minutes.
 * @throws FulaError FULA_CLUSTER_UNREADABLE where it has not after `patienceMs`
 */
export async function waitUntilCaughtUp(check: ListingCheck, patienceMs: number): Promise<void> {
  const { clock, signal } = check;
  const look = async (): Promise<void> => {
    const known = await countKnownToPeers(check);
    // What is listed grows as well: it is listed anew.
    await assertCaughtUp(await countListed(check), known, check, 0);
  };
  await retryUntil(look, {
    clock,
    signal,
    deadlineMs: clock.monotonicMs() + patienceMs,
    pauseMs: POLL_MS,
    shouldRetry: (error) => isFulaError(error, "FULA_CLUSTER_UNREADABLE"),
  });
}

async function countListed({ cluster, signal }: ListingCheck): Promise<number> {
  let listed = 0;
  for await (const _ of cluster.pins(signal)) listed += 1;
  return listed;
}

/** Pins that come and go while they are listed make a listing a little shorter than the counts around it. */
export function isTooShort(listed: number, expected: number): boolean {
  return expected - listed > expected * LISTING_SHORTFALL_SHARE;
}
