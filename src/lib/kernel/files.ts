import { access, chmod, constants, link, mkdir, open, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { FulaError, systemErrorCode } from "./errors.ts";
import type { ErrorCode } from "./error-codes.ts";

/** Mode of every directory that we create: nobody but the owner sees what is in it. */
export const PRIVATE_DIR_MODE = 0o700;
/** Mode of every secret, set before the first byte is written. */
export const SECRET_FILE_MODE = 0o600;

const CODE_BY_ERRNO: Readonly<Record<string, ErrorCode>> = {
  ENOSPC: "FULA_DISK_FULL",
  EDQUOT: "FULA_DISK_FULL",
  EACCES: "FULA_PATH_NOT_WRITABLE",
  EPERM: "FULA_PATH_NOT_WRITABLE",
  EROFS: "FULA_PATH_NOT_WRITABLE",
};

/** Turns a system error of a write into the `FulaError` an operator understands; gives anything else back as it is. */
export function explainWriteError(error: unknown, path: string): unknown {
  const errno = systemErrorCode(error);
  const code = errno === undefined ? undefined : CODE_BY_ERRNO[errno];
  if (errno === undefined || code === undefined) return error;
  return new FulaError(code, `Cannot write ${path}: ${errno}.`, {
    cause: error,
    hint:
      code === "FULA_DISK_FULL"
        ? `free space on the file system that holds ${dirname(path)} (df -h shows it), then run the command again.`
        : `make ${dirname(path)} writable for this user, or choose another place with --base-dir.`,
    details: { path, errno },
  });
}

/** Creates a directory and its missing parents, private by default. @throws FulaError FULA_PATH_NOT_WRITABLE */
export async function ensureDir(path: string, mode: number = PRIVATE_DIR_MODE): Promise<void> {
  try {
    const created = await mkdir(path, { recursive: true, mode });
    // The umask may have taken bits away from a new directory; an existing one keeps what its owner chose.
    if (created !== undefined) await chmod(path, mode);
  } catch (error) {
    throw explainWriteError(error, path);
  }
}

/** Makes a rename in `dir` survive a power loss. */
export async function fsyncDir(dir: string): Promise<void> {
  const handle = await open(dir, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

let tempPathsGiven = 0;

/** Names a temp file beside `path` that no other process, and no other write of this one, uses at the same time. */
export function tempPathFor(path: string): string {
  tempPathsGiven += 1;
  return `${path}.${process.pid}-${tempPathsGiven}.tmp`;
}

/**
 * Replaces a file in one step: temp file with its final mode before any content, fsync, rename, fsync of the directory.
 * A reader sees the old content or the new, never a part.
 * @throws FulaError FULA_DISK_FULL, FULA_PATH_NOT_WRITABLE
 */
export async function writeFileAtomic(
  path: string,
  content: string | Uint8Array,
  options: { readonly mode: number; readonly owner?: { readonly uid: number; readonly gid: number } },
): Promise<void> {
  const { mode, owner } = options;
  const temp = tempPathFor(path);
  try {
    // Exclusively: a file or link that somebody left under this name is never written through.
    await rm(temp, { force: true });
    const handle = await open(temp, "wx", mode);
    try {
      await handle.chmod(mode);
      if (owner !== undefined) await handle.chown(owner.uid, owner.gid);
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temp, path);
    await fsyncDir(dirname(path));
  } catch (error) {
    await rm(temp, { force: true }).catch(() => {});
    throw explainWriteError(error, path);
  }
}

/** Takes the rights of others off a secret file that somebody has given them. @throws FulaError FULA_PATH_NOT_WRITABLE */
export async function closeToOthers(path: string): Promise<void> {
  const { mode } = await stat(path);
  if ((mode & 0o077) === 0) return;
  try {
    await chmod(path, SECRET_FILE_MODE);
  } catch (error) {
    throw explainWriteError(error, path);
  }
}

/**
 * Creates a secret in one step, or leaves alone the one that another process created meanwhile. The directory is there.
 * @returns whether this call created it
 * @throws FulaError FULA_DISK_FULL, FULA_PATH_NOT_WRITABLE
 */
export async function createSecretOnce(path: string, content: string): Promise<boolean> {
  const temp = tempPathFor(path);
  try {
    await rm(temp, { force: true });
    const handle = await open(temp, "wx", SECRET_FILE_MODE);
    try {
      await handle.chmod(SECRET_FILE_MODE);
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    // A rename would replace what another process made in the meantime; a link does not.
    await link(temp, path);
    await fsyncDir(dirname(path));
    return true;
  } catch (error) {
    if (systemErrorCode(error) === "EEXIST") return false;
    throw explainWriteError(error, path);
  } finally {
    await rm(temp, { force: true }).catch(() => {});
  }
}

/** The file's text, or null where there is no such file. */
export async function readTextIfExists(path: string): Promise<string | null> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return null;
    throw error;
  }
}

/** True where there is something at `path`; what cannot be looked at is an error, not an absence. */
export async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return false;
    throw error;
  }
}

/** True where this user may write it; false also where it is not there. */
export async function isWritable(path: string): Promise<boolean> {
  try {
    await access(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
