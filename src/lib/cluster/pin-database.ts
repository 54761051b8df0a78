import { constants, statSync } from "node:fs";
import { access, link, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Clock } from "../kernel/clock.ts";
import { FulaError, systemErrorCode } from "../kernel/errors.ts";
import { ensureDir, explainWriteError, fsyncDir, SECRET_FILE_MODE, tempPathFor } from "../kernel/files.ts";
import { acquireLock, type ProcessLock, tryLock } from "../kernel/lock.ts";
import { retry } from "../kernel/retry.ts";
import { openExistingDatabase } from "../kernel/sqlite-file.ts";
import { isSqliteBusy, SQLITE, sqliteCode } from "../kernel/sqlite.ts";

/** Version of the tables below, kept in `user_version`. */
const SCHEMA_VERSION = 1;

/** "FULA" in ASCII, kept in `application_id`, so that another program's SQLite file is not taken for a pinset. */
const APPLICATION_ID = 0x46_55_4c_41;

/** SQLite waits that long for another process by itself; it blocks this process meanwhile, so it is short. */
const BUSY_TIMEOUT_MS = 10;

/** Then we wait without blocking; all attempts together last about 10 s. */
const BUSY_DELAYS_MS: readonly number[] = [5, 10, 20, 50, 100, 200, ...Array.from({ length: 46 }, () => 200)];

// The record is stored whole, as it goes into a snapshot; `crc` finds bytes that rotted, which SQLite does not notice.
const SCHEMA = `
  create table meta (key text primary key, value text not null) strict, without rowid;
  create table pins (
    cid text primary key,
    record text not null,
    crc integer not null
  ) strict, without rowid;
  pragma user_version = ${SCHEMA_VERSION};
  pragma application_id = ${APPLICATION_ID};
`;

/** The error for a pinset file that cannot be trusted. @param what which sign of damage was found */
export function corruptPinset(dbFile: string, what: string, cause?: unknown): FulaError {
  return new FulaError("FULA_PINSET_CORRUPT", `The pinset file ${dbFile} is damaged: ${what}. It was left as it is.`, {
    cause,
    hint:
      "run fula-master stop, move the file away together with its -wal and -shm, " +
      "then fula-master restore --yes writes a new one from the last good snapshot.",
    details: { path: dbFile },
  });
}

/** The error for a pinset file that is not there, or no longer. */
export function missingPinset(dbFile: string): FulaError {
  return new FulaError("FULA_PINSET_MISSING", `There is no pinset file at ${dbFile}.`, {
    hint: "fula-master restore makes it anew from the last good snapshot; fula-master join makes an empty one on a new box.",
    details: { path: dbFile },
  });
}

/** Turns an error of SQLite into what an operator understands; gives anything else back as it is. */
export function explainPinsetError(error: unknown, dbFile: string): unknown {
  switch (sqliteCode(error)) {
    case SQLITE.CORRUPT:
    case SQLITE.NOTADB:
      return corruptPinset(dbFile, error instanceof Error ? error.message : "unreadable", error);
    case SQLITE.BUSY:
    case SQLITE.LOCKED:
      return new FulaError("FULA_PINSET_BUSY", `Another process keeps the pinset file ${dbFile} locked.`, {
        cause: error,
        hint: "run the command again; if it stays like this, fula-master status tells what runs here.",
        details: { path: dbFile },
      });
    case SQLITE.FULL:
      return explainWriteError(Object.assign(new Error("disk full", { cause: error }), { code: "ENOSPC" }), dbFile);
    case SQLITE.CANTOPEN:
      if (fileIdentity(dbFile) === null) return missingPinset(dbFile);
      return explainWriteError(Object.assign(new Error("not permitted", { cause: error }), { code: "EACCES" }), dbFile);
    case SQLITE.READONLY:
      return explainWriteError(Object.assign(new Error("not permitted", { cause: error }), { code: "EACCES" }), dbFile);
    case SQLITE.IOERR:
      return new FulaError("FULA_CLUSTER_UNREADABLE", `The pinset file ${dbFile} could not be read or written.`, {
        cause: error,
        hint: "look for disk errors in the kernel log (dmesg), then run the command again.",
        details: { path: dbFile },
      });
    default:
      return error;
  }
}

/** Runs something on the pinset file again while another process has it locked. @throws FulaError FULA_PINSET_BUSY … */
export async function retryWhileBusy<T>(
  dbFile: string,
  clock: Clock,
  operation: () => T,
  signal?: AbortSignal,
): Promise<T> {
  try {
    return await retry(async () => operation(), {
      delaysMs: BUSY_DELAYS_MS,
      clock,
      shouldRetry: isSqliteBusy,
      ...(signal === undefined ? {} : { signal }),
    });
  } catch (error) {
    throw explainPinsetError(error, dbFile);
  }
}

function pragma(db: DatabaseSync, name: string): unknown {
  const row = db.prepare(`pragma ${name}`).get();
  return row === undefined ? undefined : Object.values(row)[0];
}

function checkIdentity(db: DatabaseSync, dbFile: string, clusterId: string): void {
  const version = pragma(db, "user_version");
  const application = pragma(db, "application_id");
  if (version === 0 && application === 0) throw corruptPinset(dbFile, "it holds no pinset, not even an empty one");
  if (application !== APPLICATION_ID || typeof version !== "number" || version > SCHEMA_VERSION) {
    throw new FulaError(
      "FULA_PINSET_NEWER",
      `${dbFile} has pinset version ${String(version)} (application ${String(application)}); this build knows version ${SCHEMA_VERSION}. Nothing was changed.`,
      {
        hint: "install the newer fula-master that wrote it, on this box, and run the command again.",
        details: { version },
      },
    );
  }
  const stored = db.prepare("select value from meta where key = 'cluster_id'").get()?.["value"];
  if (stored === undefined) throw corruptPinset(dbFile, "it does not say whose pinset it is");
  if (stored !== clusterId) {
    throw new FulaError(
      "FULA_PINSET_FOREIGN",
      `${dbFile} is the pinset of cluster ${String(stored)}, but the settings name cluster ${clusterId}.`,
      {
        hint: "put node.clusterId back as it was (fula-master config show tells where it comes from).",
        details: { expected: clusterId, found: stored },
      },
    );
  }
}

/** Opens an existing pinset file and makes sure that it is ours. @throws FulaError FULA_PINSET_* */
export function openPinDatabase(dbFile: string, clusterId: string): DatabaseSync {
  const db = openExistingDatabase(dbFile, BUSY_TIMEOUT_MS);
  try {
    checkIdentity(db, dbFile, clusterId);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** Which file a path leads to now, to tell later whether it was replaced; null where there is none. */
export function fileIdentity(dbFile: string): string | null {
  const found = statSync(dbFile, { throwIfNoEntry: false, bigint: true });
  return found === undefined ? null : `${found.dev}:${found.ino}`;
}

/** True when the pinset file is there. @throws FulaError FULA_PATH_NOT_WRITABLE when it is, but not for this user */
export async function pinDatabaseExists(dbFile: string): Promise<boolean> {
  try {
    await stat(dbFile);
    await access(dbFile, constants.R_OK | constants.W_OK);
    return true;
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return false;
    throw explainWriteError(error, dbFile);
  }
}

/**
 * Makes an empty pinset file in one step: it is built under another name and linked into place, so that no process
 * ever sees a half-made one, and a file of no bytes is always damage. Leaves alone a file that is there by then.
 * @throws FulaError FULA_PINSET_BUSY, FULA_PATH_NOT_WRITABLE, FULA_DISK_FULL
 */
export async function createPinDatabase(dbFile: string, clusterId: string, clock: Clock): Promise<void> {
  await ensureDir(dirname(dbFile));
  const lock = await creationLock(dbFile, clock);
  try {
    if (!(await pinDatabaseExists(dbFile))) await buildPinDatabase(dbFile, clusterId, clock);
  } catch (error) {
    throw explainPinsetError(explainWriteError(error, dbFile), dbFile);
  } finally {
    lock.release();
  }
}

async function buildPinDatabase(dbFile: string, clusterId: string, clock: Clock): Promise<void> {
  const temp = tempPathFor(dbFile);
  try {
    await rm(temp, { force: true });
    await (await open(temp, "wx", SECRET_FILE_MODE)).close();
    const db = openExistingDatabase(temp, BUSY_TIMEOUT_MS);
    try {
      db.exec(`pragma journal_mode = wal; begin; ${SCHEMA}`);
      db.prepare("insert into meta (key, value) values ('cluster_id', ?)").run(clusterId);
      db.exec("commit");
    } finally {
      db.close();
    }
    // A log that a lost database left behind would be replayed into the new one.
    for (const suffix of ["-wal", "-shm"]) await setAside(`${dbFile}${suffix}`, clock);
    await link(temp, dbFile);
    await fsyncDir(dirname(dbFile));
  } finally {
    await rm(temp, { force: true });
  }
}

async function creationLock(dbFile: string, clock: Clock): Promise<ProcessLock> {
  for (const delayMs of BUSY_DELAYS_MS) {
    const lock = await tryLock(`${dbFile}.create-lock`, "create the pinset", clock);
    if (lock !== null) return lock;
    await clock.sleep(delayMs);
  }
  return acquireLock(`${dbFile}.create-lock`, "create the pinset", clock);
}

async function setAside(path: string, clock: Clock): Promise<void> {
  try {
    await rename(path, `${path}.orphan-${clock.nowMs()}`);
  } catch (error) {
    if (systemErrorCode(error) !== "ENOENT") throw error;
  }
}
