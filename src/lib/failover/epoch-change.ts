import { endedEpoch } from "./failover-states.ts";
import type { LedgerBox, LedgerEpochRecord } from "../membership/ledger-records.ts";

/** What a new record of the epoch is written with. */
export interface EpochStamp {
  readonly uuid: string;
  readonly token: string;
  /** RFC 3339, UTC. */
  readonly at: string;
}

type Ended = NonNullable<LedgerEpochRecord["previous"]>;

function endedBy(epoch: LedgerEpochRecord): Ended {
  const { number, uuid, primary, syncSet, syncNeeded } = endedEpoch(epoch) ?? epoch;
  return { number, uuid, primary, syncSet, syncNeeded };
}

/**
 * The record that ends an epoch. Nobody is the primary of it yet; `primary` is whom it is meant for.
 * @param floor the highest number that anybody has seen: a control plane that was set back must not give one out twice
 */
export function raisedEpoch(
  open: LedgerEpochRecord,
  meant: LedgerBox,
  change: EpochStamp & {
    readonly phase: "draining" | "fencing";
    readonly reason: string;
    readonly floor: number;
  },
): LedgerEpochRecord {
  return {
    number: Math.max(open.number, change.floor) + 1,
    uuid: change.uuid,
    phase: change.phase,
    primary: meant.node,
    address: meant.address,
    systemId: open.systemId,
    timeline: null,
    switchLsn: null,
    syncSet: [],
    syncNeeded: 0,
    previous: endedBy(open),
    reason: change.reason,
    token: change.token,
    at: change.at,
  };
}

/** The same epoch when its old primary has stopped and its standbys are to detach. */
export function fencingEpoch(draining: LedgerEpochRecord, stamp: Pick<EpochStamp, "token" | "at">): LedgerEpochRecord {
  return { ...draining, phase: "fencing", ...stamp };
}

/**
 * The same epoch when its primary was chosen.
 * @param followers standbys of the old synchronous set that follow it at once: its commits wait for them from the first on
 */
export function promotingEpoch(
  fencing: LedgerEpochRecord,
  chosen: LedgerBox,
  followers: readonly string[],
  stamp: Pick<EpochStamp, "token" | "at">,
): LedgerEpochRecord {
  const needed = Math.min(fencing.previous?.syncNeeded ?? 0, followers.length);
  return {
    ...fencing,
    phase: "promoting",
    primary: chosen.node,
    address: chosen.address,
    syncSet: needed === 0 ? [] : [...followers],
    syncNeeded: needed,
    ...stamp,
  };
}

/**
 * The record that gives the old primary its right back, as a further epoch of the same history.
 * @param change with the run's id as the epoch's UUID, by which the run knows it again
 */
export function reaffirmedEpoch(
  raised: LedgerEpochRecord,
  old: LedgerBox,
  change: EpochStamp & { readonly reason: string },
): LedgerEpochRecord {
  const { previous } = raised;
  return {
    // `previous` stays: nothing was ever written under the raised one.
    ...raised,
    number: raised.number + 1,
    uuid: change.uuid,
    phase: "promoting",
    primary: old.node,
    address: old.address,
    // As it was: its standbys come back to it, and until they have, its commits wait for them.
    syncSet: previous?.syncSet ?? [],
    syncNeeded: previous?.syncNeeded ?? 0,
    reason: change.reason,
    token: change.token,
    at: change.at,
  };
}
