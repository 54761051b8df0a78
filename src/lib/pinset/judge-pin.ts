import type { PeerPinStatus, Pin, PinStatus } from "../cluster/pins.ts";

/**
 * How a pin stands: `ok`; `pinning`, enough peers have it or are fetching it; `under`, some peers have it or
 * fetch it, but too few; `lost`, no peer has it; `expired`, its time is over, so nobody needs to have it; `awaited`, too
 * few peers have it, and its users were told no more than that they have to wait.
 */
export type PinVerdict = "ok" | "pinning" | "under" | "lost" | "expired" | "awaited";

/** The verdict on one pin and the numbers that it follows from. */
export interface JudgedPin {
  readonly verdict: PinVerdict;
  /** Peers that have it. */
  readonly pinned: number;
  /** Peers that are fetching it. */
  readonly underWay: number;
  /** Peers that must have it. */
  readonly required: number;
  /** What the peers that do not have it say, each different thing once; empty for `ok`. */
  readonly reason: string;
}

const UNDER_WAY: ReadonlySet<PeerPinStatus> = new Set(["pinning", "pin_queued"]);
/** Not a copy and not a failure: another peer was chosen, or there is nothing of its own to hold. */
const NOT_CONCERNED: ReadonlySet<PeerPinStatus> = new Set(["remote", "sharded"]);
/** More reasons than that tell an operator nothing new. */
const REASONS_MAX = 3;

/** What pins without a number of their own are judged by. */
export interface PeerCounts {
  /** The setting for pins that name no minimum of their own. */
  readonly replMin: number;
  /** Peers that belong to the cluster and ping, whether they tell about their pins or not. */
  readonly members: number;
}

/** How many peers must hold a pin. */
function requiredPeers(pin: Pin, concerned: number, { replMin, members }: PeerCounts): number {
  if (pin.replication_factor_min > 0) return pin.replication_factor_min;
  // "Every peer" is every peer that still pings: one that died is soon not even listed, so the setting is the floor.
  if (pin.replication_factor_min < 0) return Math.max(concerned, members, replMin);
  return replMin;
}

function reasonOf({ allocations }: Pin, status: PinStatus | null): string {
  if (status === null || status.peers.length === 0) return "no peer knows it";
  const reasons = new Set<string>();
  const heard = new Set(status.peers.map(({ peer }) => peer));
  for (const peer of allocations) if (!heard.has(peer)) reasons.add(`no word from ${peer}`);
  for (const { status: state, error } of status.peers) {
    if (state === "pinned" || NOT_CONCERNED.has(state)) continue;
    reasons.add(error === "" ? state : `${state}: ${error}`);
  }
  const shown = [...reasons].slice(0, REASONS_MAX).join("; ");
  if (shown === "") return "too few peers were asked to hold it";
  return reasons.size > REASONS_MAX ? `${shown}; and ${reasons.size - REASONS_MAX} more` : shown;
}

/**
 * Judges one pin by its own replication factor. @param status null where no peer reports anything
 * @param nowMs wall time, to tell whether it has expired
 */
export function judgePin(pin: Pin, status: PinStatus | null, counts: PeerCounts, nowMs: number): JudgedPin {
  const peers = (status?.peers ?? []).filter((peer) => !NOT_CONCERNED.has(peer.status));
  const pinned = peers.filter((peer) => peer.status === "pinned").length;
  const underWay = peers.filter((peer) => UNDER_WAY.has(peer.status)).length;
  // A meta pin names shards and is held by nobody itself.
  const required = pin.type === "meta-pin" ? 0 : requiredPeers(pin, peers.length, counts);
  const numbers = { pinned, underWay, required };
  if (hasExpired(pin, nowMs)) return { verdict: "expired", ...numbers, reason: `expired at ${pin.expire_at ?? ""}` };
  if (pinned >= required) return { verdict: "ok", ...numbers, reason: "" };
  const reason = reasonOf(pin, status);
  if (pinned + underWay >= required) return { verdict: "pinning", ...numbers, reason };
  return { verdict: pinned + underWay > 0 ? "under" : "lost", ...numbers, reason };
}

/** True when a pin's time is over. */
export function hasExpired(pin: Pin, nowMs: number): boolean {
  return pin.expire_at !== null && Date.parse(pin.expire_at) <= nowMs;
}
