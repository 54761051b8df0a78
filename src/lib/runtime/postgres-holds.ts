import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../kernel/clock.ts";
import { FulaError, systemErrorCode } from "../kernel/errors.ts";
import { type LockHolder, type ProcessLock, readLockHolder, tryLock } from "../kernel/lock.ts";
import type { Random } from "../kernel/random.ts";

/**
 * Who uses the embedded server. Each user of it, in any process, has a lock file of its own that the kernel frees when
 * the process dies; the last one to let go stops the server. Every look at them, and every start and stop, happens
 * under one gate, so that nobody attaches to a server that somebody else is about to stop.
 */
const EXTENSION = ".lock";
/** Becomes a user of the server. The caller has the gate. */
export async function takeHold(dir: string, purpose: string, clock: Clock, random: Random): Promise<ProcessLock> {
  const path = join(dir, `${random.uuid()}${EXTENSION}`);
  const lock = await tryLock(path, purpose, clock);
  if (lock === null) throw new FulaError("FULA_LOCKED", `${path} is held, though its name was never used before.`);
  return lock;
}

/** Lets go for good. The caller has the gate, unless the process is about to end anyway. */
export async function dropHold(hold: ProcessLock): Promise<void> {
  hold.release();
  await rm(hold.path, { force: true });
}

/** Everybody who uses the server now; files that a crash left are removed. The caller has the gate. */
export async function listHolders(dir: string, clock: Clock): Promise<readonly LockHolder[]> {
  let names: readonly string[];
  try {
    names = (await readdir(dir)).filter((name) => name.endsWith(EXTENSION));
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return [];
    throw error;
  }
  const holders: LockHolder[] = [];
  for (const name of names) {
    const path = join(dir, name);
    const holder = readLockHolder(path);
    const lock = await tryLock(path, "look for users", clock);
    if (lock === null) holders.push(holder ?? { pid: 0, purpose: "unknown", since: "" });
    else await dropHold(lock);
  }
  return holders;
}
