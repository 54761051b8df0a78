import { chmodSync, statSync } from "node:fs";
import { link, open, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import { FulaError, isFulaError, messageOf } from "../../kernel/errors.ts";
import { ensureDir, explainWriteError, fsyncDir, SECRET_FILE_MODE, tempPathFor } from "../../kernel/files.ts";
import { openExistingDatabase } from "../../kernel/sqlite-file.ts";
import { SQLITE, sqliteCode } from "../../kernel/sqlite.ts";
import { APPLICATION_ID, SCHEMA_VERSION, upgradeSchema } from "./schema.ts";

/** SQLite waits that long for another process by itself; it blocks this process meanwhile, so it is short. */
const BUSY_TIMEOUT_MS = 5;

/** The error for a file that is no control plane, or one that cannot be trusted. */
export function unreadableFile(path: string, what: string, cause?: unknown): FulaError {
  return new FulaError("FULA_CONTROL_PLANE_UNREADABLE", `The control plane ${path} cannot be used: ${what}.`, {
    cause,
    hint:
      "it was left as it is. Stop serve, move the file away with its -wal and -shm, and put your backup in its place, " +
      "or another master's: fula-master membership import",
    details: { path },
  });
}

/** The error for a file whose control plane was moved to servers, for whoever still has it open. */
export function retiredFile(path: string, address: string, at: string): FulaError {
  return new FulaError("FULA_CONTROL_PLANE_MOVED", `The control plane of ${path} was moved to ${address} at ${at}.`, {
    hint:
      "start serve again where it ran before the move; if the settings still name the file, run fula-master membership " +
      "migrate-to-kv again, or bring the state back: fula-master membership export, then import --db",
    details: { path, address, at },
  });
}

/** Which file a path leads to now, to tell later whether it was replaced; null where there is none. */
export function fileIdentity(path: string): string | null {
  const found = statSync(path, { throwIfNoEntry: false, bigint: true });
  return found === undefined ? null : `${found.dev}:${found.ino}`;
}

/** Turns an error of SQLite into what an operator understands; gives anything else back as it is. */
export function explainSqliteError(error: unknown, path: string): unknown {
  switch (sqliteCode(error)) {
    case SQLITE.BUSY:
    case SQLITE.LOCKED:
      return new FulaError(
        "FULA_CONTROL_PLANE_UNREACHABLE",
        `Another process keeps the control plane ${path} locked; it was asked again until the time was up.`,
        { cause: error, hint: "run the command again; fula-master status tells what runs here.", details: { path } },
      );
    case SQLITE.CORRUPT:
    case SQLITE.NOTADB:
    case SQLITE.IOERR:
      return unreadableFile(path, messageOf(error), error);
    case SQLITE.FULL:
      return explainWriteError(Object.assign(new Error("disk full", { cause: error }), { code: "ENOSPC" }), path);
    case SQLITE.CANTOPEN:
      if (fileIdentity(path) === null) return unreadableFile(path, "there is no such file", error);
      return explainWriteError(Object.assign(new Error("not permitted", { cause: error }), { code: "EACCES" }), path);
    case SQLITE.READONLY:
      return explainWriteError(Object.assign(new Error("not permitted", { cause: error }), { code: "EACCES" }), path);
    default:
      return error;
  }
}

/** Runs `use` in a transaction that has the file to itself, all of it or nothing. */
export function inWriteTransaction<T>(db: DatabaseSync, use: () => T): T {
  db.exec("begin immediate");
  try {
    const result = use();
    db.exec("commit");
    return result;
  } catch (error) {
    // SQLite has rolled back by itself after some errors, such as a full disk.
    if (db.isTransaction) db.exec("rollback");
    throw error;
  }
}

/** Runs `use` on the state of one moment, whoever writes meanwhile. */
export function inReadTransaction<T>(db: DatabaseSync, use: () => T): T {
  db.exec("begin");
  try {
    return use();
  } finally {
    if (db.isTransaction) db.exec("rollback");
  }
}

function numberOf(db: DatabaseSync, pragma: string): number {
  const row = db.prepare(`pragma ${pragma}`).get();
  return Number(row === undefined ? 0 : Object.values(row)[0]);
}

function prepareTables(db: DatabaseSync, path: string): void {
  const version = numberOf(db, "user_version");
  if (numberOf(db, "application_id") !== APPLICATION_ID) {
    throw unreadableFile(path, "it is another program's file, or empty");
  }
  if (version > SCHEMA_VERSION) {
    throw new FulaError(
      "FULA_STATE_NEWER",
      `The control plane ${path} is of version ${version}; this build knows up to ${SCHEMA_VERSION}. Nothing was changed.`,
      { hint: "install the newer fula-master that wrote it, and run the command again.", details: { path, version } },
    );
  }
  if (version === SCHEMA_VERSION) return;
  inWriteTransaction(db, () => {
    // Another process may have been quicker.
    upgradeSchema(db, numberOf(db, "user_version"));
  });
}

/** Opens the file, checks that it is ours, and brings its tables up to date. @throws FulaError, or what SQLite throws */
export function openDatabase(path: string): DatabaseSync {
  const db = openExistingDatabase(path, BUSY_TIMEOUT_MS);
  try {
    prepareTables(db, path);
    // Secrets are sealed in it, but who belongs and who may act is nobody else's business either.
    if ((statSync(path).mode & 0o077) !== 0) chmodSync(path, SECRET_FILE_MODE);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/**
 * Opens the file to look only: nothing is written, not even beside it. While nobody else has it open there is no log, and
 * the file alone is all of it.
 * @throws FulaError, or what SQLite throws
 */
export function openDatabaseToLook(path: string): DatabaseSync {
  const location = pathToFileURL(path);
  location.searchParams.set("mode", "ro");
  if (fileIdentity(`${path}-wal`) === null) location.searchParams.set("immutable", "1");
  const db = new DatabaseSync(location, { timeout: BUSY_TIMEOUT_MS, readOnly: true });
  try {
    if (numberOf(db, "application_id") !== APPLICATION_ID) {
      throw unreadableFile(path, "it is another program's file, or empty");
    }
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/**
 * Makes an empty control plane in one step: it is built under another name and linked into place, so that nobody ever
 * sees a half-made one. Leaves alone a file that is there by then.
 * @throws FulaError FULA_PATH_NOT_WRITABLE, FULA_DISK_FULL, FULA_CONTROL_PLANE_UNREADABLE where a log of a lost file lies there
 */
export async function createDatabase(path: string): Promise<void> {
  await ensureDir(dirname(path));
  const temp = tempPathFor(path);
  try {
    await rm(temp, { force: true });
    await (await open(temp, "wx", SECRET_FILE_MODE)).close();
    const db = openExistingDatabase(temp, BUSY_TIMEOUT_MS);
    try {
      db.exec("pragma journal_mode = wal");
      inWriteTransaction(db, () => {
        upgradeSchema(db, 0);
      });
    } finally {
      db.close();
    }
    // A log that a lost file left behind would be replayed into the new one.
    if (fileIdentity(path) === null && fileIdentity(`${path}-wal`) !== null) {
      throw unreadableFile(path, "the file itself is gone, and its -wal is still there");
    }
    await link(temp, path);
    await fsyncDir(dirname(path));
  } catch (error) {
    if (isFulaError(error) || fileIdentity(path) === null)
      throw explainSqliteError(explainWriteError(error, path), path);
  } finally {
    for (const suffix of ["", "-wal", "-shm"]) await rm(`${temp}${suffix}`, { force: true });
  }
}
