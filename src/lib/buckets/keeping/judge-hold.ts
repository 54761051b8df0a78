import type { Pin, PinStatus } from "../../cluster/pins.ts";

/** What is known of something that our node holds. */
export interface HoldFacts {
  /** Null where nobody pins it. */
  readonly pin: Pin | null;
  /** Null where the cluster knows nothing of it. */
  readonly status: PinStatus | null;
  /** The cluster's peer whose Kubo our node is; null where it has none. */
  readonly ownPeer: string | null;
  readonly ageMs: number;
}

/** `let-go`: the hold can end. `forget`: it is the cluster's own pin by now, which must stay. */
export type HoldVerdict = { readonly verdict: "let-go" | "forget" | "keep"; readonly because: string };

/** What is held and not pinned may be about to be; after this long whoever wanted to has given up, or crashed. */
const UNPINNED_AGE_MS = 3_600_000;

/** How many peers must have it before ours may let go: the pin's minimum, and one at the least. */
function peersNeeded(pin: Pin, status: PinStatus): number {
  const { replication_factor_min: least } = pin;
  return least === -1 ? status.peers.length : Math.max(1, least);
}

/** Decides about one hold. */
export function judgeHold({ pin, status, ownPeer, ageMs }: HoldFacts): HoldVerdict {
  if (pin === null || status === null) {
    return ageMs >= UNPINNED_AGE_MS
      ? { verdict: "let-go", because: "nobody pins it" }
      : { verdict: "keep", because: "it may be pinned yet" };
  }
  const own = status.peers.find(({ peer }) => peer === ownPeer)?.status;
  if (own === "pinned") return { verdict: "forget", because: "our own peer has pinned it" };
  const isOwnPeersTask = own !== undefined && own !== "remote" && own !== "unpinned" && own !== "undefined";
  if (isOwnPeersTask) return { verdict: "keep", because: `our own peer is ${own}` };
  const holders = status.peers.filter((peer) => peer.status === "pinned").length;
  return holders > 0 && holders >= peersNeeded(pin, status)
    ? { verdict: "let-go", because: `${holders} peers have pinned it` }
    : { verdict: "keep", because: `${holders} peers have pinned it so far` };
}
