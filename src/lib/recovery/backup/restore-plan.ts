import { FulaError } from "../../kernel/errors.ts";
import { formatLsn, type Lsn } from "../lsn.ts";
import type { BackupEntry } from "./catalogue.ts";
import { absent } from "./keep-files.ts";
import { formatMicroseconds, type RecoveryTarget } from "./recover.ts";
import { assertSigned } from "./test-backup.ts";
import type { SignedBackup } from "./unpack.ts";
import { historyName } from "../timeline-history.ts";
import {
  type ArchiveListing,
  type ArchiveReach,
  archivedUpTo,
  newestTimeline,
  partAt,
  pathTo,
  reachOf,
} from "./wal-archive.ts";

/** What is to be restored. */
export interface RestoreRequest {
  readonly target: Exclude<RecoveryTarget, { readonly kind: "consistent" }>;
  /** Null for the newest that the target allows. */
  readonly backup: string | null;
  /** Null for the newest. */
  readonly timeline: number | null;
}

/** What a restore will do; everything that it needs was found. */
export interface RestorePlan {
  readonly backup: SignedBackup;
  readonly target: RecoveryTarget;
  readonly timeline: number | null;
  /** Names of segments and histories that are taken from the archive. */
  readonly wal: readonly string[];
  /** How far the WAL reaches without a gap. */
  readonly reachLsn: Lsn;
  /** Of unpacked data and WAL. */
  readonly neededBytes: number;
}

/** The WAL that a restore begins with, and the timeline that it follows. */
interface Lead {
  readonly timeline: number;
  readonly reach: ArchiveReach | null;
}

/**
 * Decides from which backup and by which WAL a target is reached, and proves by the listing that nothing is missing on the way.
 * @param entries newest first
 * @throws FulaError FULA_BASE_BACKUP_ABSENT, FULA_BASE_BACKUP_DAMAGED, FULA_WAL_ARCHIVE_HOLE, FULA_WAL_ARCHIVE_FOREIGN,
 *   FULA_RESTORE_TARGET
 */
export function planRestore(
  backupDir: string,
  entries: readonly BackupEntry[],
  archive: ArchiveListing | null,
  request: RestoreRequest,
): RestorePlan {
  const backup = chooseBackup(backupDir, entries, archive, request);
  const { record } = backup;
  if (archive !== null && archive.systemId !== record.systemId) throw foreign(archive, backup);
  const { timeline, reach } = leadOf(backup, archive, request.timeline);
  const reachLsn = reach !== null && reach.endLsn > record.endLsn ? reach.endLsn : record.endLsn;
  assertReaches(backup, archive, { timeline, reachLsn, request });
  const aim = aimOf(backup, archive, { target: request.target, timeline, reach, reachLsn });
  const segments = aim.reach?.files ?? [];
  const histories = archive === null ? [] : [...archive.histories.keys()].map(historyName);
  return {
    backup,
    target: aim.target,
    timeline: aim.timeline,
    wal: [...histories, ...segments],
    reachLsn,
    neededBytes: record.dataBytes + segments.length * record.segmentBytes,
  };
}

/**
 * What recovery is told. Where WAL ends no record begins at which it could stop: it then takes all that there is. It is told
 * the timeline on which it is to end: PostgreSQL takes all of that one's history for that of the new one.
 */
function aimOf(
  { record }: SignedBackup,
  archive: ArchiveListing | null,
  lead: Lead & { readonly target: RestoreRequest["target"]; readonly reachLsn: Lsn },
): { readonly target: RecoveryTarget; readonly timeline: number | null; readonly reach: ArchiveReach | null } {
  const { target, timeline, reach, reachLsn } = lead;
  const isAtEnd = target.kind === "latest" || (target.kind === "lsn" && target.lsn === reachLsn);
  const all = { target: isAtEnd ? ({ kind: "latest" } as const) : target, reach };
  if (archive === null) return { ...all, timeline: null };
  if (isAtEnd) return { ...all, timeline: reach?.timeline ?? timeline };
  if (target.kind !== "lsn") return { ...all, timeline };
  const ended = partAt(pathTo(archive, timeline) ?? [], target.lsn + 1n)?.timeline ?? timeline;
  const short = reachOf(archive, record.endLsn, ended);
  return short !== null && short.endLsn > target.lsn ? { target, timeline: ended, reach: short } : { ...all, timeline };
}

function isEarlyEnough({ record }: BackupEntry, { target }: RestoreRequest): boolean {
  if (record === null) return false;
  if (target.kind === "time") return BigInt(Date.parse(record.endedAt)) * 1_000n <= target.atUs;
  return target.kind === "latest" || record.endLsn <= target.lsn;
}

function chooseBackup(
  backupDir: string,
  entries: readonly BackupEntry[],
  archive: ArchiveListing | null,
  request: RestoreRequest,
): SignedBackup {
  if (request.backup !== null) {
    const named = entries.find(({ name }) => name === request.backup);
    if (named === undefined) throw absent(backupDir, request.backup);
    const signed = assertSigned(named);
    if (!isEarlyEnough(signed, request)) throw tooEarly(request, signed);
    if (!isOnPath(signed, archive, request.timeline)) throw notOnTimeline(signed, request.timeline);
    return signed;
  }
  const good = entries.filter(({ record, problems }) => record !== null && problems.length === 0);
  if (good.length === 0) {
    throw new FulaError("FULA_BASE_BACKUP_ABSENT", `There is no good base backup in ${backupDir} to restore from.`, {
      hint: "copy the catalogue of another box here (docs/backups.md), trust its key, and look at fula-master backup list.",
    });
  }
  const onPath = good.filter((entry) => isOnPath(entry, archive, request.timeline));
  const chosen = onPath.find((entry) => isEarlyEnough(entry, request));
  if (chosen !== undefined) return assertSigned(chosen);
  const oldest = onPath.at(-1) ?? good.at(-1);
  throw oldest === undefined ? absent(backupDir, "") : tooEarly(request, assertSigned(oldest));
}

function ancestorsOf(archive: ArchiveListing | null, timeline: number) {
  return archive?.histories.get(timeline) ?? [];
}

/**
 * Whether a backup lies on the way to a timeline: on it, or on an ancestor before the next one left it.
 * @param wanted null for the newest that the archive knows
 */
export function isOnPath({ record }: BackupEntry, archive: ArchiveListing | null, wanted: number | null): boolean {
  if (record === null) return false;
  const timeline = wanted ?? (archive === null ? null : newestTimeline(archive));
  if (timeline === null || record.timeline === timeline) return true;
  // A backup of a newer timeline than the archive knows is followed on its own.
  if (wanted === null && record.timeline > timeline) return true;
  return ancestorsOf(archive, timeline).some((end) => end.timeline === record.timeline && record.endLsn <= end.endLsn);
}

function leadOf({ record }: SignedBackup, archive: ArchiveListing | null, wanted: number | null): Lead {
  const newest = archive === null ? null : newestTimeline(archive);
  const timeline = wanted ?? Math.max(newest ?? record.timeline, record.timeline);
  if (archive === null) return { timeline, reach: null };
  // The backup has its own WAL up to its end; from there on the archive has to have it.
  return { timeline, reach: reachOf(archive, record.endLsn, timeline) };
}

function assertReaches(
  backup: SignedBackup,
  archive: ArchiveListing | null,
  { timeline, reachLsn, request }: { timeline: number; reachLsn: Lsn; request: RestoreRequest },
): void {
  const { target } = request;
  const path = archive === null ? null : pathTo(archive, timeline);
  const ends = archive?.ranges.filter((range) => range.timeline === timeline).map(({ endLsn }) => endLsn) ?? [];
  const archived =
    archive === null || path === null
      ? ends.reduce((most, end) => (end > most ? end : most), 0n)
      : archivedUpTo(archive, path);
  const wanted = target.kind === "lsn" ? target.lsn : target.kind === "latest" ? archived : 0n;
  if (wanted <= reachLsn) return;
  const isInArchive = wanted <= archived;
  throw new FulaError(
    isInArchive ? "FULA_WAL_ARCHIVE_HOLE" : "FULA_RESTORE_TARGET",
    isInArchive
      ? `The archived WAL has a hole: from ${backup.name} on it reaches to ${formatLsn(reachLsn)}, and goes on later, up to ${formatLsn(archived)}.`
      : `${formatLsn(wanted)} is beyond all WAL that there is: it reaches to ${formatLsn(reachLsn)}.`,
    {
      hint: isInArchive
        ? `restore up to the hole (--to ${formatLsn(reachLsn)}), from a newer backup (--backup), or bring the missing files from another box's copy.`
        : `--to latest restores all that there is.`,
      details: { backup: backup.name, timeline, reach: formatLsn(reachLsn), archived: formatLsn(archived) },
    },
  );
}

function tooEarly({ target }: RestoreRequest, { name, record }: SignedBackup): FulaError {
  const wanted =
    target.kind === "time" ? formatMicroseconds(target.atUs) : target.kind === "lsn" ? formatLsn(target.lsn) : "";
  const from = target.kind === "time" ? record.endedAt : formatLsn(record.endLsn);
  return new FulaError(
    "FULA_RESTORE_TARGET",
    `${wanted} is before what ${name} can be restored to: that begins at ${from}.`,
    {
      hint: "fula-master backup list shows from when on each backup can be restored.",
      details: { backup: name, wanted, from },
    },
  );
}

function notOnTimeline({ name, record }: SignedBackup, timeline: number | null): FulaError {
  return new FulaError(
    "FULA_RESTORE_TARGET",
    `${name} was taken on timeline ${record.timeline}, which does not lead to ${timeline === null ? "the newest one" : `timeline ${timeline}`}.`,
    { hint: `follow its own: --timeline ${record.timeline}`, details: { backup: name, timeline: record.timeline } },
  );
}

function foreign({ systemId }: ArchiveListing, { name, record }: SignedBackup): FulaError {
  return new FulaError(
    "FULA_WAL_ARCHIVE_FOREIGN",
    `${name} is a copy of the server ${record.systemId}, and the archived WAL beside it is that of ${systemId}.`,
    {
      hint: "put them together as they were on the box that took them: its whole backup.dir.",
      details: { backup: name },
    },
  );
}
