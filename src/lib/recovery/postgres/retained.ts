import type { RetainedHistory } from "../types.ts";
import { type Lsn, segmentOf } from "../lsn.ts";
import type { ProvenWal } from "./archived-wal.ts";
import type { PrimaryLook } from "./primary-look.ts";

/** The newest base backup of which one can go on, as the catalogue knows it. */
export interface KnownBackup {
  readonly endLsn: Lsn;
  /** Whether it is verified, signed, and of this lineage. */
  readonly isTrusted: boolean;
}

/**
 * The primary's account of what it still has: in its directory, before that in an archive that is proven to lead up to it, and
 * the newest backup.
 */
export function retainedHistory(
  { headLsn, committedLsn, tailLsn }: PrimaryLook,
  archived: ProvenWal | null,
  backup: KnownBackup | null,
): RetainedHistory {
  return {
    headLsn,
    tailLsn: archived !== null && archived.tailLsn < tailLsn ? archived.tailLsn : tailLsn,
    committedLsn,
    checkpointLsn: backup?.endLsn ?? 0n,
    checkpointTrusted: backup?.isTrusted ?? false,
  };
}

/** Whence the log comes that a way back needs, segment by segment. */
export interface LogSource {
  readonly segmentsNeeded: number;
  /** Fewer where that way cannot be gone. */
  readonly segmentsFound: number;
  readonly source: "pg_wal" | "archive" | "mixed";
}

/** Counts the segments between two positions, and where each of them is. */
export function logSource(
  { tailLsn, headLsn, segmentBytes }: Pick<PrimaryLook, "tailLsn" | "headLsn" | "segmentBytes">,
  archived: ProvenWal | null,
  startExclusive: Lsn,
  endInclusive: Lsn,
): LogSource {
  const needed = count(startExclusive, endInclusive, segmentBytes);
  const inDirectory = count(max(startExclusive, tailLsn), min(endInclusive, headLsn), segmentBytes);
  const archivedTail = archived === null || archived.tailLsn > tailLsn ? tailLsn : archived.tailLsn;
  const inArchive = count(max(startExclusive, archivedTail), min(endInclusive, tailLsn), segmentBytes);
  const source = inArchive === 0 ? "pg_wal" : inDirectory === 0 ? "archive" : "mixed";
  return { segmentsNeeded: needed, segmentsFound: inDirectory + inArchive, source };
}

function count(startExclusive: Lsn, endInclusive: Lsn, segmentBytes: number): number {
  if (endInclusive <= startExclusive) return 0;
  return Number(segmentOf(endInclusive - 1n, segmentBytes) - segmentOf(startExclusive, segmentBytes)) + 1;
}

function max(one: Lsn, other: Lsn): Lsn {
  return one > other ? one : other;
}

function min(one: Lsn, other: Lsn): Lsn {
  return one < other ? one : other;
}
