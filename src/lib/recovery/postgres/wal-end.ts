import type { SiteSession } from "../../runtime/postgres-site.ts";
import { formatLsn, type Lsn, parseWalFileName, segmentOf, segmentStart, walFileName } from "../lsn.ts";
import { runScript } from "./site-files.ts";
import { stretchesTo, type TimelineStretch } from "../timeline-history.ts";
import { fileOfSegment } from "./wal-inventory.ts";
import { endOfRecord, parseWalRecord, redoOfCheckpoint, type WalLayout } from "./wal-record.ts";

/** The end of the log that a data directory has. */
export interface WalEnd {
  readonly timeline: number;
  readonly lsn: Lsn;
  /** The history that leads there, the oldest first; null where its file is gone. */
  readonly stretches: readonly TimelineStretch[] | null;
}

/** The WAL that lies in a data directory, whether its server runs or not. */
export interface WalOnDisk extends WalLayout {
  readonly dataDir: string;
  /** Names of the segments. */
  readonly files: ReadonlySet<string>;
  /** Texts of the history files, by timeline. */
  readonly histories: ReadonlyMap<number, string>;
}

/** Reading a segment takes milliseconds; there may be some hundreds of them. */
const SCAN_TIMEOUT_MS = 300_000;

// pg_waldump ends with an error at the end of every log, and what it says then differs from version to version. So the
// records count, and whether there were any.
const LAST_RECORD = 'pg_waldump -p "$1/pg_wal" -t "$2" -s "$3" -e "$4" 2>/dev/null | tail -n 1';
const CHECKPOINTS =
  'pg_waldump -p "$1/pg_wal" -t "$2" -s "$3" -e "$4" -r XLOG 2>/dev/null | grep -E "CHECKPOINT_(ONLINE|SHUTDOWN)" | tail -n 1';

/** A timeline of which there is WAL at or after a position, and the first segment of that. */
interface FoundTimeline {
  readonly timeline: number;
  readonly segment: bigint;
}

/** The newest first. */
function timelinesAfter({ files, segmentBytes }: WalOnDisk, lsn: Lsn): readonly FoundTimeline[] {
  const found = new Map<number, bigint>();
  for (const name of files) {
    const file = parseWalFileName(name, segmentBytes);
    if (file === null || file.segment < segmentOf(lsn, segmentBytes)) continue;
    const first = found.get(file.timeline);
    if (first === undefined || file.segment < first) found.set(file.timeline, file.segment);
  }
  return [...found]
    .map(([timeline, segment]) => ({ timeline, segment }))
    .toSorted((one, other) => other.timeline - one.timeline);
}

/**
 * Where to look for the records of a timeline; null for one that does not continue the one from which we come. One whose
 * history is gone may: a server that was promoted by itself and lost that file has changes that are its own.
 */
function startOn(
  { timeline, segment }: FoundTimeline,
  stretches: readonly TimelineStretch[] | null,
  from: { readonly timeline: number; readonly lsn: Lsn },
  segmentBytes: number,
): Lsn | null {
  if (timeline === from.timeline) return from.lsn;
  if (timeline < from.timeline) return null;
  const begin = stretches?.at(-1)?.beganAtLsn ?? segmentStart(segment, segmentBytes);
  if (stretches !== null && !stretches.some((stretch) => stretch.timeline === from.timeline)) return null;
  return begin > from.lsn ? begin : from.lsn;
}

/** Where the files of a timeline end that follow one another. Asked for what lies beyond, pg_waldump waits five seconds for it. */
function endOfFiles({ files, segmentBytes }: WalOnDisk, timeline: number, fromLsn: Lsn): Lsn {
  let segment = segmentOf(fromLsn, segmentBytes);
  while (files.has(walFileName(timeline, segmentStart(segment, segmentBytes), segmentBytes))) segment += 1n;
  return segmentStart(segment, segmentBytes);
}

/**
 * Finds the end of the log by its records: the newest timeline that continues the checkpoint's own, from there record by
 * record until one is not whole.
 * @param from where a record begins, and its timeline
 * @returns null where there is none at all, not even at `from`
 * @throws FulaError FULA_RECOVERY_STEP
 */
export async function findWalEnd(
  session: SiteSession,
  wal: WalOnDisk,
  from: { readonly timeline: number; readonly lsn: Lsn },
  signal: AbortSignal,
): Promise<WalEnd | null> {
  for (const found of timelinesAfter(wal, from.lsn)) {
    const { timeline } = found;
    const stretches = stretchesTo(timeline, wal.histories);
    const startLsn = startOn(found, stretches, from, wal.segmentBytes);
    if (startLsn === null || !wal.files.has(walFileName(timeline, startLsn, wal.segmentBytes))) continue;
    const stopLsn = endOfFiles(wal, timeline, startLsn);
    const args = [wal.dataDir, String(timeline), formatLsn(startLsn), formatLsn(stopLsn)];
    const line = await runScript(session, "find the end of the WAL", LAST_RECORD, args, {
      signal,
      timeoutMs: SCAN_TIMEOUT_MS,
    });
    const last = parseWalRecord(line.trim());
    if (last !== null) return { timeline, lsn: endOfRecord(last, wal), stretches };
  }
  return null;
}

/**
 * Finds the last checkpoint before a position, from which a rewind to there would go on.
 * @returns where its replay begins; null where no checkpoint is left in the WAL, or a segment after it is missing
 * @throws FulaError FULA_RECOVERY_STEP
 */
export async function findCheckpointBefore(
  session: SiteSession,
  wal: WalOnDisk,
  stretches: readonly TimelineStretch[],
  lsn: Lsn,
  signal: AbortSignal,
): Promise<Lsn | null> {
  const { segmentBytes } = wal;
  let segment = segmentOf(lsn, segmentBytes);
  // Backwards, one segment at a time: a checkpoint is rarely more than some segments away.
  for (; segment >= 0n; segment -= 1n) {
    const name = fileOfSegment(stretches, segment, segmentBytes);
    if (!wal.files.has(name)) return null;
    const start = segmentStart(segment, segmentBytes);
    const stop = start + BigInt(segmentBytes);
    const timeline = String(parseWalFileName(name, segmentBytes)?.timeline ?? 1);
    const args = [wal.dataDir, timeline, formatLsn(start), formatLsn(stop < lsn ? stop : lsn)];
    const line = await runScript(session, "find a checkpoint", CHECKPOINTS, args, {
      signal,
      timeoutMs: SCAN_TIMEOUT_MS,
    });
    const record = parseWalRecord(line.trim());
    const redo = record === null || record.lsn >= lsn ? null : redoOfCheckpoint(record);
    if (redo === null) continue;
    return wal.files.has(fileOfSegment(stretches, segmentOf(redo, segmentBytes), segmentBytes)) ? redo : null;
  }
  return null;
}
