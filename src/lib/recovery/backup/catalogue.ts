import { createHash } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { z } from "zod";
import { isFulaError, messageOf, systemErrorCode } from "../../kernel/errors.ts";
import { digestOf, readArchive } from "./archive-file.ts";
import { ContentReader, judgeContent } from "./backup-content.ts";
import { type BackupManifest, parseBackupManifest } from "./backup-manifest.ts";
import {
  type BackupFiles,
  type BackupRecord,
  backupFiles,
  isBackupName,
  parseBackupRecord,
  parseTestRecord,
  type TestRecord,
} from "./backup-record.ts";
import { listKeepFiles } from "./keep-files.ts";
import type { BackupTrust } from "./signer.ts";

/** An operator's word that a backup stays. */
export interface KeptNote {
  readonly by: string;
  readonly because: string;
  /** RFC 3339, UTC. */
  readonly at: string;
}

/** A backup as it lies in the catalogue. */
export interface BackupEntry {
  readonly name: string;
  readonly files: BackupFiles;
  /** Null where it cannot be read, or is not signed by a key that is trusted here. */
  readonly record: BackupRecord | null;
  /** Of the record's file. */
  readonly recordSha256: string | null;
  /** The last test restore of just this backup, signed; null where none was made or its record is not in order. */
  readonly test: TestRecord | null;
  readonly kept: KeptNote | null;
  /** Names of the sessions' pins that hold it. */
  readonly pins: readonly string[];
  /** What it takes of the disk. */
  readonly bytes: number;
  /** What is wrong with it, as far as can be seen without reading all of it; sentences. */
  readonly problems: readonly string[];
}

const keptSchema = z.strictObject({ by: z.string(), because: z.string(), at: z.string() });
/** Our JSON files have some kilobytes; what is larger is none of them. */
const SMALL_BYTES_MAX = 1024 * 1024;

/** A disk that is going, a file system that is damaged, or something else under the name: no fault of the command. */
const UNREADABLE: ReadonlySet<string> = new Set(["EIO", "EBADMSG", "EUCLEAN", "EISDIR", "ENOTDIR", "ELOOP", "ENXIO"]);

/** Gives what reading gives, or says what cannot be read. @throws whatever says nothing of the files */
async function orUnreadable<T>(path: string, problems: string[], read: () => Promise<T>): Promise<T | null> {
  try {
    return await read();
  } catch (error) {
    if (!UNREADABLE.has(systemErrorCode(error) ?? "")) throw error;
    problems.push(`${path} cannot be read: ${messageOf(error)}; look at the disk (dmesg)`);
    return null;
  }
}

async function readSmall(path: string): Promise<Buffer | null> {
  try {
    if ((await stat(path)).size > SMALL_BYTES_MAX) return null;
    return await readFile(path);
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return null;
    throw error;
  }
}

async function sizeOf(path: string): Promise<number | null> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return null;
    throw error;
  }
}

function sha256Of(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Reads something signed; null with a problem where it is not there, not readable, or not signed by whom it says. */
async function readSigned<T extends { readonly name: string; readonly keyId: string }>(
  paths: { readonly file: string; readonly signature: string },
  name: string,
  trust: BackupTrust,
  parse: (bytes: Buffer) => T,
  problems: string[],
): Promise<{ readonly value: T; readonly sha256: string } | null> {
  const unreadable: string[] = [];
  const bytes = await orUnreadable(paths.file, unreadable, async () => await readSmall(paths.file));
  const signature = await orUnreadable(paths.signature, unreadable, async () => await readSmall(paths.signature));
  if (bytes === null || signature === null) {
    const missing = `${bytes === null ? paths.file : paths.signature} is missing`;
    problems.push(...(unreadable.length > 0 ? unreadable : [missing]));
    return null;
  }
  let value: T;
  try {
    value = parse(bytes);
  } catch {
    problems.push(`${paths.file} cannot be read, or is of a newer version`);
    return null;
  }
  if (!trust.isSignedBy(value.keyId, bytes, signature)) {
    problems.push(`${paths.file} is not signed by a key that this box trusts (it names ${value.keyId})`);
    return null;
  }
  if (value.name !== name) {
    problems.push(`it was taken as ${value.name} and lies here under another name`);
    return null;
  }
  return { value, sha256: sha256Of(bytes) };
}

async function readTest(
  files: BackupFiles,
  name: string,
  recordSha256: string | null,
  trust: BackupTrust,
): Promise<TestRecord | null> {
  if (recordSha256 === null) return null;
  const paths = { file: files.test, signature: files.testSignature };
  // A test that cannot be read is none: the backup counts as not tested, which is said of it.
  const test = await readSigned(paths, name, trust, parseTestRecord, []);
  return test === null || test.value.recordSha256 !== recordSha256 ? null : test.value;
}

async function readKept(path: string): Promise<KeptNote | null> {
  const unreadable: string[] = [];
  const bytes = await orUnreadable(path, unreadable, async () => await readSmall(path));
  if (bytes === null && unreadable.length === 0) return null;
  try {
    if (bytes === null) throw new Error(unreadable.join());
    return keptSchema.parse(JSON.parse(bytes.toString("utf8")));
  } catch {
    // Whoever wrote it wanted it to stay.
    return { by: "unknown", because: `${path} cannot be read`, at: "" };
  }
}

async function readEntry(backupDir: string, name: string, trust: BackupTrust): Promise<BackupEntry> {
  const files = backupFiles(backupDir, name);
  const problems: string[] = [];
  const paths = { file: files.record, signature: files.signature };
  const signed = await readSigned(paths, name, trust, parseBackupRecord, problems);
  const record = signed?.value ?? null;
  const archiveBytes = await orUnreadable(files.archive, problems, async () => await sizeOf(files.archive));
  const manifestBytes = await orUnreadable(files.manifest, problems, async () => await sizeOf(files.manifest));
  if (record !== null && archiveBytes !== record.archive.bytes) {
    problems.push(`${files.archive} has ${archiveBytes ?? "no"} bytes instead of ${record.archive.bytes}`);
  }
  if (record !== null && manifestBytes !== record.manifest.bytes) {
    problems.push(`${files.manifest} has ${manifestBytes ?? "no"} bytes instead of ${record.manifest.bytes}`);
  }
  const recordSha256 = signed?.sha256 ?? null;
  return {
    name,
    files,
    record,
    recordSha256,
    test: await readTest(files, name, recordSha256, trust),
    kept: await readKept(files.kept),
    pins: await listKeepFiles(backupDir, name),
    bytes: (archiveBytes ?? 0) + (manifestBytes ?? 0),
    problems,
  };
}

/** The backups of a catalogue, newest first. What is being made or removed is none. Reads only. */
export async function listBackups(backupDir: string, trust: BackupTrust): Promise<readonly BackupEntry[]> {
  let names: readonly string[];
  try {
    names = (await readdir(backupDir)).filter(isBackupName);
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return [];
    throw error;
  }
  const entries: BackupEntry[] = [];
  for (const name of names.toSorted().toReversed()) entries.push(await readEntry(backupDir, name, trust));
  return entries.toSorted(byAge);
}

/**
 * Whether a backup is dated later than it is now: the clock was wrong when it was taken, or is now. It must pass neither for
 * the newest nor for one that is fresh.
 */
export function isFuture({ record }: BackupEntry, nowMs: number): boolean {
  return record !== null && Date.parse(record.startedAt) > nowMs;
}

/** The part of a name that is its time: of two in one second, what they hold says which is newer. */
const TIME_LENGTH = "base-20261122T031500Z".length;

function byAge(a: BackupEntry, b: BackupEntry): number {
  const [left, right] = [a.name.slice(0, TIME_LENGTH), b.name.slice(0, TIME_LENGTH)];
  if (left !== right) return left > right ? -1 : 1;
  if (a.record === null || b.record === null) return 0;
  return Number(b.record.endLsn - a.record.endLsn);
}

/** PostgreSQL's manifest of a backup, where it is the one that was signed. @returns what is wrong with it otherwise */
export async function readManifest(entry: BackupEntry): Promise<BackupManifest | string> {
  if (entry.record === null) return "it has no record that is trusted";
  const bytes = await readFile(entry.files.manifest);
  if (sha256Of(bytes) !== entry.record.manifest.sha256) return `${entry.files.manifest} is not the one that was signed`;
  return parseBackupManifest(bytes);
}

/** What a look at every byte of a backup may cost. */
export interface ContentCheck {
  readonly signal: AbortSignal;
  readonly onProgress?: ((doneBytes: number, totalBytes: number) => void) | undefined;
}

/**
 * Reads all of a backup: that the archive is the one that was signed, and holds what PostgreSQL's manifest says.
 * @returns everything that is wrong, sentences; none where nothing is
 */
export async function checkContent(entry: BackupEntry, check: ContentCheck): Promise<readonly string[]> {
  const { record, files, problems } = entry;
  if (record === null || problems.length > 0) return problems;
  const unreadable: string[] = [];
  try {
    return (await orUnreadable(files.dir, unreadable, async () => await readAll(entry, record, check))) ?? unreadable;
  } catch (error) {
    check.signal.throwIfAborted();
    if (isFulaError(error, "FULA_BASE_BACKUP_DAMAGED")) return [messageOf(error)];
    throw error;
  }
}

async function readAll(entry: BackupEntry, record: BackupRecord, check: ContentCheck): Promise<readonly string[]> {
  const { files } = entry;
  const manifest = await readManifest(entry);
  if (typeof manifest === "string") return [manifest];
  // Before anything of it is decompressed: what was not signed is not given to a parser.
  if ((await digestOf(files.archive, check.signal)).sha256 !== record.archive.sha256) {
    return [`${files.archive} has other contents than were signed`];
  }
  const content = new ContentReader();
  let doneBytes = 0;
  for await (const piece of readArchive(files.archive, check.signal)) {
    content.add(piece);
    doneBytes += piece.length;
    check.onProgress?.(doneBytes, record.dataBytes);
  }
  return judgeContent(content.finish().files, manifest, record.segmentBytes);
}
