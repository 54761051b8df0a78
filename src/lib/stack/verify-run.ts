import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { parseDurationMs } from "../kernel/units.ts";
import { listSnapshots, newestOf } from "../pinset/catalog.ts";
import { readMemory } from "../pinset/memory.ts";
import { loadTrustedKeys } from "../pinset/trust.ts";
import { type Verification, type VerifyDeps, verifySnapshot } from "../pinset/verify.ts";

/** What an operator may choose for `verify`. */
export interface VerifyRunOptions {
  /** A file as it was typed; null = the newest snapshot. */
  readonly file: string | null;
  readonly all: boolean;
  readonly anyCluster: boolean;
  /** Null = any age will do. */
  readonly maxAgeMs: number | null;
}

/** What a run takes from its caller. */
export interface VerifyRunDeps {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Where relative paths begin. */
  readonly cwd: string;
  readonly onProgress?: VerifyDeps["onProgress"];
}

/** Checks the snapshots that were asked for, newest first. @throws FulaError FULA_SNAPSHOT_ABSENT where there is none */
export async function runVerify(
  loaded: LoadedConfig,
  options: VerifyRunOptions,
  deps: VerifyRunDeps,
): Promise<readonly Verification[]> {
  const { config, paths } = loaded;
  const trustedKeys = await loadTrustedKeys(paths.keysDir, config.snapshot.trustedKeys);
  const clusterId = options.anyCluster ? null : config.node.clusterId;
  const given: VerifyDeps = {
    trustedKeys,
    clusterId,
    clock: deps.clock,
    signal: deps.signal,
    ...(options.maxAgeMs === null ? {} : { maxAgeMs: options.maxAgeMs }),
    ...(deps.onProgress === undefined ? {} : { onProgress: deps.onProgress }),
  };
  if (options.file !== null) return [await verifySnapshot(locate(options.file, paths.snapshotsDir, deps.cwd), given)];
  const entries = await listSnapshots(paths.snapshotsDir, { trustedKeys, clusterId });
  const newest = newestOf(entries);
  if (newest === null) {
    throw new FulaError("FULA_SNAPSHOT_ABSENT", `There is no snapshot in ${paths.snapshotsDir}.`, {
      hint: "fula-master snapshot takes one; or name a file: fula-master verify <file>.",
    });
  }
  const memory =
    config.node.clusterId === null ? null : await readMemory(paths.stateDir, config.node.clusterId, trustedKeys);
  const isRemembered = memory?.kind === "good" && memory.memory.sequence > 0;
  const forNewest = isRemembered ? { ...given, newest: memory.memory } : given;
  const results: Verification[] = [];
  for (const { name } of options.all ? entries : [newest]) {
    // Old ones may be as old as they like.
    const { maxAgeMs: _, ...forOld } = given;
    results.push(await verifySnapshot(join(paths.snapshotsDir, name), name === newest.name ? forNewest : forOld));
  }
  return results;
}

/** A path as the shell knows it, or the name of a snapshot in the usual place. */
function locate(file: string, snapshotsDir: string, cwd: string): string {
  const path = resolve(cwd, file);
  if (file !== basename(file) || existsSync(path) || existsSync(`${path}.json`)) return path;
  return join(snapshotsDir, file);
}

/** Reads `--max-age`.. @throws FulaError FULA_USAGE */
export function parseMaxAge(value: string | true | undefined, settingMs: number): number | null {
  if (value === undefined) return null;
  if (value === true) return settingMs;
  const ms = parseDurationMs(value);
  if (ms !== null && ms > 0) return ms;
  throw new FulaError("FULA_USAGE", `--max-age ${JSON.stringify(value)} is not a duration such as "26h" or "7d".`, {
    hint: "fula-master verify --help",
  });
}
