import { join } from "node:path";
import { emptyCluster } from "../cluster/empty-cluster.ts";
import type { PinCluster } from "../cluster/pins.ts";
import type { LoadedConfig } from "../config/load.ts";
import { type Clock, formatUtc } from "../kernel/clock.ts";
import { FulaError, isFulaError } from "../kernel/errors.ts";
import { ensureDir } from "../kernel/files.ts";
import { type Journal, openJournal } from "../kernel/journal.ts";
import { acquireLock } from "../kernel/lock.ts";
import { parseDurationMs } from "../kernel/units.ts";
import { chooseSnapshot, type SnapshotChoice } from "../pinset/choose-snapshot.ts";
import { inOrder } from "../pinset/in-order.ts";
import { type Problem, ProblemList } from "../pinset/problem-list.ts";
import { readSnapshotPins } from "../pinset/reader.ts";
import { executeRestore, planOf, type RestoreDeps, type RestoreOptions, type RestorePhase } from "../pinset/restore.ts";
import type { RestorePlan } from "../pinset/restore-selection.ts";
import { loadTrustedKeys } from "../pinset/trust.ts";
import { type OpenPinCluster, openPinCluster } from "./pinset.ts";

/** What an operator may choose for one restore. */
export interface RestoreRunOptions extends Omit<RestoreOptions, "replMin"> {
  /** A file or name of a snapshot; null = the newest that verifies. */
  readonly file: string | null;
  readonly anyCluster: boolean;
  /** True plans only and writes nothing at all. */
  readonly dryRun: boolean;
}

/** What a run takes from its caller. */
export interface RestoreRunDeps {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly cwd: string;
  readonly onProgress?: ((phase: "verify" | RestorePhase, done: number, total: number | null) => void) | undefined;
  /** Told before anything is written; throws where the operator does not want it. */
  readonly approve: (plan: RestorePlan, choice: SnapshotChoice) => Promise<void>;
}

/** What a restore found and did; `restore --json` prints it. */
export interface RestoreReport {
  /** True where every pin of the selection is pinned with every option and its content is held. */
  readonly ok: boolean;
  readonly dryRun: boolean;
  /** True where pins with other options than in the snapshot are changed, not only listed. */
  readonly overwrite: boolean;
  readonly clusterId: string;
  readonly snapshot: {
    readonly file: string;
    readonly format: "snapshot" | "legacy";
    /** RFC 3339 UTC; null where an old-format file does not tell. */
    readonly time: string | null;
    readonly ageMs: number | null;
    readonly sequence: number | null;
    readonly clusterId: string | null;
    readonly pinCount: number | null;
    readonly signedBy: string | null;
  };
  readonly warnings: readonly string[];
  readonly plan: RestorePlan;
  /** Null with `dryRun`. */
  readonly result: {
    readonly written: number;
    readonly verified: number;
    readonly problems: number;
    /** The first few of them. */
    readonly shown: readonly Problem[];
    /** All of them, one JSON line each; null where there is none. */
    readonly file: string | null;
    readonly journal: string;
  } | null;
}

/**
 * Restores the pinset of this master from a verified snapshot, under a lock. Nothing of a run is needed to finish it
 * after a crash: what is missing is found by comparing again.
 * @throws FulaError FULA_LOCKED, FULA_RESTORE_REFUSED, FULA_RESTORE_WRONG_CLUSTER, FULA_SNAPSHOT_ABSENT, FULA_PINSET_*,
 *   FULA_CLUSTER_*
 */
export async function runRestore(
  loaded: LoadedConfig,
  options: RestoreRunOptions,
  deps: RestoreRunDeps,
): Promise<RestoreReport> {
  assertMaster(loaded);
  if (options.dryRun) return (await planIt(loaded, options, deps)).report;
  const { paths } = loaded;
  const lock = await acquireLock(join(paths.locksDir, "restore.lock"), "restore", deps.clock);
  try {
    const { choice, plan } = await planIt(loaded, options, deps);
    await deps.approve(plan, choice);
    // Only now: a lost pinset file must not become an empty one because a snapshot turned out to be bad.
    await using cluster = await openPinCluster(loaded, { clock: deps.clock, create: true });
    await ensureDir(paths.journalDir);
    await using journal = await openJournal(paths.journalDir, "restore", deps.clock);
    return await apply(loaded, options, depsOf(cluster, choice, deps), { plan, choice, journal });
  } finally {
    lock.release();
  }
}

function assertMaster({ config }: LoadedConfig): void {
  if (config.node.role !== "storage") return;
  throw new FulaError("FULA_CLUSTER_READ_ONLY", "A storage node may not change the pinset, so it cannot restore it.", {
    hint: "copy the snapshot to a master and run fula-master restore <file> there.",
  });
}

interface Planned {
  readonly choice: SnapshotChoice;
  readonly plan: RestorePlan;
  /** What a dry run reports. */
  readonly report: RestoreReport;
}

async function planIt(loaded: LoadedConfig, options: RestoreRunOptions, deps: RestoreRunDeps): Promise<Planned> {
  await using cluster = await openOrNothing(loaded, deps.clock);
  const choice = await choose(loaded, cluster.clusterId, options, deps);
  const plan = await planOf(depsOf(cluster, choice, deps), options);
  const ok = plan.toWrite === 0 && plan.notInSnapshot.length === 0;
  const facts = { ok, dryRun: true, overwrite: options.overwrite };
  const report = { ...reportOf(cluster.clusterId, choice, plan), ...facts, result: null };
  return { choice, plan, report };
}

async function apply(
  loaded: LoadedConfig,
  options: RestoreRunOptions,
  deps: RestoreDeps,
  { plan, choice, journal }: { readonly plan: RestorePlan; readonly choice: SnapshotChoice; readonly journal: Journal },
): Promise<RestoreReport> {
  const { file } = choice.verification;
  await journal.append("planned", { snapshot: file, counts: plan.counts, toWrite: plan.toWrite });
  const problemsFile = journal.path.replace(/\.jsonl$/, "-problems.ndjson");
  const { written, verified, problems } = await executeRestore(
    deps,
    { ...options, replMin: loaded.config.sweep.replMin },
    plan,
    { journal, problems: () => new ProblemList(problemsFile) },
  );
  const ok = problems.total === 0;
  await journal.append("done", { ok, at: formatUtc(deps.clock.nowMs()) });
  return {
    ...reportOf(deps.cluster.clusterId, choice, plan),
    ok,
    dryRun: false,
    overwrite: options.overwrite,
    result: {
      written,
      verified,
      problems: problems.total,
      shown: problems.shown,
      file: problems.path,
      journal: journal.path,
    },
  };
}

async function choose(
  { config, paths }: LoadedConfig,
  clusterId: string,
  { file, anyCluster }: RestoreRunOptions,
  { clock, signal, cwd, onProgress }: RestoreRunDeps,
): Promise<SnapshotChoice> {
  return chooseSnapshot(file, {
    snapshotsDir: paths.snapshotsDir,
    stateDir: paths.stateDir,
    cwd,
    trustedKeys: await loadTrustedKeys(paths.keysDir, config.snapshot.trustedKeys),
    clusterId,
    anyCluster,
    clock,
    signal,
    onProgress: (done, total) => onProgress?.("verify", done, total),
  });
}

function depsOf(
  cluster: PinCluster,
  { verification }: SnapshotChoice,
  { clock, signal, onProgress }: RestoreRunDeps,
): RestoreDeps {
  return {
    cluster,
    sources: inOrder(cluster),
    wanted: (stop) => readSnapshotPins(verification.file, { signal: stop }),
    clock,
    signal,
    onProgress,
  };
}

function reportOf(
  clusterId: string,
  { verification, warnings }: SnapshotChoice,
  plan: RestorePlan,
): Pick<RestoreReport, "clusterId" | "snapshot" | "warnings" | "plan"> {
  const { file, format, time, ageMs, manifest, pinCount, signedBy } = verification;
  const of = { sequence: manifest?.sequence ?? null, clusterId: manifest?.clusterId ?? null };
  return { clusterId, snapshot: { file, format, time, ageMs, ...of, pinCount, signedBy }, warnings, plan };
}

/** The pinset, or where its file is lost an empty one in its place, to tell what would be brought back. */
async function openOrNothing(loaded: LoadedConfig, clock: Clock): Promise<OpenPinCluster> {
  try {
    return await openPinCluster(loaded, { clock });
  } catch (error) {
    if (!isFulaError(error, "FULA_PINSET_MISSING")) throw error;
    return emptyCluster(loaded.config.node.clusterId ?? "");
  }
}

const CONCURRENCY_MAX = 256;

/** Reads the numbers among the options of `restore`. @throws FulaError FULA_USAGE */
export function parseRestoreNumbers(options: {
  readonly limit?: string;
  readonly concurrency: string;
  readonly wait: string;
}): Pick<RestoreRunOptions, "limit" | "concurrency" | "waitMs"> {
  const waitMs = parseDurationMs(options.wait);
  if (waitMs === null) throw usage("--wait", options.wait, 'a duration such as "30s" or "5m"');
  return {
    limit: options.limit === undefined ? null : count("--limit", options.limit, Number.MAX_SAFE_INTEGER),
    concurrency: count("--concurrency", options.concurrency, CONCURRENCY_MAX),
    waitMs,
  };
}

function count(flag: string, text: string, max: number): number {
  const value = /^[1-9]\d{0,15}$/.test(text) ? Number(text) : 0;
  if (value >= 1 && value <= max) return value;
  throw usage(flag, text, max === Number.MAX_SAFE_INTEGER ? "a number from 1 up" : `a number from 1 to ${max}`);
}

function usage(flag: string, text: string, expected: string): FulaError {
  return new FulaError("FULA_USAGE", `${flag} ${JSON.stringify(text)} is not ${expected}.`, {
    hint: "fula-master restore --help",
  });
}
