import { type Epoch, relateEpoch } from "../epoch.ts";
import { type LineageEntry, type LineageRelation, relateLineage } from "../lineage.ts";
import { type Lsn, segmentOf, segmentStart } from "../lsn.ts";
import type { TimelineStretch } from "../timeline-history.ts";
import type { NodeData, NodeLook } from "./node-look.ts";
import type { PrimaryLook } from "./primary-look.ts";
import type { StretchMatch } from "./wal-match.ts";

/** Stands for the history of a stretch that is not the primary's: no epoch has the number 0. */
const OTHER: Epoch = { number: 0n, uuid: "00000000-0000-0000-0000-000000000000" };

/** The history of the primary by its timelines, each with the epoch that began it. */
function entriesOfPrimary({ stretches, epochRows }: PrimaryLook): readonly LineageEntry[] {
  return stretches.map(({ timeline, beganAtLsn }) => ({
    timeline,
    beganAtLsn,
    // An epoch that was affirmed again has a later row with the same timeline.
    epoch: epochRows.findLast((row) => row.timeline === timeline) ?? null,
  }));
}

/**
 * The timelines that lead to a replica's end. Where its own file of them is gone, the primary's are taken: whether what it
 * wrote there is the same is compared none the less.
 */
export function stretchesOf(data: NodeData, primary: PrimaryLook): readonly TimelineStretch[] {
  if (data.stretches !== null) return data.stretches;
  const { timeline } = data.end;
  const known = primary.stretches.findIndex((stretch) => stretch.timeline === timeline);
  return known === -1 ? [{ timeline, beganAtLsn: 0n }] : primary.stretches.slice(0, known + 1);
}

/** A replica's epoch that the primary does not know: it was begun somewhere else. */
function knowsOtherEpoch({ epochRows }: NodeData, primary: PrimaryLook): boolean {
  return (epochRows ?? []).some((row) => !primary.epochRows.some((known) => relateEpoch(known, row) === "same"));
}

/** The highest epoch that a box has heard of, or has in its data. */
function highestEpoch({ floor, data }: NodeLook): Epoch | null {
  const known = data.kind === "readable" ? (data.epochRows ?? []) : [];
  return [...known, ...(floor === null ? [] : [floor])].reduce<Epoch | null>(
    (highest, epoch) => (highest === null || epoch.number > highest.number ? epoch : highest),
    null,
  );
}

/**
 * Says how the history of a box's data stands to the primary's, before any position is compared.
 * @param arbiter the epoch that the control plane has given out last
 * @param matches of the stretches that both name the same, whether they are
 * @param tailLsn what the primary and the archive have: below it, nothing could be compared and nothing can be sent
 */
export function relateNode(
  look: NodeLook,
  primary: PrimaryLook,
  arbiter: Epoch,
  matches: readonly StretchMatch[],
  tailLsn: Lsn,
): LineageRelation {
  const { data, marker, floor } = look;
  // Also of data that are gone or half rewritten: whoever is behind does not judge who was ahead.
  if (floor !== null && floor.number > arbiter.number) return { kind: "epoch_above_arbiter", epoch: floor };
  // Before `write`, nothing but what any server does was done to the data: they say the truth.
  if (marker !== null && marker.phase !== "scan") {
    const what = `${marker.kind} (${marker.phase}) of session ${marker.session}`;
    return { kind: "interrupted", what, mayRewindAgain: false };
  }
  return relateData(look, data, primary, { arbiter, matches, tailLsn });
}

/** As `relateNode`, whatever marker stands there. */
export function relateData(
  look: NodeLook,
  data: NodeLook["data"],
  primary: PrimaryLook,
  facts: { readonly arbiter: Epoch; readonly matches: readonly StretchMatch[]; readonly tailLsn: Lsn },
): LineageRelation {
  const { arbiter, matches, tailLsn } = facts;
  if (data.kind !== "readable") return { kind: "lost", because: data.kind };
  if (data.control.systemId !== primary.systemId) return { kind: "lost", because: "foreign_system" };
  const highest = highestEpoch(look);
  if (highest !== null && highest.number > arbiter.number) return { kind: "epoch_above_arbiter", epoch: highest };
  const entries = entriesOfPrimary(primary);
  const isForeign = knowsOtherEpoch(data, primary);
  const stretches = stretchesOf(data, primary);
  const replica = stretches.map((stretch, index): LineageEntry => {
    const match = matches[index];
    if (match === undefined) return { ...stretch, epoch: OTHER };
    const isLast = index === stretches.length - 1;
    const isSame = isSameStretch(match, tailLsn, data.control.segmentBytes) && !(isForeign && isLast);
    return { ...stretch, epoch: isSame ? (entries[index]?.epoch ?? null) : OTHER };
  });
  return relateLineage({ arbiterEpoch: arbiter, primary: entries, replica, replicaFlushedLsn: data.end.lsn });
}

/**
 * What could not be compared counts as the same only where nothing depends on it: nobody has the WAL any more with which the
 * replica would have to go on there.
 */
function isSameStretch({ match, upToLsn }: StretchMatch, tailLsn: Lsn, segmentBytes: number): boolean {
  if (match !== "unknown") return match === "same";
  return segmentStart(segmentOf(upToLsn - 1n, segmentBytes), segmentBytes) < tailLsn;
}
