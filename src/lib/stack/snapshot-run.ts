import type { LoadedConfig } from "../config/load.ts";
import { type Clock, formatUtc } from "../kernel/clock.ts";
import { listSnapshots, type SnapshotEntry } from "../pinset/catalog.ts";
import {
  decidePrune,
  type KeepReason,
  type PruneDeps,
  type PruneReport,
  pruneCandidates,
  pruneSnapshots,
} from "../pinset/prune.ts";
import {
  planSnapshot,
  type SnapshotDeps,
  type SnapshotOptions,
  type SnapshotPlan,
  type SnapshotReport,
  takeSnapshot,
} from "../pinset/snapshot.ts";
import { loadTrustedKeys } from "../pinset/trust.ts";
import { withPinCluster } from "./pinset.ts";

/** What a run takes from its caller. */
export interface SnapshotRunDeps {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly onProgress?: SnapshotDeps["onProgress"];
}

/** What an operator may choose for one snapshot. */
export interface SnapshotRunOptions {
  readonly acceptShrink: boolean;
  readonly acceptClock: boolean;
  /** False keeps every old snapshot. */
  readonly prune: boolean;
}

/** One line of `snapshot list`; `--json` prints it as it is. */
export interface SnapshotListing {
  readonly name: string;
  readonly file: string;
  readonly format: SnapshotEntry["format"];
  /** RFC 3339 UTC. */
  readonly time: string;
  readonly ageMs: number;
  /** Null where there is no manifest that could be read. */
  readonly sequence: number | null;
  readonly pinCount: number | null;
  /** Size of the compressed file; null where it is missing. */
  readonly bytes: number | null;
  /** Signatures, manifest, name, cluster and size are as they should be; `verify` reads the records too. */
  readonly good: boolean;
  readonly problems: SnapshotEntry["problems"];
  /** Why prune would keep it; none where it would go. */
  readonly keep: readonly KeepReason[];
}

/** Takes a snapshot of the pinset that the settings name. @throws FulaError as `takeSnapshot` and `openPinCluster` do */
export async function runSnapshot(
  loaded: LoadedConfig,
  options: SnapshotRunOptions,
  deps: SnapshotRunDeps,
): Promise<SnapshotReport> {
  return withPinCluster(loaded, deps, async (cluster) =>
    takeSnapshot(partsOf(loaded, cluster, deps), optionsOf(loaded, options)),
  );
}

/** Says what `runSnapshot` would do. Writes nothing. */
export async function proposeSnapshot(
  loaded: LoadedConfig,
  options: SnapshotRunOptions,
  deps: SnapshotRunDeps,
): Promise<SnapshotPlan> {
  return withPinCluster(loaded, deps, async (cluster) =>
    planSnapshot(partsOf(loaded, cluster, deps), optionsOf(loaded, options)),
  );
}

/** Every snapshot of this box, newest first, and what prune would do with it. Reads only. */
export async function listRun(loaded: LoadedConfig, deps: SnapshotRunDeps): Promise<readonly SnapshotListing[]> {
  const parts = await pruneParts(loaded, deps);
  const entries = await listSnapshots(parts.snapshotsDir, parts);
  const decisions = decidePrune(await pruneCandidates(entries, deps.signal), loaded.config.snapshot.keep);
  const keepOf = new Map(decisions.map(({ name, reasons }) => [name, reasons]));
  const nowMs = deps.clock.nowMs();
  return entries.map(({ name, files, format, timeMs, manifest, sizeBytes, good, problems }) => ({
    name,
    file: format === "legacy" ? files.manifest : files.data,
    format,
    time: formatUtc(timeMs),
    ageMs: nowMs - timeMs,
    sequence: manifest?.sequence ?? null,
    pinCount: manifest?.pinCount ?? null,
    bytes: sizeBytes,
    good,
    problems,
    keep: keepOf.get(name) ?? [],
  }));
}

/** Removes what `snapshot.keep` does not keep; with `dryRun` only says what. */
export async function pruneRun(loaded: LoadedConfig, dryRun: boolean, deps: SnapshotRunDeps): Promise<PruneReport> {
  const parts = await pruneParts(loaded, deps);
  const { keep } = loaded.config.snapshot;
  if (!dryRun) return pruneSnapshots(parts, keep);
  const entries = await listSnapshots(parts.snapshotsDir, parts);
  const decisions = decidePrune(await pruneCandidates(entries, deps.signal), keep);
  return { decisions, removed: decisions.filter((decision) => !decision.keep).map(({ name }) => name) };
}

/** True where the settings name other peers of this box's cluster. */
export function expectsOtherPeers({ cluster }: LoadedConfig["config"]): boolean {
  return cluster.mode !== "local" && cluster.bootstrap.length > 0;
}

function partsOf(
  { config, paths }: LoadedConfig,
  cluster: SnapshotDeps["cluster"],
  deps: SnapshotRunDeps,
): SnapshotDeps {
  return { cluster, paths, trustedKeys: config.snapshot.trustedKeys, ...deps };
}

function optionsOf(
  { config }: LoadedConfig,
  { acceptShrink, acceptClock, prune }: SnapshotRunOptions,
): SnapshotOptions {
  const { maxShrinkPercent, keep } = config.snapshot;
  const expectsPeers = expectsOtherPeers(config);
  return { maxShrinkPercent, keep: prune ? keep : null, acceptShrink, acceptClock, expectsPeers };
}

async function pruneParts({ config, paths }: LoadedConfig, deps: SnapshotRunDeps): Promise<PruneDeps> {
  const trustedKeys = await loadTrustedKeys(paths.keysDir, config.snapshot.trustedKeys);
  return { ...paths, trustedKeys, clusterId: config.node.clusterId, clock: deps.clock, signal: deps.signal };
}
