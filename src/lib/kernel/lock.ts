import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { z } from "zod";
import { type Clock, formatUtc } from "./clock.ts";
import type { ErrorCode } from "./error-codes.ts";
import { FulaError, messageOf } from "./errors.ts";
import { ensureDir, explainWriteError, SECRET_FILE_MODE } from "./files.ts";
import { SQLITE, sqliteCode } from "./sqlite.ts";

/** Who holds a lock, as its sidecar file tells. */
export interface LockHolder {
  readonly pid: number;
  readonly purpose: string;
  /** RFC 3339, UTC. */
  readonly since: string;
}

/** A held lock; ends with `release()`, `using`, or the death of the process. */
export interface ProcessLock extends Disposable {
  readonly path: string;
  release(): void;
}

const holderSchema = z.object({ pid: z.number(), purpose: z.string(), since: z.string() });

function holderFile(path: string): string {
  return `${path}.holder`;
}

/** Reads who holds (or last held) the lock; null where nobody ever did or the sidecar is unreadable. */
export function readLockHolder(path: string): LockHolder | null {
  try {
    const parsed = holderSchema.safeParse(JSON.parse(readFileSync(holderFile(path), "utf8")));
    return parsed.success ? parsed.data : null;
  } catch {
    return null;
  }
}

const CODE_BY_SQLITE: Readonly<Record<number, ErrorCode>> = {
  [SQLITE.READONLY]: "FULA_PATH_NOT_WRITABLE",
  [SQLITE.FULL]: "FULA_DISK_FULL",
  [SQLITE.CANTOPEN]: "FULA_PATH_NOT_WRITABLE",
};

function openExclusively(path: string): DatabaseSync | null {
  let db: DatabaseSync | null = null;
  try {
    db = new DatabaseSync(path, { timeout: 0 });
    db.exec("begin exclusive");
    return db;
  } catch (error) {
    db?.close();
    const sqlite = sqliteCode(error);
    if (sqlite === SQLITE.BUSY) return null;
    const code = sqlite === null ? undefined : CODE_BY_SQLITE[sqlite];
    if (code === undefined) throw error;
    throw new FulaError(code, `Cannot take the lock ${path}: ${messageOf(error)}.`, {
      cause: error,
      hint: `make ${path} writable for this user, or run the command as its owner.`,
      details: { path },
    });
  }
}

/**
 * Takes a lock that the kernel frees when this process dies, however it dies: a POSIX record lock, held through an
 * exclusive SQLite transaction on `path` (Node.js itself offers no file locks). A stale pid can therefore never block.
 * @returns null when another process holds it.
 * @throws FulaError FULA_PATH_NOT_WRITABLE, FULA_DISK_FULL
 */
export async function tryLock(path: string, purpose: string, clock: Clock): Promise<ProcessLock | null> {
  await ensureDir(dirname(path));
  try {
    const db = openExclusively(path);
    if (db === null) return null;
    const holder: LockHolder = { pid: process.pid, purpose, since: formatUtc(clock.nowMs()) };
    try {
      writeFileSync(holderFile(path), JSON.stringify(holder), { mode: SECRET_FILE_MODE });
    } catch (error) {
      db.close();
      throw error;
    }
    let held = true;
    const release = (): void => {
      if (!held) return;
      held = false;
      rmSync(holderFile(path), { force: true });
      db.close();
    };
    return { path, release, [Symbol.dispose]: release };
  } catch (error) {
    throw explainWriteError(error, path);
  }
}

/**
 * Like `tryLock`, but a lock in other hands is an error that names the holder.
 * @throws FulaError FULA_LOCKED, FULA_PATH_NOT_WRITABLE, FULA_DISK_FULL
 */
export async function acquireLock(path: string, purpose: string, clock: Clock): Promise<ProcessLock> {
  const lock = await tryLock(path, purpose, clock);
  if (lock !== null) return lock;
  const holder = readLockHolder(path);
  const who = holder === null ? "another process" : `process ${holder.pid} (${holder.purpose}, since ${holder.since})`;
  throw new FulaError("FULA_LOCKED", `Cannot start "${purpose}": ${who} holds ${basename(path)}.`, {
    hint:
      holder === null
        ? "wait for it to end, then run the command again."
        : `wait for process ${holder.pid} to end, or stop it, then run the command again.`,
    details: { path, holder },
  });
}
