import { statfs } from "node:fs/promises";
import { hostname, userInfo } from "node:os";
import { execa } from "execa";

/** What this process runs on, as. */
export interface HostFacts {
  /** `24.21.0`. */
  readonly nodeVersion: string;
  readonly platform: string;
  readonly arch: string;
  readonly hostname: string;
  readonly uid: number;
  readonly userName: string;
}

/** Reads the facts of this process and its machine. */
export function hostFacts(): HostFacts {
  const { uid, username } = userInfo();
  return {
    nodeVersion: process.versions.node,
    platform: process.platform,
    arch: process.arch,
    hostname: hostname(),
    uid,
    userName: username,
  };
}

/** Absolute path of the Node.js that runs this process. */
export function nodeProgram(): string {
  return process.execPath;
}

/** Room on a file system; `inodes` null where it does not count them (btrfs, some network file systems). */
export interface DiskRoom {
  readonly bytesFree: number;
  readonly bytesTotal: number;
  readonly inodesFree: number | null;
}

/** Reads how much room an unprivileged writer has on the file system that holds `path`. */
export async function diskRoom(path: string): Promise<DiskRoom> {
  const { bavail, blocks, bsize, ffree, files } = await statfs(path);
  return { bytesFree: bavail * bsize, bytesTotal: blocks * bsize, inodesFree: files === 0 ? null : ffree };
}

const TIMEDATECTL_TIMEOUT_MS = 3_000;

/** Asks systemd whether a time service keeps the clock. @returns null where nobody can tell (no systemd, a container) */
export async function isClockSynchronized(signal?: AbortSignal): Promise<boolean | null> {
  try {
    const { stdout } = await execa("timedatectl", ["show", "--property=NTPSynchronized", "--value"], {
      timeout: TIMEDATECTL_TIMEOUT_MS,
      ...(signal === undefined ? {} : { cancelSignal: signal }),
    });
    const answer = stdout.trim();
    return answer === "yes" ? true : answer === "no" ? false : null;
  } catch {
    return null;
  }
}
