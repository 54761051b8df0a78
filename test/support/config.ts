import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PathsContext } from "../../src/lib/config/paths.ts";
import { tempDir } from "./temp-dir.ts";

/** A base directory with these files, and the context of a run that reads them; nothing comes from the test's own environment. */
export function boxWith(
  files: { readonly yaml?: string; readonly env?: string },
  environment: Readonly<Record<string, string | undefined>> = {},
): PathsContext & { readonly baseDir: string; readonly configFile: string; readonly envFile: string } {
  const baseDir = join(tempDir(), "box");
  mkdirSync(baseDir, { mode: 0o700 });
  const configFile = join(baseDir, "fula-master.yaml");
  const envFile = join(baseDir, ".env");
  if (files.yaml !== undefined) writeFileSync(configFile, files.yaml, { mode: 0o600 });
  if (files.env !== undefined) writeFileSync(envFile, files.env, { mode: 0o600 });
  return {
    globals: { baseDir },
    env: environment,
    cwd: baseDir,
    user: { uid: 0, homedir: "/root" },
    baseDir,
    configFile,
    envFile,
  };
}
