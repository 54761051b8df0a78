import type { Hold } from "./hold.ts";
import type { Lsn } from "./lsn.ts";
import type { Authority } from "./sender.ts";
import type { CatchUpBudget, RebuildSource, RecoverabilityProof, RefusedRung } from "./types.ts";

interface PlanBase {
  readonly authority: Authority;
  readonly proof: RecoverabilityProof;
  /** Every cheaper rung, and why it was not taken. */
  readonly refused: readonly RefusedRung[];
}

/** Nothing is to be done; the session is completed. */
export interface ZeroGapPlan extends PlanBase {
  readonly outcome: "zero_gap";
  readonly rung: "zero_gap";
}

/** Streams what is missing, after what is too much was taken away. */
export interface CatchUpPlan extends PlanBase {
  readonly outcome: "catchup";
  readonly rung: "catchup" | "truncate_only";
  /** Exclusive: the real start of the replay. */
  readonly catchUpStartLsn: Lsn;
  /** Inclusive, and frozen. */
  readonly catchUpTarget: Lsn;
  readonly truncateLsn: Lsn | null;
  readonly budget: CatchUpBudget;
  readonly hold: Hold;
}

/** Rebuilds the replica from its source. */
export interface RebuildPlan extends PlanBase {
  readonly outcome: "rebuild";
  readonly rung: RebuildSource;
  readonly rebuildSource: RebuildSource;
  /** Where the tail begins: the backup's end, or the checkpoint before the fork; 0 for a full base, which has no tail. */
  readonly rebuildSnapshotLsn: Lsn;
  readonly rebuildTargetLsn: Lsn;
  readonly budget: CatchUpBudget;
  readonly hold: Hold;
}

/** Holds nothing: a rebuild has to be assigned. */
export interface NeedsRebuildPlan extends PlanBase {
  readonly outcome: "needs_rebuild";
  /** What a rebuild would take now. */
  readonly rung: RebuildSource;
}

/** Holds nothing: an operator has to look. */
export interface HaltPlan extends PlanBase {
  readonly outcome: "halt";
  readonly rung: "halt";
}

/** What is to be done, with everything that it rests on: whoever carries it out asks for nothing else. */
export type RecoveryPlan = ZeroGapPlan | CatchUpPlan | RebuildPlan | NeedsRebuildPlan | HaltPlan;

/** A plan that holds something until it is carried out or cancelled. */
export type HoldingPlan = CatchUpPlan | RebuildPlan;
