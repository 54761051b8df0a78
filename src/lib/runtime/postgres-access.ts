import { chmod, chown, realpath, stat } from "node:fs/promises";
import { userInfo } from "node:os";
import { dirname } from "node:path";
import { execa } from "execa";
import { FulaError, systemErrorCode } from "../kernel/errors.ts";
import { ensureDir } from "../kernel/files.ts";
import type { SystemUser } from "./postgres-user.ts";

/** The owner reads and writes; the server's group may pass through to what it knows the name of, and not look around. */
const PASSAGE_MODE = 0o710;
const EXECUTE = 0o1;

async function mayPass(dir: string, user: SystemUser): Promise<boolean> {
  const { mode, uid, gid } = await stat(dir);
  const shift = uid === user.uid ? 6 : gid === user.gid ? 3 : 0;
  if (((mode >> shift) & EXECUTE) !== 0) return true;
  if (userInfo().uid !== 0 || user.uid < 0) return false;
  // Access lists may allow what the mode does not show; the kernel knows.
  try {
    await execa("/bin/sh", ["-c", 'test -x "$1"', "sh", dir], { uid: user.uid, gid: user.gid, cwd: "/" });
    return true;
  } catch {
    return false;
  }
}

async function existingAncestors(path: string): Promise<readonly string[]> {
  let nearest = path;
  let resolved: string | null = null;
  while (resolved === null) {
    try {
      resolved = await realpath(nearest);
    } catch (error) {
      if (systemErrorCode(error) !== "ENOENT") throw error;
      nearest = dirname(nearest);
    }
  }
  const dirs = [resolved];
  for (let dir = resolved; dirname(dir) !== dir; dir = dirname(dir)) dirs.unshift(dirname(dir));
  return dirs;
}

/**
 * Checks that the server's user can get to the base directory; the base directory itself and what is in it are ours
 * to open. Changes nothing.
 * @throws FulaError FULA_POSTGRES_ACCESS naming the closed directory
 */
export async function assertReachable(baseDir: string, user: SystemUser): Promise<void> {
  if (user.uid === userInfo().uid) return;
  const base = await realpath(baseDir).catch(() => null);
  for (const dir of await existingAncestors(baseDir)) {
    if (dir === base || (await mayPass(dir, user))) continue;
    throw new FulaError(
      "FULA_POSTGRES_ACCESS",
      `PostgreSQL must run as ${user.name} (it refuses root), and ${user.name} cannot pass through ${dir} to ${baseDir}.`,
      {
        hint: `choose a base directory that others can reach, such as --base-dir /opt/fula-master, or: chmod o+x ${dir}`,
        details: { dir, baseDir, user: user.name },
      },
    );
  }
}

async function giveToGroup(dir: string, user: SystemUser): Promise<void> {
  try {
    await chown(dir, 0, user.gid);
  } catch (error) {
    // chown(2): EINVAL = this user namespace has no such group.
    if (systemErrorCode(error) !== "EINVAL") throw error;
    throw new FulaError(
      "FULA_POSTGRES_ACCESS",
      `Cannot let PostgreSQL's user ${user.name} into ${dir}: this container maps no group ${user.gid}.`,
      {
        cause: error,
        hint: "map more users and groups into the container, or run fula-master there as an ordinary user.",
      },
    );
  }
}

/**
 * Opens a passage through our own directories for the server's user, outermost first, creating what is missing. One
 * that can be passed already keeps its mode. Nobody gains the right to list or read anything.
 */
export async function openPassage(dirs: readonly string[], user: SystemUser): Promise<void> {
  for (const dir of dirs) {
    await ensureDir(dir);
    if (user.uid === userInfo().uid || (await mayPass(dir, user))) continue;
    await giveToGroup(dir, user);
    await chmod(dir, PASSAGE_MODE);
  }
}
