import { formatLsn } from "../recovery/lsn.ts";
import type { DivergedTail } from "../recovery/postgres/replica-work.ts";
import type { Verdict } from "../recovery/postgres/classify.ts";
import type { RefusedRung, Rung } from "../recovery/types.ts";
import type { ResyncEyes } from "./resync-eyes.ts";
import type { ResyncScene } from "./resync-scene.ts";

/** How a box's server would come back, and why so; `--json` keeps these fields. Positions are as PostgreSQL writes them. */
export interface ResyncPlan {
  readonly node: string;
  /** The box whose server it follows then. */
  readonly primary: string;
  readonly epoch: { readonly number: number; readonly uuid: string };
  readonly rung: Rung;
  /** How its history stands to the primary's. */
  readonly lineage: Verdict["handshake"]["lineage"]["kind"];
  /** What was compared with what. */
  readonly proof: {
    readonly code: string;
    readonly reason: string;
    readonly recoverable: boolean;
    readonly replicaFlushedLsn: string;
    readonly committedLsn: string;
    readonly tailLsn: string;
    readonly headLsn: string;
    /** Segments of log that this way needs, those of them that are there, and where. */
    readonly segmentsNeeded: number;
    readonly segmentsFound: number;
    readonly source: Verdict["log"]["source"];
  };
  /** Every cheaper way, and why it is not taken. */
  readonly refused: readonly RefusedRung[];
  /** From where log is needed, exclusive, and what the server has to have in the end. */
  readonly startLsn: string;
  readonly targetLsn: string;
  /** What is kept before it is discarded; null where this server has nothing that the primary lacks. */
  readonly tail: { readonly timeline: number; readonly forkLsn: string; readonly endLsn: string } | null;
}

/** A plan, and what the work rests on. */
export interface MadePlan {
  readonly plan: ResyncPlan;
  readonly tail: DivergedTail | null;
  /** False where the old data may be the only ones of their kind: another ledger's, or half rewritten. */
  readonly mayDiscard: boolean;
}

/** Looks at both servers and decides, as the run itself does; changes nothing. @throws FulaError what looking throws */
export async function planResync(
  node: string,
  { primary, epoch }: ResyncScene,
  eyes: ResyncEyes,
  signal: AbortSignal,
): Promise<MadePlan> {
  const { handshake, decision, log, mayDiscard } = await eyes.classify(signal);
  const { lineage } = handshake;
  const tail = await eyes.tailOf(handshake, signal);
  const { proof } = decision;
  const plan: ResyncPlan = {
    node,
    primary,
    epoch: { number: Number(epoch.number), uuid: epoch.uuid },
    rung: decision.rung,
    lineage: lineage.kind,
    proof: {
      code: proof.code,
      reason: proof.reason,
      recoverable: proof.recoverable,
      replicaFlushedLsn: formatLsn(proof.replicaFlushedLsn),
      committedLsn: formatLsn(proof.committedLsn),
      tailLsn: formatLsn(proof.tailLsn),
      headLsn: formatLsn(proof.headLsn),
      ...log,
    },
    refused: decision.refused,
    startLsn: formatLsn(decision.startLsn),
    targetLsn: formatLsn(decision.targetLsn),
    tail:
      tail === null
        ? null
        : { timeline: tail.timeline, forkLsn: formatLsn(tail.forkLsn), endLsn: formatLsn(tail.endLsn) },
  };
  return { plan, tail, mayDiscard };
}
