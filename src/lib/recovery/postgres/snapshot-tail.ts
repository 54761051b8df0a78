import type { SiteSession } from "../../runtime/postgres-site.ts";
import type { Lsn } from "../lsn.ts";
import { assertPrimaryHistory } from "./backup-lineage.ts";
import { adoptData, buildNewData } from "./full-base.ts";
import type { ReplicaWork } from "./replica-work.ts";

/** Where verified backups come from. */
export interface BackupShelf {
  /**
   * Unpacks the backup that ends at a position into a directory that is not there yet, with the manifest that PostgreSQL made
   * of it. Whoever calls checks what came against that.
   * @throws FulaError where there is none, or it is not what was signed
   */
  unpack(endLsn: Lsn, files: SiteSession, dir: string, signal: AbortSignal): Promise<void>;
}

/**
 * Makes a backup the server's data; what came after it is streamed.
 * @returns the position that it achieves, from its own manifest
 * @throws FulaError FULA_RECOVERY_STEP where it does not achieve `snapshotLsn`, is of another history, or is damaged; what `unpack` throws. The old
 * data are as they were
 */
export async function restoreBackup(
  work: ReplicaWork,
  shelf: BackupShelf,
  snapshotLsn: Lsn,
  signal: AbortSignal,
): Promise<Lsn> {
  return await buildNewData(work, signal, async (files, dir) => {
    await shelf.unpack(snapshotLsn, files, dir, signal);
    await assertPrimaryHistory(work, files, dir, snapshotLsn, signal);
    return await adoptData(work, files, snapshotLsn, signal);
  });
}
