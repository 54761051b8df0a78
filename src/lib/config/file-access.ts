import { realpath } from "node:fs/promises";
import type { Clock } from "../kernel/clock.ts";
import { isFulaError, systemErrorCode } from "../kernel/errors.ts";
import { acquireLock, type ProcessLock } from "../kernel/lock.ts";
import { retry } from "../kernel/retry.ts";

/**
 * A rewrite of a small file takes milliseconds, but seconds on a disk that has much else to write, and there may be several before
 * this one; whoever holds the lock for half a minute is not just slow.
 */
const LOCK_DELAYS_MS: readonly number[] = Array.from({ length: 600 }, () => 50);

/**
 * Waits for a lock that is held only while a small file is rewritten.
 * @throws FulaError FULA_LOCKED, FULA_PATH_NOT_WRITABLE, FULA_DISK_FULL
 */
export async function waitForLock(
  path: string,
  purpose: string,
  clock: Clock,
  signal?: AbortSignal,
): Promise<ProcessLock> {
  return retry(() => acquireLock(path, purpose, clock), {
    delaysMs: LOCK_DELAYS_MS,
    clock,
    ...(signal === undefined ? {} : { signal }),
    shouldRetry: (error) => isFulaError(error, "FULA_LOCKED"),
  });
}

/** The file behind a symbolic link: a rename onto the link would replace the link and leave the file as it was. */
export async function resolveLink(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return path;
    throw error;
  }
}
