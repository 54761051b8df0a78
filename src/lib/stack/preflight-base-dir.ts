import { constants } from "node:fs";
import { access, readdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { systemErrorCode } from "../kernel/errors.ts";
import { formatBytes } from "../kernel/units.ts";
import type { DiskRoom } from "../runtime/host.ts";
import { compareVersions, type Installation } from "./installation.ts";
import type { Finding } from "./preflight.ts";

/**
 * Below this `join` refuses: an empty embedded PostgreSQL takes 40 MiB, its write-ahead log grows to 1 GiB by default
 * (max_wal_size) before it is recycled.
 */
const DISK_FREE_BYTES_MIN = 2 * 1024 ** 3;
/** Below this `join` warns: room for a test, not for users. */
const DISK_FREE_BYTES_ADVISED = 20 * 1024 ** 3;
/** PostgreSQL makes about 1,000 files, each stored block is one more. */
const DISK_FREE_INODES_MIN = 50_000;

/** What lies directly in a base directory of ours, and what a file system or a service manager puts there by itself. */
const OWN_NAMES = new Set([
  "fula-master.yaml",
  ".env",
  "keys",
  "snapshots",
  "journal",
  "state",
  "logs",
  "compose.yaml",
  "docker",
  "secrets",
  "lost+found",
]);

/** What `writeFileAtomic` calls a file that it has not finished: `.env.4711-1.tmp`. A kill leaves it there. */
const UNFINISHED = /^(.+)\.(\d+)-\d+\.tmp$/;

/** The process that was writing this file when it ended; null for a name that is no such file's. */
export function writerOf(name: string): number | null {
  const pid = UNFINISHED.exec(name)?.[2];
  return pid === undefined ? null : Number(pid);
}

/** Left by the shell installers of the older fleet, in the same place. */
const OLD_FLEET_NAMES = new Set([".migrations-applied", "snapshot-ed25519.pem", "replication-alerts.log"]);

/** Nearest directory that exists, `path` itself included. */
export async function nearestExisting(path: string): Promise<string> {
  for (let candidate = path; ; candidate = dirname(candidate)) {
    try {
      await stat(candidate);
      return candidate;
    } catch (error) {
      const code = systemErrorCode(error);
      if (code !== "ENOENT" && code !== "ENOTDIR") throw error;
      if (candidate === dirname(candidate)) throw error;
    }
  }
}

/** What must be there, if it is there, and be writable. */
export interface ExpectedPath {
  readonly path: string;
  readonly kind: "directory" | "file";
}

async function whyNotWritable({ path, kind }: ExpectedPath): Promise<string | null> {
  try {
    if ((await stat(path)).isDirectory() !== (kind === "directory")) return `it is not a ${kind}`;
    await access(path, constants.W_OK);
    return null;
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === "ENOENT") return null;
    return code === "EROFS" ? "its file system is read-only" : (code ?? "unknown error");
  }
}

/** Checks that the base directory, or the first directory above it that exists, can be written. Writes nothing. */
export async function checkWritable(baseDir: string, inner: readonly ExpectedPath[]): Promise<Finding> {
  const nearest = await nearestExisting(baseDir);
  for (const expected of [{ path: nearest, kind: "directory" } as const, ...inner]) {
    const reason = await whyNotWritable(expected);
    if (reason !== null) return notWritable(baseDir, expected.path, reason);
  }
  return { state: "ok", message: nearest === baseDir ? `${baseDir} can be written` : `${baseDir} can be made` };
}

function notWritable(baseDir: string, place: string, reason: string): Finding {
  return {
    state: "failed",
    code: "FULA_PATH_NOT_WRITABLE",
    message: `Cannot write ${place}: ${reason}.`,
    remedy:
      place === baseDir || place.startsWith(`${baseDir}/`)
        ? "make it writable for this user, or choose another place with --base-dir."
        : `make it writable so that ${baseDir} can be created there, or choose another place with --base-dir.`,
    details: { path: place },
  };
}

/** What stands in a base directory before `join` touches it. */
export interface BaseDirContents {
  readonly baseDir: string;
  /** Names directly in it; empty where it does not exist. */
  readonly names: readonly string[];
  /** Names directly in `state/`; locks and unfinished files left out, here as above. */
  readonly stateNames: readonly string[];
  readonly installation: Installation | null;
  readonly hasSettings: boolean;
}

async function namesIn(dir: string): Promise<readonly string[]> {
  try {
    return (await readdir(dir)).toSorted();
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === "ENOENT" || code === "ENOTDIR") return [];
    throw error;
  }
}

/** Lists what stands there. */
export async function readContents(baseDir: string, installation: Installation | null): Promise<BaseDirContents> {
  const names = (await namesIn(baseDir)).filter((name) => writerOf(name) === null);
  return {
    baseDir,
    names,
    stateNames: (await namesIn(join(baseDir, "state"))).filter(
      (name) => !["locks", "join-redeemer"].includes(name) && writerOf(name) === null,
    ),
    installation,
    hasSettings: names.includes("fula-master.yaml"),
  };
}

/**
 * Judges whether the base directory is empty or ours; what a stranger left there is never built upon.
 * @param adopts true where the services run in containers: a master of the older installers is taken over in its place
 */
export function judgeContents(
  { baseDir, names, stateNames, installation, hasSettings }: BaseDirContents,
  adopts = false,
): Finding {
  if (installation !== null) return { state: "ok", message: `${baseDir} is ours since ${installation.createdAt}` };
  const foreign = names.filter((name) => !OWN_NAMES.has(name));
  const details = { baseDir, foreign };
  if (foreign.some((name) => OLD_FLEET_NAMES.has(name))) {
    if (adopts)
      return { state: "ok", message: `${baseDir} is a master of the older shell installers; it is taken over` };
    return {
      state: "failed",
      code: "FULA_BASE_DIR_FOREIGN",
      message: `${baseDir} is a master that the older shell installers made (${foreign.join(", ")}).`,
      remedy:
        "join with --runtime docker, which takes it over; or join in another place with --base-dir, and hand its database over with --postgres-url after `fula-master migrate adopt`.",
      details,
    };
  }
  if (foreign.length > 0) {
    const shown = foreign.slice(0, 5).join(", ");
    return {
      state: "failed",
      code: "FULA_BASE_DIR_FOREIGN",
      message: `${baseDir} holds files that fula-master did not write: ${shown}${foreign.length > 5 ? ` and ${foreign.length - 5} more` : ""}.`,
      remedy: "choose an empty or new directory with --base-dir, or move those files away.",
      details,
    };
  }
  if (stateNames.length > 0) {
    return {
      state: "failed",
      code: "FULA_BASE_DIR_FOREIGN",
      message: `${baseDir}/state holds data (${stateNames.slice(0, 5).join(", ")}), but no installation.json that says whose it is.`,
      remedy: "put state/installation.json back from a backup, or choose another place with --base-dir.",
      details,
    };
  }
  if (hasSettings) return { state: "ok", message: `${baseDir} holds settings that were written before the first join` };
  return { state: "ok", message: names.length === 0 ? `${baseDir} is new` : `${baseDir} is empty but for directories` };
}

/** Judges whether this version may work on what an earlier run left. */
export function judgeVersions(installation: Installation | null, ownVersion: string): Finding {
  if (installation === null) return { state: "ok", message: `fula-master ${ownVersion}, nothing older here` };
  if (compareVersions(installation.changedBy, ownVersion) <= 0) {
    return { state: "ok", message: `fula-master ${ownVersion}; last changed by ${installation.changedBy}` };
  }
  return {
    state: "failed",
    code: "FULA_STATE_NEWER",
    message: `This base directory was last changed by fula-master ${installation.changedBy}; this is ${ownVersion}.`,
    remedy: `install fula-master ${installation.changedBy} or newer on this box.`,
    details: { changedBy: installation.changedBy, ownVersion },
  };
}

/** Who owns a file or directory of ours, and who may look into it. */
export interface OwnedPath {
  readonly path: string;
  readonly uid: number;
  /** Permission bits alone. */
  readonly mode: number;
  /** True for the settings, the secrets and the keys, false for a directory that may have been made beforehand. */
  readonly ours: boolean;
}

/** Reads owner and mode of those of `paths` that exist. */
export async function readOwnership(
  paths: readonly { readonly path: string; readonly ours: boolean }[],
): Promise<readonly OwnedPath[]> {
  const found: OwnedPath[] = [];
  for (const { path, ours } of paths) {
    try {
      const { uid, mode } = await stat(path);
      found.push({ path, uid, mode: mode & 0o7777, ours });
    } catch (error) {
      if (systemErrorCode(error) !== "ENOENT") throw error;
    }
  }
  return found;
}

/** Judges owner and mode: files of two users in one place end in secrets that one of them cannot read. */
export function judgeOwnership(paths: readonly OwnedPath[], uid: number): Finding {
  const strange = paths.find((path) => path.uid !== uid && path.ours);
  if (strange !== undefined) {
    return {
      state: "failed",
      code: "FULA_PATH_NOT_WRITABLE",
      message: `${strange.path} belongs to user ${strange.uid}, and this run is user ${uid}: their files would get mixed.`,
      remedy: "run the command as the user who joined, or hand the files over with chown.",
      details: { path: strange.path, owner: strange.uid, uid },
    };
  }
  // 0710 with the group of the PostgreSQL user is ours; anything wider is tightened by the first step.
  const open = paths.filter((path) => (path.mode & 0o067) !== 0);
  if (open.length === 0) return { state: "ok", message: "nobody else can look into it" };
  const list = open.map(({ path, mode }) => `${path} (${mode.toString(8).padStart(4, "0")})`).join(", ");
  return {
    state: "warning",
    message: `Others on this machine can look into ${list}.`,
    remedy: "nothing to do: join takes these permissions away.",
  };
}

/** Least room that `judgeDisk` accepts. */
export interface DiskThresholds {
  readonly bytesMin: number;
  readonly bytesAdvised: number;
  readonly inodesMin: number;
}

/** What `join` asks for. */
export const DISK_THRESHOLDS: DiskThresholds = {
  bytesMin: DISK_FREE_BYTES_MIN,
  bytesAdvised: DISK_FREE_BYTES_ADVISED,
  inodesMin: DISK_FREE_INODES_MIN,
};

/** Judges the room on the file system of the base directory. */
export function judgeDisk(room: DiskRoom, baseDir: string, thresholds: DiskThresholds = DISK_THRESHOLDS): Finding {
  const free = formatBytes(room.bytesFree);
  const remedy = `free space there (df -h ${baseDir}), or choose another place with --base-dir.`;
  if (room.bytesFree < thresholds.bytesMin) {
    return {
      state: "failed",
      code: "FULA_DISK_FULL",
      message: `The file system of ${baseDir} has ${free} free; a master needs at least ${formatBytes(thresholds.bytesMin)}.`,
      remedy,
      details: { ...room, bytesMin: thresholds.bytesMin },
    };
  }
  if (room.inodesFree !== null && room.inodesFree < thresholds.inodesMin) {
    return {
      state: "failed",
      code: "FULA_DISK_FULL",
      message: `The file system of ${baseDir} has ${room.inodesFree} inodes free; a master needs at least ${thresholds.inodesMin}.`,
      remedy: `remove small files there (df -i ${baseDir}), or choose another place with --base-dir.`,
      details: { ...room, inodesMin: thresholds.inodesMin },
    };
  }
  if (room.bytesFree < thresholds.bytesAdvised) {
    return { state: "warning", message: `${free} free: enough to try it, little for real users.`, remedy };
  }
  return { state: "ok", message: `${free} free` };
}
