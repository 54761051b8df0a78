import { type Lsn, parseLsn } from "./lsn.ts";

/** An ancestor of a timeline, and where the next one left it. */
export interface TimelineEnd {
  readonly timeline: number;
  readonly endLsn: Lsn;
}

const HISTORY_LINE = /^\s*(\d+)\s+([0-9A-Fa-f]+\/[0-9A-Fa-f]+)/;

/** The name of a timeline's history file. */
export function historyName(timeline: number): string {
  return `${timeline.toString(16).toUpperCase().padStart(8, "0")}.history`;
}

/**
 * Reads a history file: the timelines before its own, the oldest first. PostgreSQL copies the history of the timeline that a
 * recovery was told to follow, also where that stopped on an older one: a timeline does not go on beyond the end of a later.
 */
export function parseHistory(text: string): readonly TimelineEnd[] {
  const ends: TimelineEnd[] = [];
  for (const line of text.split("\n")) {
    const match = HISTORY_LINE.exec(line);
    if (match?.[1] !== undefined && match[2] !== undefined) {
      ends.push({ timeline: Number(match[1]), endLsn: parseLsn(match[2]) });
    }
  }
  return ends.map(({ timeline, endLsn }, index) => ({
    timeline,
    endLsn: ends.slice(index + 1).reduce((least, later) => (later.endLsn < least ? later.endLsn : least), endLsn),
  }));
}

/** A timeline as far as a history has it. */
export interface TimelineStretch {
  readonly timeline: number;
  /** Where it left the one before; 0 for the first. */
  readonly beganAtLsn: Lsn;
}

/**
 * The stretches up to a timeline, the oldest first.
 * @param histories texts of `.history` files, by timeline
 * @returns null where the history of a timeline that is not the first is not there
 */
export function stretchesTo(
  timeline: number,
  histories: ReadonlyMap<number, string>,
): readonly TimelineStretch[] | null {
  if (timeline === 1) return [{ timeline: 1, beganAtLsn: 0n }];
  const text = histories.get(timeline);
  if (text === undefined) return null;
  const stretches: TimelineStretch[] = [];
  let beganAtLsn: Lsn = 0n;
  for (const ancestor of parseHistory(text)) {
    stretches.push({ timeline: ancestor.timeline, beganAtLsn });
    beganAtLsn = ancestor.endLsn;
  }
  return [...stretches, { timeline, beganAtLsn }];
}

/** The stretch that a position is on; one at which a timeline begins is still on the timeline before. */
export function stretchAt(stretches: readonly TimelineStretch[], lsn: Lsn): TimelineStretch | null {
  return stretches.findLast(({ beganAtLsn }) => beganAtLsn < lsn) ?? stretches[0] ?? null;
}

/** Where a stretch ended; null for the last one. */
export function endOfStretch(stretches: readonly TimelineStretch[], timeline: number): Lsn | null {
  const index = stretches.findIndex((stretch) => stretch.timeline === timeline);
  return stretches[index + 1]?.beganAtLsn ?? null;
}
