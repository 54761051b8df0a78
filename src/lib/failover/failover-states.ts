import type { FailoverRun, LedgerEpochRecord } from "../membership/ledger-records.ts";

/**
 * How far a failover or a switchover has come. Each is reached only when what it says was looked at and found so; the run's
 * record in the control plane has the last one.
 */
export const FAILOVER_STATES = [
  /** The run is in the control plane; nobody else runs one. */
  "begun",
  /** It may succeed: candidate, backups, control plane and hooks were looked at. */
  "checked",
  /** Of a switchover: the old primary stopped in order, and the candidate has all of its log. */
  "drained",
  /** The new epoch stands; nobody is the primary of it. */
  "raised",
  /** The old master's services were told to stop, as far as there is a way to tell them. */
  "silenced",
  /** Enough standbys of the epoch before have detached for good. */
  "attested",
  /** It is proven, or attested by the operator, that the old master takes no writes. */
  "fenced",
  /** The candidate is written down as the one that is being promoted; from here there is no way back. */
  "chosen",
  /** The new primary has its epoch as its first row, and takes writes. */
  "open",
  /** This box's clients are on the new primary, and others know where it is. */
  "switched",
  /** Whoever was let in under the old epoch is out. */
  "revoked",
  /** A write under the old epoch was refused, and one under the new was done. */
  "sealed",
  /** What must work on the new master was tried, and worked. */
  "verified",
  /** The world was told. */
  "flipped",
  "done",
  "aborted",
] as const;
export type FailoverState = (typeof FAILOVER_STATES)[number];

/** What a step does; the executor has one idempotent function for each. */
export const FAILOVER_ACTIONS = [
  "preflight",
  "drainPrimary",
  "raiseEpoch",
  "detachStandbys",
  "silenceOldMaster",
  "awaitAttestations",
  "proveFence",
  "choosePrimary",
  "awaitPromotion",
  "switchTargets",
  "revokeAccess",
  "proveSealed",
  "verifyService",
  "flip",
  "finish",
  "reaffirm",
] as const;
export type FailoverAction = (typeof FAILOVER_ACTIONS)[number];

/** One step that a run may take. */
export interface FailoverTransition {
  /** Stable: journal and log name it. */
  readonly rule: number;
  /** The kind of run that takes it; null for both. */
  readonly kind: FailoverRun["kind"] | null;
  readonly from: FailoverState;
  readonly to: FailoverState;
  readonly action: FailoverAction;
  /** What the step is for, as plan, journal and docs/failover.md say it. */
  readonly because: string;
}

/** Every step there is; `decideStep` chooses among those of its state. */
export const FAILOVER_TRANSITIONS = [
  {
    rule: 10,
    kind: null,
    from: "begun",
    to: "checked",
    action: "preflight",
    because: "nothing is stopped before the candidate, its lag, backups, snapshots and hooks were looked at",
  },
  {
    rule: 20,
    kind: "switchover",
    from: "checked",
    to: "drained",
    action: "drainPrimary",
    because: "a primary that stops in order hands its whole log to its standbys first",
  },
  {
    rule: 30,
    kind: null,
    from: "drained",
    to: "raised",
    action: "detachStandbys",
    because: "standbys detach once they have the whole log",
  },
  {
    rule: 40,
    kind: "failover",
    from: "checked",
    to: "raised",
    action: "raiseEpoch",
    because: "the epoch is raised before anything else, so that a master that comes back sees that its time is over",
  },
  {
    rule: 50,
    kind: null,
    from: "raised",
    to: "silenced",
    action: "silenceOldMaster",
    because: "gateway, API and billing of the old master are told to stop",
  },
  {
    rule: 60,
    kind: null,
    from: "silenced",
    to: "attested",
    action: "awaitAttestations",
    because: "without enough of its standbys the old primary can acknowledge no commit any more",
  },
  {
    rule: 70,
    kind: null,
    from: "attested",
    to: "fenced",
    action: "proveFence",
    because: "nobody is promoted beside a master of which it is not known that it takes no writes",
  },
  {
    rule: 80,
    kind: null,
    from: "fenced",
    to: "chosen",
    action: "choosePrimary",
    because: "the standby with the most of the epoch's log is the one that has every acknowledged commit",
  },
  {
    rule: 90,
    kind: null,
    from: "chosen",
    to: "open",
    action: "awaitPromotion",
    because: "the new primary writes its epoch as its first row, then takes writes",
  },
  {
    rule: 100,
    kind: null,
    from: "open",
    to: "switched",
    action: "switchTargets",
    because: "every master's connections follow the epoch's record",
  },
  {
    rule: 105,
    kind: null,
    from: "switched",
    to: "revoked",
    action: "revokeAccess",
    because: "whoever was let in under the old epoch has no access to the new primary",
  },
  {
    rule: 110,
    kind: null,
    from: "revoked",
    to: "sealed",
    action: "proveSealed",
    because: "a write of the old epoch must not get through to the new primary",
  },
  {
    rule: 120,
    kind: null,
    from: "sealed",
    to: "verified",
    action: "verifyService",
    because: "the world is sent only to a master that was seen to work",
  },
  {
    rule: 130,
    kind: null,
    from: "verified",
    to: "flipped",
    action: "flip",
    because: "no verification, no flip",
  },
  {
    rule: 140,
    kind: null,
    from: "flipped",
    to: "done",
    action: "finish",
    because: "the run is over, and another one may begin",
  },
  ...(["begun", "checked", "drained", "raised", "silenced", "attested", "fenced"] as const).map(
    (from, index) =>
      ({
        rule: 200 + index,
        kind: null,
        from,
        to: "aborted",
        action: "reaffirm",
        because: "nobody was promoted yet, so the old primary can have its right back under a new number",
      }) as const,
  ),
] as const satisfies readonly FailoverTransition[];

const RANK: ReadonlyMap<FailoverState, number> = new Map(FAILOVER_STATES.map((state, index) => [state, index]));

/** Whether `state` has come at least as far as `other`. */
export function hasReached(state: FailoverState, other: FailoverState): boolean {
  return (RANK.get(state) ?? -1) >= (RANK.get(other) ?? Number.POSITIVE_INFINITY);
}

/** What a decision about the next step rests on. */
export interface FailoverFacts {
  readonly run: Pick<FailoverRun, "id" | "kind" | "replaces" | "to" | "from"> & { readonly step: FailoverState };
  /** As the quorum has it now. */
  readonly epoch: Pick<LedgerEpochRecord, "number" | "uuid" | "phase" | "primary" | "previous">;
  readonly wish: "go-on" | "abort";
}

/** What comes next: a step, that nothing is left to do, or why there is no step. */
export type FailoverDecision =
  | { readonly kind: "step"; readonly transition: FailoverTransition }
  | { readonly kind: "over"; readonly state: "done" | "aborted" }
  /** Somebody else changed the primary meanwhile: the run has lost its meaning. */
  | { readonly kind: "overtaken"; readonly why: string }
  /** Giving the old primary its right back would give two the right. */
  | { readonly kind: "too-late"; readonly why: string };

const STATE_OF_PHASE = { draining: "checked", fencing: "raised", promoting: "chosen", open: "open" } as const;

/** The state that the epoch's record alone proves; the run's own record may be a step behind it, never ahead. */
function stateOfEpoch({ run, epoch }: FailoverFacts): FailoverState | "overtaken" {
  // Of an abort: the old primary's right under a new number bears the run's own id.
  if (epoch.uuid === run.id) return "aborted";
  if (epoch.uuid === run.replaces.uuid && epoch.number === run.replaces.number) {
    return epoch.phase === "open" ? "begun" : "overtaken";
  }
  if (epoch.previous?.uuid !== run.replaces.uuid) return "overtaken";
  // The old primary was given its right back by an abort, and never took it: its history is still that of `replaces`.
  if (epoch.primary === run.from) return epoch.phase === "promoting" ? "begun" : "overtaken";
  return STATE_OF_PHASE[epoch.phase];
}

/** The epoch whose history a run would end: the open one, or the last open one where its primary never took its right back. */
export function endedEpoch(epoch: LedgerEpochRecord): NonNullable<LedgerEpochRecord["previous"]> | null {
  if (epoch.phase === "open") return epoch;
  return epoch.phase === "promoting" && epoch.previous?.primary === epoch.primary ? epoch.previous : null;
}

/** How far a run has really come, or that another change has overtaken it. */
export function reachedState(facts: FailoverFacts): FailoverState | "overtaken" {
  const { step } = facts.run;
  if (step === "done" || step === "aborted") return step;
  const proven = stateOfEpoch(facts);
  if (proven === "overtaken" || proven === "aborted") return proven;
  // A run's record that is ahead of the epoch's is of a control plane that was set back: what it says was done, was not.
  const isAhead = hasReached(step, "raised") && !hasReached(proven, "raised");
  if (isAhead || (hasReached(step, "chosen") && !hasReached(proven, "chosen"))) return "overtaken";
  if (hasReached(step, "open") && !hasReached(proven, "open")) return "overtaken";
  return hasReached(step, proven) ? step : proven;
}

/** Decides what a run does next. Reads no clock and asks nobody. */
export function decideStep(facts: FailoverFacts): FailoverDecision {
  const { run, epoch, wish } = facts;
  const state = reachedState(facts);
  if (state === "overtaken") {
    const why = `it was to end epoch ${run.replaces.number}, and the ledger is at epoch ${epoch.number} (${epoch.phase}) with ${epoch.primary} now`;
    return { kind: "overtaken", why };
  }
  if (state === "done" || state === "aborted") return { kind: "over", state };
  const wanted = wish === "abort" ? "reaffirm" : null;
  const rows: readonly FailoverTransition[] = FAILOVER_TRANSITIONS;
  const transition = rows.find(
    ({ kind, from, action }) =>
      from === state && (kind === null || kind === run.kind) && (action === "reaffirm") === (wanted !== null),
  );
  if (transition !== undefined) return { kind: "step", transition };
  return {
    kind: "too-late",
    why: `${run.to ?? epoch.primary} was chosen as the new primary and may have taken writes already`,
  };
}

/** The steps that a run of a kind takes from a state on, in their order. */
export function stepsFrom(kind: FailoverRun["kind"], state: FailoverState): readonly FailoverTransition[] {
  const steps: FailoverTransition[] = [];
  const rows: readonly FailoverTransition[] = FAILOVER_TRANSITIONS;
  let at = state;
  for (;;) {
    const next = rows.find(
      (row) => row.from === at && row.action !== "reaffirm" && (row.kind === null || row.kind === kind),
    );
    if (next === undefined) return steps;
    steps.push(next);
    at = next.to;
  }
}
