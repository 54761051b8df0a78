import { type Epoch, relateEpoch } from "./epoch.ts";
import type { Lsn } from "./lsn.ts";

/** One stretch of a history: under which epoch and on which timeline it was written, and from where. */
export interface LineageEntry {
  /** null where no epoch was recorded for it, as before the first one. */
  readonly epoch: Epoch | null;
  readonly timeline: number;
  /** The position from which on WAL was written under it: the switchpoint. */
  readonly beganAtLsn: Lsn;
}

/** Why a replica has no history that anything can be built on. */
export type LineageLoss = "foreign_system" | "empty" | "control_unreadable" | "no_common_epoch";

/** How a replica's history stands to the primary's. It is decided before any position is compared. */
export type LineageRelation =
  /** What it has is a part of the primary's history. */
  | { readonly kind: "on_lineage" }
  /** It took more of the old timeline than the primary did when that began the new one at `forkLsn`. */
  | { readonly kind: "ahead"; readonly forkLsn: Lsn }
  /** It has history of its own after the common ancestor. */
  | {
      readonly kind: "forked";
      readonly ancestorLsn: Lsn;
      readonly because: "forked_before_recovery_point" | "same_tli_uuid_mismatch";
    }
  /** Nothing of it can be used. */
  | { readonly kind: "lost"; readonly because: LineageLoss }
  /** Something that rewrites data was begun and not ended there. */
  | {
      readonly kind: "interrupted";
      /** What was begun, as its marker says. */
      readonly what: string;
      /** Set where a rewind had written nothing yet, and may be tried again. */
      readonly mayRewindAgain: boolean;
    }
  /** It knows an epoch that the arbiter has not given out: the arbiter was set back. */
  | { readonly kind: "epoch_above_arbiter"; readonly epoch: Epoch };

/** The histories of a replica and of the primary, each from its oldest known stretch on. */
export interface Lineages {
  /** The newest epoch that the arbiter has given out. */
  readonly arbiterEpoch: Epoch;
  readonly primary: readonly LineageEntry[];
  /** Has to cover everything up to `replicaFlushedLsn`, also what is not replayed yet. */
  readonly replica: readonly LineageEntry[];
  readonly replicaFlushedLsn: Lsn;
}

/**
 * Says how a replica's history stands to the primary's. What cannot be told apart from a second promotion counts as one:
 * a stretch whose epoch only one side knows is not common to both.
 */
export function relateLineage(lineages: Lineages): LineageRelation {
  const { primary, replica, replicaFlushedLsn } = lineages;
  const above = replica.find(({ epoch }) => epoch !== null && epoch.number > lineages.arbiterEpoch.number);
  if (above?.epoch != null) return { kind: "epoch_above_arbiter", epoch: above.epoch };
  let common = 0;
  while (isSameStretch(primary[common], replica[common])) common += 1;
  const last = primary[common - 1];
  if (last === undefined) return { kind: "lost", because: "no_common_epoch" };
  const ours = primary[common];
  const theirs = replica[common];
  if (theirs !== undefined) return forkOf(ours, theirs);
  if (ours === undefined || replicaFlushedLsn <= ours.beganAtLsn) return { kind: "on_lineage" };
  if (ours.timeline === last.timeline) {
    return { kind: "forked", ancestorLsn: ours.beganAtLsn, because: "same_tli_uuid_mismatch" };
  }
  return { kind: "ahead", forkLsn: ours.beganAtLsn };
}

function forkOf(ours: LineageEntry | undefined, theirs: LineageEntry): LineageRelation {
  const isEarlier = ours === undefined || theirs.beganAtLsn < ours.beganAtLsn;
  return {
    kind: "forked",
    ancestorLsn: isEarlier ? theirs.beganAtLsn : ours.beganAtLsn,
    because: ours?.timeline === theirs.timeline ? "same_tli_uuid_mismatch" : "forked_before_recovery_point",
  };
}

function isSameStretch(a: LineageEntry | undefined, b: LineageEntry | undefined): boolean {
  if (a === undefined || b === undefined || a.timeline !== b.timeline) return false;
  if (a.epoch === null || b.epoch === null) return a.epoch === b.epoch && a.beganAtLsn === b.beganAtLsn;
  return relateEpoch(a.epoch, b.epoch) === "same";
}
