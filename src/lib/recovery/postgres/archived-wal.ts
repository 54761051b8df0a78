import type { Session } from "../../postgres/session.ts";
import type { SiteSession } from "../../runtime/postgres-site.ts";
import { type Lsn, segmentOf, segmentStart, walFileName } from "../lsn.ts";
import { endOfStretch } from "../timeline-history.ts";
import type { PrimaryLook } from "./primary-look.ts";
import { fileOfSegment, oldestKept } from "./wal-inventory.ts";
import { digestAtPrimary } from "./wal-match.ts";

/** What an archive says that it has. */
export interface ArchivedFiles {
  /** In decimal. */
  readonly systemId: string;
  readonly segmentBytes: number;
  /** How much of a segment is there, from its beginning; 0 for none of it. */
  bytesOf(name: string): number;
}

/** Archived WAL that this box can read. */
export interface WalArchive {
  /** Null where there is none. */
  list(): Promise<ArchivedFiles | null>;
  /** SHA-256 of the first `bytes` of a segment, in hex; null where the archive does not have so much of it. */
  digest(name: string, bytes: number): Promise<string | null>;
  /**
   * Brings whole segments into a new directory of a site, each held against its own digest.
   * @throws FulaError FULA_WAL_ARCHIVE_DAMAGED, FULA_RECOVERY_STEP
   */
  unpack(names: readonly string[], files: SiteSession, dir: string, signal: AbortSignal): Promise<void>;
  /** What it has could not be used: from now on it counts as not there. */
  distrust(): void;
}

/** The part of an archive that is the primary's own history, without a hole. */
export interface ProvenWal {
  /** Exclusive: all of it above is there. */
  readonly tailLsn: Lsn;
  /** Up to here in whole segments. */
  readonly upToLsn: Lsn;
}

/**
 * Finds out how much of an archive is the primary's: of the oldest segment that the primary still has, it has the same bytes,
 * and from there back whole segments by the names of the primary's history. Its WAL is one chain, by the checksum of each
 * record and the position of the one before, so that what leads to an equal end is the same; the server that replays it
 * follows that chain, and goes no step where it is broken.
 * @returns null where that is not proven, or nothing is there
 */
export async function proveArchive(
  session: Session,
  primary: PrimaryLook,
  archive: WalArchive | null,
): Promise<ProvenWal | null> {
  const { stretches, tailLsn, segmentBytes } = primary;
  const files = (await archive?.list()) ?? null;
  if (archive === null || files === null) return null;
  if (files.systemId !== primary.systemId || files.segmentBytes !== segmentBytes) return null;
  const segment = segmentOf(tailLsn, segmentBytes);
  if (!(await isSameSegment(session, primary, archive, files, segment))) return null;
  const whole = { has: (name: string) => files.bytesOf(name) === segmentBytes };
  const startLsn = segmentStart(segment, segmentBytes);
  let above = segment;
  while (whole.has(fileOfSegment(stretches, above, segmentBytes))) above += 1n;
  return {
    tailLsn: oldestKept(whole, stretches, startLsn, segmentBytes),
    upToLsn: segmentStart(above, segmentBytes),
  };
}

/** Whether archive and primary have the same beginning of a segment, which may lie on more than one timeline. */
async function isSameSegment(
  session: Session,
  { stretches, headLsn, segmentBytes }: PrimaryLook,
  archive: WalArchive,
  files: ArchivedFiles,
  segment: bigint,
): Promise<boolean> {
  const startLsn = segmentStart(segment, segmentBytes);
  const endLsn = startLsn + BigInt(segmentBytes);
  const theirs = fileOfSegment(stretches, segment, segmentBytes);
  for (const { timeline, beganAtLsn } of stretches.toReversed()) {
    if (beganAtLsn >= endLsn) continue;
    const name = walFileName(timeline, startLsn, segmentBytes);
    const limits = [startLsn + BigInt(files.bytesOf(name)), headLsn, endOfStretch(stretches, timeline) ?? headLsn];
    const bytes = Number(limits.reduce((lowest, lsn) => (lsn < lowest ? lsn : lowest)) - startLsn);
    if (bytes <= 0) continue;
    const ours = await archive.digest(name, bytes);
    return ours !== null && ours === (await digestAtPrimary(session, theirs, bytes));
  }
  return false;
}

/** The files of the primary's history from the segment of one position up to before that of another. */
export function filesBetween(
  { stretches, segmentBytes }: Pick<PrimaryLook, "stretches" | "segmentBytes">,
  fromLsn: Lsn,
  toLsn: Lsn,
): readonly string[] {
  const names: string[] = [];
  for (let at = segmentOf(fromLsn, segmentBytes); at < segmentOf(toLsn, segmentBytes); at += 1n) {
    names.push(fileOfSegment(stretches, at, segmentBytes));
  }
  return names;
}
