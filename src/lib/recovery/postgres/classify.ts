import { type Decision, decide } from "../decide.ts";
import type { Epoch } from "../epoch.ts";
import type { Handshake, RetainedHistory, RewindReadiness } from "../types.ts";
import type { ProvenWal } from "./archived-wal.ts";
import { relateNode } from "./lineage-facts.ts";
import type { NodeLook } from "./node-look.ts";
import type { PrimaryLook } from "./primary-look.ts";
import { type LogSource, logSource } from "./retained.ts";
import type { StretchMatch } from "./wal-match.ts";

/** Everything that a verdict about a replica rests on; it was all read, and nothing of it is assumed. */
export interface ReplicaFacts {
  readonly look: NodeLook;
  readonly primary: PrimaryLook;
  /** The epoch that the control plane has given out last. */
  readonly arbiter: Epoch;
  /** The archived WAL that is proven to be the primary's; null for none. */
  readonly archived: ProvenWal | null;
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
  /** Whence the log comes that the decision needs; of a new copy, that the replica's own data would need. */
  readonly log: LogSource;
  /** False where the replica's data may be the only ones of their kind, whatever of them is kept elsewhere. */
  readonly mayDiscard: boolean;
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
  const { history, primary, archived } = facts;
  const decision = decide({ handshake, history, floor: null, mustRebuild: false });
  const fromLsn = decision.rung === "full_base" ? handshake.replicaFlushedLsn : decision.startLsn;
  const log = logSource(primary, archived, fromLsn, decision.targetLsn);
  return { handshake, history, decision, log, mayDiscard: mayDiscard(facts, handshake) };
}

function mayDiscard({ look, matches }: ReplicaFacts, { lineage }: Handshake): boolean {
  if (lineage.kind === "lost") return lineage.because === "empty";
  if (lineage.kind === "interrupted" || look.data.kind !== "readable") return false;
  // A standby writes nothing of its own. Of a former primary nobody can tell any more, where its log could not be compared.
  return look.data.role === "standby" || matches.every(({ match }) => match !== "unknown");
}
