import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, statfs } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, formatUtc } from "../../kernel/clock.ts";
import { FulaError } from "../../kernel/errors.ts";
import {
  ensureDir,
  exists,
  explainWriteError,
  fsyncDir,
  PRIVATE_DIR_MODE,
  SECRET_FILE_MODE,
  writeFileAtomic,
} from "../../kernel/files.ts";
import { acquireLock } from "../../kernel/lock.ts";
import type { Random } from "../../kernel/random.ts";
import { formatBytes } from "../../kernel/units.ts";
import type { ConnectionOptions } from "../../postgres/pool.ts";
import { digestOf, writeArchive } from "./archive-file.ts";
import { ContentReader, judgeContent } from "./backup-content.ts";
import { parseBackupManifest } from "./backup-manifest.ts";
import { backupFiles, backupName, type BackupRecord, renderBackupRecord } from "./backup-record.ts";
import { type BackupSource, readBackupSource, startBaseBackup } from "./base-backup.ts";
import { listKeepFiles } from "./keep-files.ts";
import { openReplication, type ReplicationSession } from "./replication.ts";
import type { BackupSigner } from "./signer.ts";

/** Where the backups of a box lie, and who may change them. */
export interface BackupPlace {
  /** `backup.dir` */
  readonly backupDir: string;
  readonly locksDir: string;
}

/** What taking a backup needs. */
export interface TakeBackupDeps extends BackupPlace {
  /** A role with REPLICATION, and the ledger's database. */
  readonly connection: ConnectionOptions;
  readonly signer: BackupSigner;
  readonly node: string;
  /** `fula-master 1.2.3` */
  readonly tool: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  /** Told of the bytes that have come, and of how many will. */
  readonly onProgress?: ((doneBytes: number, totalBytes: number) => void) | undefined;
}

/** What is unfinished begins so; nothing of that is ever taken for a backup. */
const PARTIAL = ".partial-";
export const REMOVING = ".removing-";
const RANDOM_BYTES = 4;

/** The lock of everything that adds backups or takes them away. */
export function backupLockFile(locksDir: string): string {
  return join(locksDir, "backup.lock");
}

/** Whether a session or an operator's word holds a backup. @param lies the name of the directory in which it is now */
export async function isHeld(backupDir: string, name: string, lies: string): Promise<boolean> {
  return (await listKeepFiles(backupDir, name)).length > 0 || (await exists(backupFiles(backupDir, lies).kept));
}

/**
 * Clears away what killed runs left; a backup that was being removed while somebody came to hold it comes back. Only for the
 * holder of the lock.
 */
export async function clearUnfinished(backupDir: string): Promise<void> {
  for (const name of await readdir(backupDir)) {
    const leaving = name.startsWith(REMOVING) ? name.slice(REMOVING.length) : null;
    if (leaving !== null && (await isHeld(backupDir, leaving, name))) {
      await rename(join(backupDir, name), join(backupDir, leaving));
      await fsyncDir(backupDir);
    } else if (leaving !== null || name.startsWith(PARTIAL)) {
      await rm(join(backupDir, name), { recursive: true, force: true });
    }
  }
}

/**
 * Copies a running server, primary or standby, into the catalogue. The backup is held against PostgreSQL's own manifest while
 * it comes in, read back from the disk, signed, and only then given its name: what is cut short leaves nothing that is taken
 * for a backup.
 * @throws FulaError FULA_LOCKED, FULA_BASE_BACKUP_SOURCE, FULA_BASE_BACKUP_DAMAGED, FULA_DISK_FULL, FULA_PATH_NOT_WRITABLE, and what
 *   `openReplication` throws
 */
export async function takeBackup(deps: TakeBackupDeps): Promise<BackupRecord> {
  const { backupDir, clock, random } = deps;
  await ensureDir(backupDir);
  using _ = await acquireLock(backupLockFile(deps.locksDir), "take a base backup", clock);
  await clearUnfinished(backupDir);
  const startedMs = clock.nowMs();
  const name = backupName(startedMs, Buffer.from(random.bytes(RANDOM_BYTES)).toString("hex"));
  const partial = join(backupDir, `${PARTIAL}${name}`);
  try {
    await mkdir(partial, { mode: PRIVATE_DIR_MODE });
    const record = await copyServer(deps, { name, startedAt: formatUtc(startedMs) });
    await rename(partial, join(backupDir, name));
    await fsyncDir(backupDir);
    return record;
  } catch (error) {
    await rm(partial, { recursive: true, force: true }).catch(() => {});
    throw explainWriteError(error, partial);
  }
}

async function copyServer(
  deps: TakeBackupDeps,
  identity: Pick<BackupRecord, "name" | "startedAt">,
): Promise<BackupRecord> {
  await using session = await openReplication(deps.connection, deps.clock, deps.signal);
  const source = await readBackupSource(session);
  const copied = await receive(deps, session, source, identity.name);
  const record: BackupRecord = {
    ...identity,
    ...copied,
    node: deps.node,
    keyId: deps.signer.keyId,
    systemId: source.systemId,
    epoch: source.epoch,
    segmentBytes: source.segmentBytes,
    fromStandby: source.isStandby,
    serverVersion: source.serverVersion,
    tool: deps.tool,
  };
  const files = backupFiles(deps.backupDir, `${PARTIAL}${identity.name}`);
  const bytes = renderBackupRecord(record);
  await writeFileAtomic(files.record, bytes, { mode: SECRET_FILE_MODE });
  await writeFileAtomic(files.signature, deps.signer.sign(bytes), { mode: SECRET_FILE_MODE });
  return record;
}

type Copied = Pick<
  BackupRecord,
  "archive" | "dataBytes" | "endedAt" | "endLsn" | "fileCount" | "manifest" | "startLsn" | "timeline" | "walRanges"
>;

/** Writes archive and manifest, and holds what came against the manifest. */
async function receive(
  { backupDir, signal, onProgress }: TakeBackupDeps,
  session: ReplicationSession,
  { segmentBytes }: BackupSource,
  name: string,
): Promise<Copied> {
  const files = backupFiles(backupDir, `${PARTIAL}${name}`);
  const stream = await startBaseBackup(session, `fula_backup_${name}`.toLowerCase());
  await assertRoom(backupDir, stream.totalBytes);
  const content = new ContentReader();
  let doneBytes = 0;
  const passing = async function* (): AsyncGenerator<Buffer> {
    for await (const piece of stream.archive) {
      content.add(piece);
      doneBytes += piece.length;
      onProgress?.(doneBytes, Math.max(doneBytes, stream.totalBytes));
      yield piece;
    }
  };
  const archive = await writeArchive(files.archive, passing(), signal);
  const { manifest: manifestBytes, endLsn } = stream.finish();
  const manifest = parseBackupManifest(manifestBytes);
  const { files: found, bytes: dataBytes } = content.finish();
  await writeFileAtomic(files.manifest, manifestBytes, { mode: SECRET_FILE_MODE });
  const problems = [...judgeContent(found, manifest, segmentBytes)];
  if ((await digestOf(files.archive, signal)).sha256 !== archive.sha256) {
    problems.push("the archive does not read back as it was written");
  }
  if (problems.length > 0) throw receivedBad(problems);
  const [ended] = await session.rows(
    `select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`,
  );
  return {
    archive,
    dataBytes,
    fileCount: found.size,
    manifest: digestOfBytes(await readFile(files.manifest)),
    timeline: stream.timeline,
    startLsn: stream.startLsn,
    endLsn,
    walRanges: manifest.walRanges,
    endedAt: ended?.[0] ?? "",
  };
}

function digestOfBytes(bytes: Buffer): BackupRecord["manifest"] {
  return { bytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
}

/** The default directory is on the disk of the server itself, which stops when that is full. */
async function assertRoom(backupDir: string, totalBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(backupDir);
  const freeBytes = bavail * bsize;
  if (freeBytes >= totalBytes) return;
  throw new FulaError(
    "FULA_DISK_FULL",
    `The server has ${formatBytes(totalBytes)}, and ${backupDir} has room for ${formatBytes(freeBytes)}; nothing was copied.`,
    {
      hint: "free space there, lower backup.keep and run fula-master backup prune, or set backup.dir to a larger disk.",
      details: { backupDir, totalBytes, freeBytes },
    },
  );
}

function receivedBad(problems: readonly string[]): FulaError {
  return new FulaError(
    "FULA_BASE_BACKUP_DAMAGED",
    `The base backup that was received is not whole: ${problems.join("; ")}.`,
    {
      hint: "it was thrown away; run the command again, and look at the disk (dmesg) where it happens again.",
      details: { problems },
    },
  );
}
