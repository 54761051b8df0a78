import { stat } from "node:fs/promises";
import { systemErrorCode } from "../kernel/errors.ts";
import { readTextIfExists } from "../kernel/files.ts";
import type { Paths } from "./paths.ts";

/** A file that decides what this master does or that nobody else may read. */
interface FileFact {
  readonly path: string;
  readonly mode: number;
  readonly isSecret: boolean;
}

/** How the configuration lies on the box. */
export interface BoxFacts {
  /** Files and directories that exist, of those that matter. */
  readonly files: readonly FileFact[];
  /** The text of the settings file; null where there is none. */
  readonly settingsText: string | null;
  /** True where `.env` exists: then secrets are expected in it. */
  readonly isJoined: boolean;
}

async function factOf(path: string, isSecret: boolean): Promise<FileFact[]> {
  try {
    const { mode } = await stat(path);
    return [{ path, mode, isSecret }];
  } catch (error) {
    // A directory above that we may not enter hides the file from everybody else as well.
    if (["ENOENT", "EACCES", "ENOTDIR"].includes(systemErrorCode(error) ?? "")) return [];
    throw error;
  }
}

/** Reads modes and presence of the files of a base directory. Writes nothing. */
export async function readBoxFacts(paths: Paths): Promise<BoxFacts> {
  const files = await Promise.all([
    factOf(paths.baseDir, false),
    factOf(paths.configFile, false),
    factOf(paths.envFile, true),
    factOf(paths.keysDir, false),
    factOf(paths.snapshotKeyFile, true),
  ]);
  const settingsText = await readTextIfExists(paths.configFile).catch(() => null);
  const found = files.flat();
  return { files: found, settingsText, isJoined: found.some(({ path }) => path === paths.envFile) };
}
