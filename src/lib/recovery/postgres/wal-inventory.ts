import { type Lsn, segmentOf, segmentStart, walFileName } from "../lsn.ts";
import { type TimelineStretch, stretchAt } from "../timeline-history.ts";

/**
 * The name of the file in which a server looks for a segment, by its history: the segment in which a timeline begins is
 * copied to a file of that timeline, and the older one may be incomplete.
 */
export function fileOfSegment(stretches: readonly TimelineStretch[], segment: bigint, segmentBytes: number): string {
  const start = segmentStart(segment, segmentBytes);
  const { timeline = 1 } = stretchAt(stretches, start + BigInt(segmentBytes)) ?? {};
  return walFileName(timeline, start, segmentBytes);
}

/**
 * The position from which on a directory of WAL has everything up to `headLsn`, as files of this history. Files beyond the
 * head, which PostgreSQL keeps to write them again under their new names, say nothing.
 * @returns the head itself where not even its own segment is there
 */
export function oldestKept(
  files: Pick<ReadonlySet<string>, "has">,
  stretches: readonly TimelineStretch[],
  headLsn: Lsn,
  segmentBytes: number,
): Lsn {
  // The head may be the first position of a segment that is not begun.
  let segment = segmentOf(headLsn - 1n, segmentBytes);
  let oldest = headLsn;
  while (segment >= 0n && files.has(fileOfSegment(stretches, segment, segmentBytes))) {
    oldest = segmentStart(segment, segmentBytes);
    segment -= 1n;
  }
  return oldest;
}
