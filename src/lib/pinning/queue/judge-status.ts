import type { PeerPinStatus, Pin, PinStatus } from "../../cluster/pins.ts";

/** How far the peers are with a pin. */
export interface PinProgress {
  /** Peers that have all of it, and how many must before users are told that it is pinned. */
  readonly held: number;
  readonly needed: number;
  /** True where a peer has given up for now: it has to be asked to try again. */
  readonly hasFailed: boolean;
  /** What the first such peer says went wrong; empty where none says anything. */
  readonly error: string;
}

const FAILED: ReadonlySet<PeerPinStatus> = new Set(["pin_error", "unexpectedly_unpinned"]);

/**
 * Judges where a pin stands. What the peers cannot be asked about is not held, and a peer that fails for now is no verdict
 * on the pin: others may have it, and it may come back.
 */
export function judgeStatus({ replication_factor_min: least }: Pin, { peers }: PinStatus): PinProgress {
  const failed = peers.filter(({ status }) => FAILED.has(status));
  return {
    held: peers.filter(({ status }) => status === "pinned").length,
    needed: Math.max(1, least === -1 ? peers.length : least),
    hasFailed: failed.length > 0,
    error: failed.find(({ error }) => error !== "")?.error ?? "",
  };
}
