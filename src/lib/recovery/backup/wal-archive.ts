import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { FulaError, systemErrorCode } from "../../kernel/errors.ts";
import { SECRET_FILE_MODE, writeFileAtomic } from "../../kernel/files.ts";
import { type Lsn, parseWalFileName, segmentOf, segmentStart, walFileName } from "../lsn.ts";
import { parseHistory, type TimelineEnd } from "../timeline-history.ts";

/** WAL on one timeline without a gap. */
export interface ArchiveRange {
  readonly timeline: number;
  readonly startLsn: Lsn;
  /** Exclusive. Within a segment where that is still being received. */
  readonly endLsn: Lsn;
}

/** A gap between two ranges of one timeline. */
export type ArchiveHole = ArchiveRange;

/** What an archive has, proven by looking at every file's name and size. */
export interface ArchiveListing {
  /** Whose WAL it is, in decimal. */
  readonly systemId: string;
  readonly segmentBytes: number;
  /** By timeline, then position. */
  readonly ranges: readonly ArchiveRange[];
  readonly holes: readonly ArchiveHole[];
  /** The timelines whose history is here, with where each of their ancestors ended. */
  readonly histories: ReadonlyMap<number, readonly TimelineEnd[]>;
  readonly bytes: number;
}

/** Part of a segment that is received but not whole; its size is how much of it is there. */
export const PARTIAL_SUFFIX = ".partial";
/** Beside each whole segment, as `sha256sum` writes it. */
export const DIGEST_SUFFIX = ".sha256";

const identitySchema = z.strictObject({
  systemId: z.string().regex(/^\d{1,20}$/),
  segmentBytes: z.int().positive(),
});
const HISTORY_NAME = /^([0-9A-F]{8})\.history$/;

/** Where the archived WAL of a catalogue lies. */
export function archiveDir(backupDir: string): string {
  return join(backupDir, "wal");
}

function identityFile(dir: string): string {
  return join(dir, "archive.json");
}

/**
 * Makes sure that an archive is that of one server.
 * @throws FulaError FULA_WAL_ARCHIVE_FOREIGN where it has the WAL of another
 */
export async function claimArchive(dir: string, systemId: string, segmentBytes: number): Promise<void> {
  const found = await readIdentity(dir);
  if (found === null) {
    const text = `${JSON.stringify({ systemId, segmentBytes })}\n`;
    await writeFileAtomic(identityFile(dir), text, { mode: SECRET_FILE_MODE });
    return;
  }
  if (found.systemId === systemId && found.segmentBytes === segmentBytes) return;
  throw new FulaError(
    "FULA_WAL_ARCHIVE_FOREIGN",
    `${dir} has the WAL of the server ${found.systemId}, and this one is ${systemId}.`,
    {
      hint: `move ${dir} away if the ledger was made anew or replaced; then take a base backup: fula-master backup create`,
      details: { dir, found: found.systemId, server: systemId },
    },
  );
}

async function readIdentity(dir: string): Promise<z.infer<typeof identitySchema> | null> {
  try {
    return identitySchema.parse(JSON.parse(await readFile(identityFile(dir), "utf8")));
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return null;
    if (systemErrorCode(error) !== undefined) throw error;
    throw new FulaError("FULA_WAL_ARCHIVE_FOREIGN", `${identityFile(dir)} cannot be read as that of an archive.`, {
      cause: error,
      hint: "it says whose WAL this is; put it back from a copy, or move the directory away and take a base backup.",
    });
  }
}

/** What is there of one segment. */
interface FoundSegment {
  readonly timeline: number;
  readonly startLsn: Lsn;
  readonly endLsn: Lsn;
}

/**
 * Looks through an archive. A segment counts where its file is whole and has its digest beside it.
 * @returns null where there is no archive
 * @throws FulaError FULA_WAL_ARCHIVE_FOREIGN where it cannot be told whose it is
 */
export async function listArchive(backupDir: string): Promise<ArchiveListing | null> {
  const dir = archiveDir(backupDir);
  const identity = await readIdentity(dir);
  if (identity === null) return null;
  const { systemId, segmentBytes } = identity;
  const names = await readdir(dir);
  const present = new Set(names);
  const segments: FoundSegment[] = [];
  const histories = new Map<number, readonly TimelineEnd[]>();
  let bytes = 0;
  for (const name of names) {
    const timeline = HISTORY_NAME.exec(name)?.[1];
    if (timeline !== undefined) {
      histories.set(Number.parseInt(timeline, 16), parseHistory(await readFile(join(dir, name), "utf8")));
    }
    const isPartial = name.endsWith(PARTIAL_SUFFIX);
    const file = parseWalFileName(isPartial ? name.slice(0, -PARTIAL_SUFFIX.length) : name, segmentBytes);
    if (file === null) continue;
    const size = await sizeOf(join(dir, name));
    bytes += size;
    const isWhole = size === segmentBytes && present.has(`${name}${DIGEST_SUFFIX}`);
    if (isPartial ? size === 0 || present.has(name.slice(0, -PARTIAL_SUFFIX.length)) : !isWhole) continue;
    segments.push({ timeline: file.timeline, startLsn: file.startLsn, endLsn: file.startLsn + BigInt(size) });
  }
  return { systemId, segmentBytes, histories, bytes, ...joinSegments(segments) };
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    // Renamed or pruned in between.
    if (systemErrorCode(error) === "ENOENT") return 0;
    throw error;
  }
}

function joinSegments(segments: readonly FoundSegment[]): Pick<ArchiveListing, "ranges" | "holes"> {
  const ranges: { readonly timeline: number; readonly startLsn: Lsn; endLsn: Lsn }[] = [];
  const holes: ArchiveHole[] = [];
  const inOrder = segments.toSorted((a, b) => a.timeline - b.timeline || Number(a.startLsn - b.startLsn));
  for (const { timeline, startLsn, endLsn } of inOrder) {
    const last = ranges.at(-1);
    if (last?.timeline === timeline && last.endLsn === startLsn) last.endLsn = endLsn;
    else ranges.push({ timeline, startLsn, endLsn });
    if (last?.timeline === timeline && last.endLsn < startLsn) {
      holes.push({ timeline, startLsn: last.endLsn, endLsn: startLsn });
    }
  }
  return { ranges, holes };
}

/** How far an archive reaches without a gap. */
export interface ArchiveReach {
  /** Exclusive; the start where nothing is there. */
  readonly endLsn: Lsn;
  /** The timeline on which that is. */
  readonly timeline: number;
  /** The segments on the way, in their order. */
  readonly files: readonly string[];
}

/**
 * Follows an archive from a position along the history of a timeline, until a segment is missing. As PostgreSQL does it, the
 * segment in which a timeline begins is taken from the newest timeline that has it, and none goes back to an older one. One
 * that has WAL beyond the end of its timeline as well is none of that history: PostgreSQL would replay it.
 * @param timeline the last one; null where its history is not here
 */
export function reachOf(listing: ArchiveListing, startLsn: Lsn, timeline: number): ArchiveReach | null {
  const { segmentBytes, ranges } = listing;
  const path = pathTo(listing, timeline);
  if (path === null) return null;
  const files: string[] = [];
  let reached = { endLsn: startLsn, timeline: partAt(path, startLsn)?.timeline ?? timeline };
  for (let segment = segmentOf(startLsn, segmentBytes); ; segment += 1n) {
    const begin = segmentStart(segment, segmentBytes);
    const whole = begin + BigInt(segmentBytes);
    const found = path
      .filter((part) => part.startLsn < whole && begin < part.endLsn && part.timeline >= reached.timeline)
      .toReversed()
      .map((part) => ({ part, range: ranges.find((range) => holds(range, part.timeline, begin)) }))
      .find(({ range }) => range !== undefined);
    if (found?.range === undefined) return { ...reached, files };
    const endLsn = found.range.endLsn < whole ? found.range.endLsn : whole;
    if (endLsn > found.part.endLsn) return { ...reached, files };
    reached = { endLsn: endLsn > startLsn ? endLsn : startLsn, timeline: found.part.timeline };
    files.push(walFileName(found.part.timeline, begin, segmentBytes));
    if (endLsn < whole) return { ...reached, files };
  }
}

function holds(range: ArchiveRange, timeline: number, lsn: Lsn): boolean {
  return range.timeline === timeline && range.startLsn <= lsn && lsn < range.endLsn;
}

/** The stretches of a timeline's history, the oldest first; null where its history file is missing. */
export function pathTo({ histories }: ArchiveListing, timeline: number): readonly ArchiveRange[] | null {
  const ancestors = timeline === 1 ? [] : histories.get(timeline);
  if (ancestors === undefined) return null;
  const path: ArchiveRange[] = [];
  let startLsn: Lsn = 0n;
  for (const { timeline: ancestor, endLsn } of ancestors) {
    path.push({ timeline: ancestor, startLsn, endLsn });
    startLsn = endLsn;
  }
  // Beyond every position: it has not ended.
  path.push({ timeline, startLsn, endLsn: 1n << 64n });
  return path;
}

/** The stretch that a position is on; one at which a timeline ends is still on that. */
export function partAt(path: readonly ArchiveRange[], lsn: Lsn): ArchiveRange | null {
  return path.find(({ endLsn }) => lsn <= endLsn) ?? null;
}

/**
 * Where something is missing of a timeline's history, from a position on: within a timeline, or between two.
 * @returns null where the history file itself is missing
 */
export function holesSince(listing: ArchiveListing, startLsn: Lsn, timeline: number): readonly ArchiveHole[] | null {
  const path = pathTo(listing, timeline);
  const reach = reachOf(listing, startLsn, timeline);
  if (path === null || reach === null) return null;
  const holes = listing.holes.filter((hole) =>
    path.some((part) => part.timeline === hole.timeline && hole.startLsn < part.endLsn && hole.endLsn > startLsn),
  );
  const archivedTo = archivedUpTo(listing, path);
  if (archivedTo <= reach.endLsn || holes.some((hole) => hole.startLsn === reach.endLsn)) return holes;
  const next = listing.ranges
    .filter((range) => range.startLsn > reach.endLsn && path.some((part) => part.timeline === range.timeline))
    .map((range) => range.startLsn);
  const endLsn = next.reduce((least, lsn) => (lsn < least ? lsn : least), archivedTo);
  return [{ timeline: reach.timeline, startLsn: reach.endLsn, endLsn }, ...holes];
}

/** Up to where there was WAL of a history at least: what is archived of its last timeline, and where that began. */
export function archivedUpTo({ ranges }: ArchiveListing, path: readonly ArchiveRange[]): Lsn {
  const last = path.at(-1);
  const ends = ranges.filter((range) => range.timeline === last?.timeline).map(({ endLsn }) => endLsn);
  return ends.reduce((most, end) => (end > most ? end : most), last?.startLsn ?? 0n);
}

/** The newest timeline of which an archive knows anything; null where it is empty. */
export function newestTimeline({ ranges, histories }: ArchiveListing): number | null {
  const known = [...histories.keys(), ...ranges.map(({ timeline }) => timeline)];
  return known.length === 0 ? null : Math.max(...known);
}
