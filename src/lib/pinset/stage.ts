import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { systemErrorCode } from "../kernel/errors.ts";
import { exists, explainWriteError, fsyncDir, PRIVATE_DIR_MODE } from "../kernel/files.ts";
import { type SnapshotFiles, snapshotFiles } from "./format.ts";

/**
 * A directory beside the snapshots in which one of them is made, or taken apart. Its name tells which one, so that the
 * next run can clear away what a crash left. Leaving it removes it.
 */
export interface Stage extends AsyncDisposable {
  readonly dir: string;
  /** Where the files will lie. */
  readonly target: SnapshotFiles;
  /** Where they are now. */
  readonly files: SnapshotFiles;
}

const STAGE_NAME = /^\.(pinset-\d{8}T\d{6}Z)\.tmp$/;

/** Name of the stage of a snapshot, while it is made. */
export function stageName(name: string): string {
  return `.${name}.tmp`;
}

/** Opens the stage of a snapshot. @throws FulaError FULA_DISK_FULL, FULA_PATH_NOT_WRITABLE */
export async function openStage(snapshotsDir: string, name: string): Promise<Stage> {
  const dir = join(snapshotsDir, stageName(name));
  try {
    await mkdir(dir, { mode: PRIVATE_DIR_MODE });
  } catch (error) {
    throw explainWriteError(error, dir);
  }
  return {
    dir,
    target: snapshotFiles(snapshotsDir, name),
    files: snapshotFiles(dir, name),
    [Symbol.asyncDispose]: () => clear(snapshotsDir, name),
  };
}

/** Moves the finished files to where they belong; the manifest last, because it makes them a snapshot. */
export async function publish(stage: Stage, snapshotsDir: string): Promise<void> {
  const { files, target } = stage;
  try {
    await fsyncDir(stage.dir);
    await rename(files.data, target.data);
    await rename(files.minisign, target.minisign);
    await rename(files.signature, target.signature);
    // A power loss must not keep the manifest and lose one of the others.
    await fsyncDir(snapshotsDir);
    await rename(files.manifest, target.manifest);
    await fsyncDir(snapshotsDir);
  } catch (error) {
    throw explainWriteError(error, target.manifest);
  }
}

/** Removes a snapshot: all its files or, where this is cut short, the manifest first, and the rest at the next run. */
export async function removeSnapshot(snapshotsDir: string, name: string): Promise<void> {
  await using stage = await openStage(snapshotsDir, name);
  try {
    await rename(stage.target.manifest, stage.files.manifest);
    await fsyncDir(snapshotsDir);
  } catch (error) {
    if (systemErrorCode(error) !== "ENOENT") throw explainWriteError(error, stage.target.manifest);
  }
}

/** Clears away what interrupted runs left. Only for the holder of the snapshot lock. @returns the names of what was unfinished */
export async function clearUnfinished(snapshotsDir: string): Promise<readonly string[]> {
  const names = (await readdir(snapshotsDir))
    .map((file) => STAGE_NAME.exec(file)?.[1])
    .filter((name) => name !== undefined);
  for (const name of names) await clear(snapshotsDir, name);
  return names;
}

async function clear(snapshotsDir: string, name: string): Promise<void> {
  const target = snapshotFiles(snapshotsDir, name);
  if (!(await exists(target.manifest))) {
    for (const path of [target.data, target.signature, target.minisign]) await rm(path, { force: true });
    await fsyncDir(snapshotsDir);
  }
  await rm(join(snapshotsDir, stageName(name)), { recursive: true, force: true });
}
