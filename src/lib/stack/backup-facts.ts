import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { exists } from "../kernel/files.ts";
import type { BackupRecord } from "../recovery/backup/backup-record.ts";
import { type BackupEntry, isFuture, listBackups } from "../recovery/backup/catalogue.ts";
import { isOnPath } from "../recovery/backup/restore-plan.ts";
import {
  type ArchiveHole,
  type ArchiveListing,
  holesSince,
  listArchive,
  newestTimeline,
  pathTo,
  reachOf,
} from "../recovery/backup/wal-archive.ts";
import { formatLsn } from "../recovery/lsn.ts";
import { backupPlace, backupTrust, whyNoBackups } from "./backup-place.ts";

/** How far the archived WAL reaches; positions as PostgreSQL writes them. */
export interface ArchiveFacts {
  readonly systemId: string;
  readonly bytes: number;
  /** From the newest good base backup on without a gap; null where there is none to begin with. */
  readonly reachesTo: string | null;
  readonly timeline: number | null;
  /** What is missing since that backup, or at all where there is none: `0/3000000-0/4000000 on timeline 1`. */
  readonly holes: readonly string[];
}

/** How the base backups of this box stand, for status, doctor and metrics. */
export interface BackupFacts {
  readonly dir: string;
  readonly count: number;
  readonly bytes: number;
  /** The newest that is signed, has the sizes that were signed, and leads to the ledger of today; null where none does. */
  readonly newest: {
    readonly name: string;
    readonly endedAt: string;
    readonly ageMs: number;
    /** What its test restore came to; null where none was made. */
    readonly tested: boolean | null;
  } | null;
  /** True where that is older than `backup.maxAge`, or there is none. */
  readonly stale: boolean;
  /** Names of those that were taken later than it is now: the clock was wrong then, or is. They are not the newest. */
  readonly future: readonly string[];
  /** Names of those that something is wrong with. */
  readonly damaged: readonly string[];
  /** Whether base backups are to be taken here by themselves. */
  readonly isDue: boolean;
  /** Null where no WAL was ever archived. */
  readonly archive: ArchiveFacts | null;
}

/** Looks at the catalogue of this box. Reads no more of a backup than its records. */
export async function readBackupFacts(loaded: LoadedConfig, clock: Clock): Promise<BackupFacts> {
  const { backupDir } = backupPlace(loaded);
  const entries = (await exists(backupDir)) ? await listBackups(backupDir, await backupTrust(loaded)) : [];
  const listing = await listArchive(backupDir);
  const nowMs = clock.nowMs();
  const future = entries.filter((entry) => isFuture(entry, nowMs)).map(({ name }) => name);
  const good = entries.find((entry) => isUsable(entry, listing) && !future.includes(entry.name));
  const newest =
    good?.record == null
      ? null
      : {
          name: good.name,
          endedAt: good.record.endedAt,
          ageMs: nowMs - Date.parse(good.record.endedAt),
          tested: good.test?.ok ?? null,
        };
  return {
    dir: backupDir,
    count: entries.length,
    bytes: entries.reduce((total, { bytes }) => total + bytes, 0),
    newest,
    stale: newest === null || newest.ageMs > loaded.config.backup.maxAge,
    future,
    damaged: entries.filter(({ problems }) => problems.length > 0).map(({ name }) => name),
    isDue: (await whyNoBackups(loaded)) === null,
    archive: listing === null ? null : archiveFacts(listing, good?.record ?? null),
  };
}

/** One of what an in-place restore took back is good, and still none that leads to the ledger of today. */
function isUsable(entry: BackupEntry, listing: ArchiveListing | null): boolean {
  const { record, problems } = entry;
  if (record === null || problems.length > 0) return false;
  if (listing?.systemId !== record.systemId) return true;
  const timeline = newestTimeline(listing);
  // Where its history is missing, that is told of the archive, and nothing is known of the backups.
  return timeline === null || pathTo(listing, timeline) === null || isOnPath(entry, listing, null);
}

function archiveFacts(listing: ArchiveListing, record: BackupRecord | null): ArchiveFacts {
  const { systemId, bytes } = listing;
  const archived = newestTimeline(listing);
  if (record === null) {
    return { systemId, bytes, reachesTo: null, timeline: archived, holes: listing.holes.map(holeText) };
  }
  const timeline = Math.max(record.timeline, archived ?? 0);
  if (record.systemId !== systemId) {
    const foreign = `all since ${record.name}, for it is the WAL of another server (${systemId})`;
    return { systemId, bytes, reachesTo: null, timeline, holes: [foreign] };
  }
  const reach = reachOf(listing, record.endLsn, timeline);
  const holes = holesSince(listing, record.endLsn, timeline);
  return {
    systemId,
    bytes,
    reachesTo: reach === null ? null : formatLsn(reach.endLsn),
    timeline,
    holes: holes === null ? [`the history of timeline ${timeline}`] : holes.map(holeText),
  };
}

function holeText({ timeline, startLsn, endLsn }: ArchiveHole): string {
  return `${formatLsn(startLsn)}-${formatLsn(endLsn)} on timeline ${timeline}`;
}
