import { closeSync, constants, openSync } from "node:fs";
import { copyFile, open, rename, rm, stat, truncate } from "node:fs/promises";
import { dirname } from "node:path";
import { systemErrorCode } from "../kernel/errors.ts";
import { ensureDir, explainWriteError, SECRET_FILE_MODE } from "../kernel/files.ts";

/** Bounds of one log: at most (`keep` + 1) × `bytesMax` on the disk. */
export interface LogBounds {
  readonly bytesMax: number;
  /** How many older files stay, as `<path>.1` (newest) and up. */
  readonly keep: number;
}

/** 10 MiB a file, five old ones: weeks of a healthy server, and never a full disk because of a sick one. */
export const LOG_BOUNDS: LogBounds = { bytesMax: 10 * 1024 * 1024, keep: 5 };

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return 0;
    throw error;
  }
}

async function shiftOlder(path: string, keep: number): Promise<void> {
  await rm(`${path}.${keep}`, { force: true });
  for (let index = keep - 1; index >= 1; index -= 1) {
    await rename(`${path}.${index}`, `${path}.${index + 1}`).catch((error: unknown) => {
      if (systemErrorCode(error) !== "ENOENT") throw error;
    });
  }
}

/**
 * Moves a log that has grown over its bound aside. `live` = a process writes to it and will not open it again: it is
 * copied and emptied in place (the writer must append; what it writes between the two steps is lost), else renamed.
 * @returns true when it was rotated
 */
export async function rotateLog(path: string, live: boolean, bounds: LogBounds = LOG_BOUNDS): Promise<boolean> {
  if ((await sizeOf(path)) <= bounds.bytesMax) return false;
  try {
    await shiftOlder(path, bounds.keep);
    if (live) {
      await copyFile(path, `${path}.1`, constants.COPYFILE_FICLONE);
      await truncate(path, 0);
    } else {
      await rename(path, `${path}.1`);
    }
    return true;
  } catch (error) {
    throw explainWriteError(error, path);
  }
}

/** Opens a log for appending and hands its descriptor to `use`, for a child process that shall write there by itself. */
export async function withLogDescriptor<T>(path: string, use: (descriptor: number) => T): Promise<T> {
  await ensureDir(dirname(path));
  let descriptor: number;
  try {
    descriptor = openSync(path, "a", SECRET_FILE_MODE);
  } catch (error) {
    throw explainWriteError(error, path);
  }
  try {
    return use(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Where the log ends now, so that `readLogTail` can tell new lines from old ones. */
export async function logOffset(path: string): Promise<number> {
  return await sizeOf(path);
}

/** The last lines of a log that were written after `fromOffset`; empty where there are none. */
export async function readLogTail(path: string, lines: number, fromOffset = 0): Promise<readonly string[]> {
  const bytesMax = 64 * 1024;
  try {
    const handle = await open(path, "r");
    try {
      const { size } = await handle.stat();
      const start = Math.max(fromOffset > size ? 0 : fromOffset, size - bytesMax);
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(size - start), 0, size - start, start);
      const text = buffer.subarray(0, bytesRead).toString("utf8");
      return text
        .split("\n")
        .filter((line) => line.trim() !== "")
        .slice(-lines);
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return [];
    throw error;
  }
}

const CHECK_INTERVAL_MS = 60_000;

/**
 * Looks every minute whether a log that some process appends to has grown over its bound, and rotates it. Keeps no
 * process alive. `onError` gets what went wrong; the next look tries again.
 */
export function keepLogBounded(
  path: string,
  onError: (error: unknown) => void,
  bounds: LogBounds = LOG_BOUNDS,
): Disposable {
  const timer = setInterval(() => {
    rotateLog(path, true, bounds).catch(onError);
  }, CHECK_INTERVAL_MS);
  timer.unref();
  return {
    [Symbol.dispose]: () => {
      clearInterval(timer);
    },
  };
}
