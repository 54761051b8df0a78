import type { Clock } from "../../kernel/clock.ts";
import type { SiteSession } from "../../runtime/postgres-site.ts";
import type { Pin } from "../adapters.ts";
import { formatLsn, type Lsn } from "../lsn.ts";
import { FulaError } from "../../kernel/errors.ts";
import type { SessionId } from "../types.ts";
import { formatEpoch } from "../epoch.ts";
import type { BackupRecord } from "./backup-record.ts";
import { type BackupEntry, listBackups } from "./catalogue.ts";
import { listAllKeepFiles, pinBackup, removeKeepFile } from "./keep-files.ts";
import type { BackupTrust } from "./signer.ts";
import { assertSigned } from "./test-backup.ts";
import { unpackBackup } from "./unpack.ts";
import { type ArchiveListing, listArchive } from "./wal-archive.ts";

/** What a backup must be to rebuild a replica from it. */
export interface TrustPolicy {
  /** In decimal: of the server whose replica it is. */
  readonly systemId: string;
  /** Whether it is of the primary's history, by the timeline, position and epoch that are signed of it. */
  readonly isOnLineage: (record: Pick<BackupRecord, "endLsn" | "epoch" | "timeline">) => boolean;
  /** `backup.maxAge`, in milliseconds. */
  readonly maxAgeMs: number;
  readonly nowMs: number;
}

/**
 * Why a backup is not trusted to rebuild from; none where it is. It is trusted where its record is signed, its files have the
 * sizes that were signed, PostgreSQL's own check and a test restore found nothing, and it is of this history and not too old.
 * That its bytes are those that were signed is seen when it is unpacked.
 */
export function distrust(entry: BackupEntry, policy: TrustPolicy): readonly string[] {
  const { record, problems, test } = entry;
  if (record === null) return problems;
  const reasons = [...problems];
  if (record.systemId !== policy.systemId) reasons.push(`it is a copy of another server (${record.systemId})`);
  if (!policy.isOnLineage(record)) {
    const epoch = record.epoch === null ? "no epoch" : `epoch ${formatEpoch(record.epoch)}`;
    reasons.push(
      `timeline ${record.timeline} at ${formatLsn(record.endLsn)} (${epoch}) is not on the primary's history`,
    );
  }
  if (test === null) reasons.push("it was not restored for a test yet");
  else if (!test.ok) reasons.push("its last test restore found something wrong");
  else if (test.pgVerifyBackup !== true) reasons.push("pg_verifybackup did not look at it");
  if (policy.nowMs - Date.parse(record.endedAt) > policy.maxAgeMs) reasons.push("it is older than backup.maxAge");
  return reasons;
}

/** The catalogue of this box, as a recovery uses it. */
export interface Shelf {
  /** The newest that is trusted; null where none is. */
  newestTrusted(policy: TrustPolicy): Promise<BackupEntry | null>;
  /** Holds the newest backup that ends there. @throws FulaError FULA_BASE_BACKUP_ABSENT */
  pin(endLsn: Lsn, session: SessionId): Promise<Pin>;
  /** The pins of all sessions. */
  listPins(): Promise<readonly { readonly backup: string; readonly pin: string; readonly session: SessionId | null }[]>;
  /** Lets go of what a dead session held. */
  removePin(backup: string, pin: string): Promise<void>;
  /**
   * Unpacks the newest backup that ends there into a directory that is not there yet, with PostgreSQL's manifest, and holds
   * every byte against what was signed.
   * @throws FulaError FULA_BASE_BACKUP_ABSENT, FULA_BASE_BACKUP_DAMAGED, FULA_RECOVERY_STEP
   */
  unpack(endLsn: Lsn, files: SiteSession, dir: string, signal: AbortSignal): Promise<void>;
  /** The archived WAL; null where there is none. */
  archive(): Promise<ArchiveListing | null>;
}

/** Opens the catalogue of this box. */
export function openShelf(backupDir: string, trust: BackupTrust, clock: Clock): Shelf {
  const at = async (endLsn: Lsn): Promise<BackupEntry> => {
    const found = (await listBackups(backupDir, trust)).find(({ record }) => record?.endLsn === endLsn);
    if (found !== undefined) return found;
    throw new FulaError(
      "FULA_BASE_BACKUP_ABSENT",
      `There is no base backup in ${backupDir} that ends at ${formatLsn(endLsn)}.`,
      { hint: "fula-master backup list shows those that there are; a resync takes a new copy where it has none." },
    );
  };
  return {
    newestTrusted: async (policy) =>
      (await listBackups(backupDir, trust)).find((entry) => distrust(entry, policy).length === 0) ?? null,
    pin: async (endLsn, session) => await pinBackup(backupDir, (await at(endLsn)).name, session, clock),
    listPins: async () => await listAllKeepFiles(backupDir),
    removePin: async (backup, pin) => {
      await removeKeepFile(backupDir, backup, pin);
    },
    unpack: async (endLsn, files, dir, signal) => {
      await unpackBackup(files, assertSigned(await at(endLsn)), dir, { signal });
    },
    archive: async () => await listArchive(backupDir),
  };
}
