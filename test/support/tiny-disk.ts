import { execFile } from "node:child_process";
import { mkdtemp, rm, statfs, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** How a child process ended. */
export interface ChildRun {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function runChild(file: string, args: readonly string[]): Promise<ChildRun> {
  try {
    const { stdout, stderr } = await run(file, [...args]);
    return { exitCode: 0, stdout, stderr };
  } catch (error) {
    if (!(error instanceof Error) || !("stdout" in error) || !("stderr" in error)) throw error;
    const exitCode = "code" in error && typeof error.code === "number" ? error.code : -1;
    return { exitCode, stdout: String(error.stdout), stderr: String(error.stderr) };
  }
}

// A mount namespace of its own: the file system is gone with the child, however the child or this test ends.
const MOUNT_AND_RUN =
  'mount -t tmpfs -o "size=${2}k,nr_inodes=4096" tmpfs "$1" || exit 99; dir=$1; shift 2; exec "$@" "$dir"';
const MOUNT_FAILED = 99;

async function tryNamespace(mountPoint: string, sizeKiB: number, command: readonly string[]): Promise<ChildRun | null> {
  // As ourselves where we are not root: a root that is mapped would be taken for one that may become other users.
  const asRoot = process.getuid?.() === 0 ? [] : ["--user", "--map-current-user", "--keep-caps"];
  const args = [
    ...asRoot,
    "--mount",
    "--propagation",
    "private",
    "sh",
    "-c",
    MOUNT_AND_RUN,
    "sh",
    mountPoint,
    String(sizeKiB),
  ];
  const result = await runChild("unshare", [...args, ...command]);
  return result.exitCode === MOUNT_FAILED || /unshare (?:failed|: )|unshare: /.test(result.stderr) ? null : result;
}

/** Containers forbid mounts, but give every container a /dev/shm of 64 MiB: that is a disk that can be filled up. */
async function onSharedMemory(sizeKiB: number, command: readonly string[]): Promise<ChildRun> {
  const dir = await mkdtemp("/dev/shm/fula-full-");
  try {
    const { bavail, bsize } = await statfs(dir);
    const fillBytes = bavail * bsize - sizeKiB * 1024;
    if (fillBytes > 1024 ** 3)
      throw new Error("Neither a mount namespace nor a small /dev/shm: no disk here can be filled");
    await writeFile(join(dir, "filler"), new Uint8Array(Math.max(0, fillBytes)));
    return await runChild(command[0] ?? "", [...command.slice(1), dir]);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/**
 * Runs a script of `test/support/children` with Node.js on a file system of `sizeKiB`; its last argument is the
 * directory that is the file system.
 */
export async function runOnTinyDisk(script: string, sizeKiB: number, args: readonly string[] = []): Promise<ChildRun> {
  const command = [process.execPath, join(import.meta.dirname, "children", script), ...args];
  const mountPoint = await mkdtemp(join(tmpdir(), "fula-tiny-"));
  try {
    return (await tryNamespace(mountPoint, sizeKiB, command)) ?? (await onSharedMemory(sizeKiB, command));
  } finally {
    await rm(mountPoint, { recursive: true, force: true });
  }
}
