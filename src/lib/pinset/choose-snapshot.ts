import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { listSnapshots } from "./catalog.ts";
import { filesOf } from "./format.ts";
import type { TrustedKey } from "./keys.ts";
import { readMemory } from "./memory.ts";
import { type Verification, verifySnapshot } from "./verify.ts";

/** What decides which snapshot is restored from. */
export interface ChoiceDeps {
  readonly snapshotsDir: string;
  readonly stateDir: string;
  /** Relative names that are no file there are looked for among the snapshots. */
  readonly cwd: string;
  readonly trustedKeys: readonly TrustedKey[];
  readonly clusterId: string;
  /** True takes snapshots of other clusters too. */
  readonly anyCluster: boolean;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly onProgress?: ((done: number, total: number | null) => void) | undefined;
}

/** A snapshot that verifies, and what an operator should know about the choice. */
export interface SnapshotChoice {
  readonly verification: Verification;
  readonly warnings: readonly string[];
}

/**
 * Verifies the snapshot that was named, or finds the newest one that verifies.
 * @param name a path of any file of a snapshot, or its name in the snapshots directory; null = the newest
 * @throws FulaError FULA_RESTORE_REFUSED, FULA_RESTORE_WRONG_CLUSTER, FULA_SNAPSHOT_ABSENT
 */
export async function chooseSnapshot(name: string | null, deps: ChoiceDeps): Promise<SnapshotChoice> {
  return name === null ? newestGood(deps) : named(name, deps);
}

async function verify(file: string, deps: ChoiceDeps): Promise<Verification> {
  const { trustedKeys, clock, signal, onProgress } = deps;
  // The cluster is compared by us, so that a foreign one is told apart from a bad one. A hole in the chain does not make
  // signed records wrong, and whoever could damage an old file must not be able to block a restore from the newest.
  return verifySnapshot(file, { trustedKeys, clusterId: null, chain: "remark", clock, signal, onProgress });
}

function isForeign({ manifest }: Verification, { clusterId, anyCluster }: ChoiceDeps): boolean {
  return !anyCluster && manifest !== null && manifest.clusterId !== clusterId;
}

async function named(name: string, deps: ChoiceDeps): Promise<SnapshotChoice> {
  const path = resolve(deps.cwd, name);
  const file = existsSync(path) ? path : join(deps.snapshotsDir, name);
  const { manifest, data } = filesOf(file);
  if (!existsSync(manifest) && !existsSync(data)) {
    throw new FulaError(
      "FULA_SNAPSHOT_ABSENT",
      `There is no snapshot ${path}, nor one of that name in ${deps.snapshotsDir}.`,
      {
        hint: "fula-master snapshot list",
      },
    );
  }
  const verification = await verify(file, deps);
  const [first, ...more] = verification.problems;
  if (first !== undefined) {
    const rest = more.length === 0 ? "" : ` (and ${more.length} more: fula-master verify ${file})`;
    throw new FulaError("FULA_RESTORE_REFUSED", `Nothing is restored from ${file}: ${first.message}${rest}`, {
      hint: first.hint ?? "fula-master restore without a file takes the newest snapshot that verifies.",
      details: { file, problems: verification.problems },
    });
  }
  if (isForeign(verification, deps)) {
    throw new FulaError(
      "FULA_RESTORE_WRONG_CLUSTER",
      `${file} is a snapshot of cluster ${verification.manifest?.clusterId ?? ""}, this box is of cluster ${deps.clusterId}.`,
      {
        hint: "if this box takes the place of that cluster, add --any-cluster.",
        details: { found: verification.manifest?.clusterId, expected: deps.clusterId },
      },
    );
  }
  return { verification, warnings: [...verification.remarks, ...unbound(verification)] };
}

/** Old-format snapshots do not say whose they are. */
function unbound({ format, file }: Verification): readonly string[] {
  if (format !== "legacy") return [];
  return [`${file} is in the old format, which does not say which cluster it is of, nor when it was really taken.`];
}

async function newestGood(deps: ChoiceDeps): Promise<SnapshotChoice> {
  const { snapshotsDir, stateDir, clusterId, anyCluster, trustedKeys } = deps;
  const entries = await listSnapshots(snapshotsDir, { trustedKeys, clusterId: anyCluster ? null : clusterId });
  const warnings: string[] = [];
  for (const { name, format, files } of entries) {
    if (format === "legacy") continue;
    const verification = await verify(files.manifest, deps);
    const [problem] = verification.problems;
    if (problem !== undefined) {
      warnings.push(`${name} was passed over: ${problem.message}`);
      continue;
    }
    if (isForeign(verification, deps)) {
      warnings.push(`${name} was passed over: it is of cluster ${verification.manifest?.clusterId ?? ""}.`);
      continue;
    }
    const memory = await readMemory(stateDir, clusterId, trustedKeys);
    const sequence = verification.manifest?.sequence ?? 0;
    if (memory.kind === "good" && memory.memory.sequence > sequence) {
      const { sequence: last, time, pinCount } = memory.memory;
      warnings.push(
        `This box took a newer snapshot (sequence ${last}, ${time ?? "time unknown"}, ${pinCount} pins); it is gone or bad.`,
      );
    }
    return { verification, warnings: [...warnings, ...verification.remarks] };
  }
  const legacy = entries.filter(({ format }) => format === "legacy").length;
  const oldFormat = legacy === 0 ? "" : ` ${legacy} in the old format are there and must be named.`;
  throw new FulaError("FULA_SNAPSHOT_ABSENT", `No snapshot in ${snapshotsDir} verifies.${oldFormat}`, {
    hint: "fula-master verify <file> says what is wrong with one; or name a copy: fula-master restore /path/to/pinset-....json",
    details: { passedOver: warnings },
  });
}
