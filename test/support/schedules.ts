import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type LoadedConfig, loadConfig, type Overrides } from "../../src/lib/config/load.ts";
import type { ProgramResult, RunProgram } from "../../src/lib/stack/scheduler.ts";
import { boxWith } from "./config.ts";
import { tempDir } from "./temp-dir.ts";

/** Programs that were run, as typed; the answers are by the whole command line, else exit code 0 and no text. */
export interface RecordedPrograms {
  readonly run: RunProgram;
  readonly calls: readonly string[];
}

/** Runs nothing, remembers what it was asked to run. */
export function recordPrograms(answers: Readonly<Record<string, Partial<ProgramResult>>> = {}): RecordedPrograms {
  const calls: string[] = [];
  return {
    calls,
    run: async (file, args) => {
      const line = [file, ...args].join(" ");
      calls.push(line);
      return { exitCode: 0, stdout: "", stderr: "", ...answers[line] };
    },
  };
}

/** A file system of its own with the directories that cron and systemd have. */
export function emptyRoot(): string {
  const root = tempDir();
  for (const dir of ["etc/cron.d", "etc/systemd/system"]) mkdirSync(join(root, dir), { recursive: true });
  return root;
}

/** A loaded configuration of a box of its own. */
export async function loadedBox(
  files: { readonly yaml?: string; readonly env?: string } = {},
  environment: Readonly<Record<string, string>> = {},
  overrides: Overrides = {},
): Promise<LoadedConfig> {
  return loadConfig(boxWith(files, environment), overrides);
}
