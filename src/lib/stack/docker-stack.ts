import type { LoadedConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { FulaError } from "../kernel/errors.ts";

/** True where the settings ask for a container of our own. */
export function hasContainers({ runtime, postgres, blocks, gateway }: Config): boolean {
  return (
    runtime === "docker" && (postgres.mode === "docker" || blocks.mode === "docker" || gateway.mode === "container")
  );
}

export function unsupported(): FulaError {
  return new FulaError("FULA_RUNTIME_UNSUPPORTED", "This version of fula-master does not set up containers yet.");
}

/** Writes the files of the containers anew, and changes the containers to them. */
export async function applyStack(_loaded: LoadedConfig, _context: unknown, _report: unknown): Promise<void> {
  throw unsupported();
}
