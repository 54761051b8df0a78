import { generateKeyPairSync, sign, verify } from "node:crypto";
import { join } from "node:path";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { silentLog } from "../../src/lib/kernel/log.ts";
import { systemRandom } from "../../src/lib/kernel/random.ts";
import type { ConnectionOptions } from "../../src/lib/postgres/pool.ts";
import type { BackupRecord } from "../../src/lib/recovery/backup/backup-record.ts";
import { type BackupEntry, listBackups } from "../../src/lib/recovery/backup/catalogue.ts";
import type { BackupSigner, BackupTrust } from "../../src/lib/recovery/backup/signer.ts";
import { takeBackup, type TakeBackupDeps } from "../../src/lib/recovery/backup/take-backup.ts";
import type { RestoreSite } from "../../src/lib/recovery/backup/test-backup.ts";
import { listArchive } from "../../src/lib/recovery/backup/wal-archive.ts";
import { startWalArchiver, type WalArchiver } from "../../src/lib/recovery/backup/wal-receiver.ts";
import { parseLsn } from "../../src/lib/recovery/lsn.ts";
import { findFreePort } from "./free-port.ts";
import type { RigServer } from "./postgres-pair.ts";
import { tempDir } from "./temp-dir.ts";
import { until } from "./until.ts";

/** A key that signs, and the trust in it alone. */
function makeSigner(keyId = "ed25519:test"): BackupSigner & BackupTrust {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  return {
    keyId,
    sign: (message) => new Uint8Array(sign(null, message, privateKey)),
    isSignedBy: (named, message, signature) => named === keyId && verify(null, message, publicKey, signature),
  };
}

/** A catalogue of the test's own. */
export interface BackupBox {
  readonly backupDir: string;
  readonly locksDir: string;
  readonly signer: BackupSigner & BackupTrust;
  take(server: RigServer, changes?: Partial<TakeBackupDeps>): Promise<BackupRecord>;
  list(): Promise<readonly BackupEntry[]>;
  /** @throws Error where it is not there */
  entry(name: string): Promise<BackupEntry>;
}

/** The superuser of a server of the rig. */
function backupConnection(server: RigServer, database = "postgres"): ConnectionOptions {
  return { ...server.connection(database), part: "backup", node: "test" };
}

/** Makes an empty catalogue that is gone with the test. */
export function backupBox(): BackupBox {
  const dir = tempDir();
  const signer = makeSigner();
  const place = { backupDir: join(dir, "ledger"), locksDir: join(dir, "locks") };
  const list = async (): Promise<readonly BackupEntry[]> => await listBackups(place.backupDir, signer);
  return {
    ...place,
    signer,
    list,
    take: async (server, changes = {}) =>
      await takeBackup({
        ...place,
        connection: backupConnection(server),
        signer,
        node: "test",
        tool: "fula-master test",
        clock: systemClock,
        random: systemRandom,
        signal: new AbortController().signal,
        ...changes,
      }),
    entry: async (name) => {
      const found = (await list()).find((entry) => entry.name === name);
      if (found === undefined) throw new Error(`there is no ${name}`);
      return found;
    },
  };
}

/** Restores at a server of the rig, and finds nothing wrong unless it is told to. */
export function restoreSite(box: BackupBox, server: RigServer, changes: Partial<RestoreSite> = {}): RestoreSite {
  return {
    site: server.site,
    locksDir: box.locksDir,
    database: "postgres",
    check: async () => await Promise.resolve([]),
    freePort: findFreePort,
    clock: systemClock,
    random: systemRandom,
    ...changes,
  };
}

/** Archives a server's WAL until it is disposed. */
export function archiverOf(box: BackupBox, server: RigServer): WalArchiver {
  return startWalArchiver({
    backupDir: box.backupDir,
    locksDir: box.locksDir,
    connection: async () => await Promise.resolve(backupConnection(server)),
    clock: systemClock,
    log: silentLog,
    syncMs: 20,
  });
}

/** Waits until the archive has all that the server has written. */
export async function archived(box: BackupBox, server: RigServer): Promise<void> {
  const [row] = await server.sql<{ lsn: string }>("select pg_current_wal_flush_lsn()::text as lsn");
  const wanted = parseLsn(row?.lsn ?? "");
  await until("the WAL is archived", async () => {
    const ranges = (await listArchive(box.backupDir))?.ranges ?? [];
    return ranges.some(({ endLsn }) => endLsn >= wanted);
  });
}
