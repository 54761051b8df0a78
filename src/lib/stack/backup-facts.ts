import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { exists } from "../kernel/files.ts";
import { isFuture, listBackups } from "../recovery/backup/catalogue.ts";
import { type ArchiveHole, holesSince, listArchive, newestTimeline, reachOf } from "../recovery/backup/wal-archive.ts";
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
  /** The newest that is signed and has the sizes that were signed; null where none is. */
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
  const nowMs = clock.nowMs();
  const future = entries.filter((entry) => isFuture(entry, nowMs)).map(({ name }) => name);
  const good = entries.find(
    ({ name, record, problems }) => record !== null && problems.length === 0 && !future.includes(name),
  );
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
    archive: await readArchive(backupDir, good?.record?.endLsn ?? null),
  };
}

async function readArchive(backupDir: string, fromLsn: bigint | null): Promise<ArchiveFacts | null> {
  const listing = await listArchive(backupDir);
  if (listing === null) return null;
  const timeline = newestTimeline(listing);
  const isBegun = fromLsn !== null && timeline !== null;
  const reach = isBegun ? reachOf(listing, fromLsn, timeline) : null;
  const holes = isBegun ? holesSince(listing, fromLsn, timeline) : listing.holes;
  return {
    systemId: listing.systemId,
    bytes: listing.bytes,
    reachesTo: reach === null ? null : formatLsn(reach.endLsn),
    timeline,
    holes: holes === null ? [`the history of timeline ${timeline ?? "?"}`] : holes.map(holeText),
  };
}

function holeText({ timeline, startLsn, endLsn }: ArchiveHole): string {
  return `${formatLsn(startLsn)}-${formatLsn(endLsn)} on timeline ${timeline}`;
}
