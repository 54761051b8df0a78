import { type Decision, decide } from "../decide.ts";
import type { Epoch } from "../epoch.ts";
import type { Handshake, RetainedHistory, RewindReadiness } from "../types.ts";
import { relateNode } from "./lineage-facts.ts";
import type { NodeLook } from "./node-look.ts";
import type { PrimaryLook } from "./primary-look.ts";
import type { StretchMatch } from "./wal-match.ts";

/** Everything that a verdict about a replica rests on; it was all read, and nothing of it is assumed. */
export interface ReplicaFacts {
  readonly look: NodeLook;
  readonly primary: PrimaryLook;
  /** The epoch that the control plane has given out last. */
  readonly arbiter: Epoch;
  /** Of the stretches that both histories name the same. */
  readonly matches: readonly StretchMatch[];
  readonly rewind: RewindReadiness;
  readonly history: RetainedHistory;
}

/** How a replica comes back, and all that was compared for it. */
export interface Verdict {
  readonly handshake: Handshake;
  readonly history: RetainedHistory;
  readonly decision: Decision;
}

/** What a replica says to the engine. Pure. */
export function handshakeOf({ look, primary, arbiter, matches, rewind, history }: ReplicaFacts): Handshake {
  const { data } = look;
  const isReadable = data.kind === "readable";
  return {
    replicaFlushedLsn: isReadable ? data.end.lsn : 0n,
    recoveryPointLsn: isReadable ? data.recoveryPointLsn : 0n,
    lineage: relateNode(look, primary, arbiter, matches, history.tailLsn),
    rewind,
    isSlotLost: primary.slot?.walStatus === "lost",
  };
}

/**
 * Goes up the ladder for a replica: marker, control file, epoch, lineage, and only then positions. Pure: a dry run gives the
 * verdict of the real one.
 */
export function classify(facts: ReplicaFacts): Verdict {
  const handshake = handshakeOf(facts);
  const { history } = facts;
  return { handshake, history, decision: decide({ handshake, history, floor: null, mustRebuild: false }) };
}
