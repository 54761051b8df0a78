import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { createHash } from "node:crypto";
import { FulaError } from "../../kernel/errors.ts";
import { exists } from "../../kernel/files.ts";
import { formatBytes } from "../../kernel/units.ts";
import type { SiteSession } from "../../runtime/postgres-site.ts";
import { runScript } from "../postgres/site-files.ts";
import { digestOf, readArchive } from "./archive-file.ts";
import { ContentReader, judgeContent } from "./backup-content.ts";
import type { BackupRecord } from "./backup-record.ts";
import { type BackupEntry, type ContentCheck, readManifest } from "./catalogue.ts";
import { tarEnd, tarHeader, tarPadding } from "./tar-writer.ts";
import { archiveDir, DIGEST_SUFFIX, PARTIAL_SUFFIX } from "./wal-archive.ts";

/** Only what is unpacked is read by the server's user; and a directory that others may enter it does not start on. */
const UNPACK = 'umask 077 && mkdir "$1" && chmod 700 "$1" && exec tar -x -f - -C "$1"';
const PUT = 'umask 077 && exec cat >"$1"';
const FREE = 'exec df -P -k "$1"';
const KIBIBYTE = 1024;

/** A backup that may be given to a server: its record is signed by somebody who is trusted here. */
export interface SignedBackup extends BackupEntry {
  readonly record: BackupRecord;
}

/** The error for a backup that is not whole. */
export function damagedBackup(name: string, problems: readonly string[]): FulaError {
  return new FulaError("FULA_BASE_BACKUP_DAMAGED", `The base backup ${name} cannot be used: ${problems.join("; ")}.`, {
    hint: "fula-master backup list shows the other backups; this one is left as it is for you to look at.",
    details: { backup: name, problems },
  });
}

/** Takes a stream's failure along: the program that reads it only sees that it ended. */
function streamOf(source: AsyncIterable<Buffer>): { readonly stream: Readable; readonly failure: () => unknown } {
  let failure: unknown = null;
  const passing = async function* (): AsyncGenerator<Buffer> {
    try {
      yield* source;
    } catch (error) {
      failure = error;
      throw error;
    }
  };
  return { stream: Readable.from(passing(), { objectMode: false }), failure: () => failure };
}

async function unpack(session: SiteSession, source: AsyncIterable<Buffer>, dir: string, signal: AbortSignal) {
  const { stream, failure } = streamOf(source);
  try {
    await runScript(session, `unpack into ${dir}`, UNPACK, [dir], { stdin: stream, signal });
  } catch (error) {
    signal.throwIfAborted();
    throw failure() ?? error;
  } finally {
    stream.destroy();
  }
  if (failure() !== null) throw failure();
}

/** Refuses where the site has no room for so much. @throws FulaError FULA_DISK_FULL */
export async function assertSiteRoom(session: SiteSession, dir: string, neededBytes: number): Promise<void> {
  const told = await runScript(session, `look how much room ${dir} has`, FREE, [dir]);
  const freeBytes = Number(told.trim().split("\n").at(-1)?.trim().split(/\s+/)[3]) * KIBIBYTE;
  if (freeBytes >= neededBytes) return;
  throw new FulaError(
    "FULA_DISK_FULL",
    `${formatBytes(neededBytes)} are to be unpacked into ${dir}, which has room for ${formatBytes(freeBytes)}.`,
    { hint: "free space there; nothing was unpacked.", details: { dir, neededBytes, freeBytes } },
  );
}

/**
 * Unpacks a backup into a new directory of a site, and holds every byte against what was signed while it passes. What is
 * there after an error is not whole: the caller takes it away.
 * @throws FulaError FULA_BASE_BACKUP_DAMAGED, FULA_RECOVERY_STEP
 */
export async function unpackBackup(
  session: SiteSession,
  entry: SignedBackup,
  dir: string,
  check: ContentCheck,
): Promise<void> {
  const { record, files } = entry;
  const manifest = await readManifest(entry);
  if (entry.problems.length > 0) throw damagedBackup(entry.name, entry.problems);
  if (typeof manifest === "string") throw damagedBackup(entry.name, [manifest]);
  if ((await digestOf(files.archive, check.signal)).sha256 !== record.archive.sha256) {
    throw damagedBackup(entry.name, [`${files.archive} has other contents than were signed`]);
  }
  const content = new ContentReader();
  let doneBytes = 0;
  const passing = async function* (): AsyncGenerator<Buffer> {
    for await (const piece of readArchive(files.archive, check.signal)) {
      content.add(piece);
      doneBytes += piece.length;
      check.onProgress?.(doneBytes, record.dataBytes);
      yield piece;
    }
  };
  await unpack(session, passing(), dir, check.signal);
  const problems = judgeContent(content.finish().files, manifest, record.segmentBytes);
  if (problems.length > 0) throw damagedBackup(entry.name, problems);
  // Beside the data, as pg_basebackup leaves it: pg_verifybackup asks for it.
  const text = await readFile(files.manifest, "utf8");
  await runScript(session, "write the manifest", PUT, [`${dir}/backup_manifest`], { stdin: text });
}

async function* walTar(
  backupDir: string,
  names: readonly string[],
  segmentBytes: number,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  const dir = archiveDir(backupDir);
  for (const name of names) {
    signal.throwIfAborted();
    const isPartial = !(await exists(join(dir, name)));
    const path = join(dir, isPartial ? `${name}${PARTIAL_SUFFIX}` : name);
    const isSegment = !name.endsWith(".history");
    const present = (await stat(path)).size;
    // What is not received yet is zeros, as in a segment that PostgreSQL has begun.
    const bytes = isSegment ? segmentBytes : present;
    yield tarHeader(name, bytes);
    const hash = createHash("sha256");
    for await (const chunk of createReadStream(path, { end: present - 1 })) {
      hash.update(chunk);
      yield chunk;
    }
    if (bytes > present) yield Buffer.alloc(bytes - present);
    yield tarPadding(bytes);
    if (isSegment && !isPartial) await assertDigest(path, hash.digest("hex"));
  }
  yield tarEnd();
}

async function assertDigest(path: string, found: string): Promise<void> {
  const wanted = (await readFile(`${path}${DIGEST_SUFFIX}`, "utf8")).slice(0, found.length);
  if (wanted === found) return;
  throw new FulaError(
    "FULA_WAL_ARCHIVE_DAMAGED",
    `The archived segment ${path} has other contents than were archived.`,
    {
      hint: "restore to a position before it, from another box's copy of the archive, or from a newer base backup.",
      details: { path, wanted, found },
    },
  );
}

/**
 * Brings archived WAL to a site, each whole segment held against its digest.
 * @param names segments and histories
 * @throws FulaError FULA_WAL_ARCHIVE_DAMAGED, FULA_RECOVERY_STEP
 */
export async function unpackWal(
  session: SiteSession,
  backupDir: string,
  names: readonly string[],
  segmentBytes: number,
  dir: string,
  signal: AbortSignal,
): Promise<void> {
  await unpack(session, walTar(backupDir, names, segmentBytes, signal), dir, signal);
}
