import { join } from "node:path";
import type { LoadedConfig } from "../config/load.ts";
import { formatUtc } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { ensureDir } from "../kernel/files.ts";
import { acquireLock } from "../kernel/lock.ts";
import { nearest } from "../kernel/nearest.ts";
import type { Assertion, Drill, DrillDeps, DrillOutcome, DrillScene } from "./drill.ts";
import { clearAway, DrillBelongings, drillsDir, unfinishedRuns } from "./drill-belongings.ts";
import { DRILLS } from "./drill-catalog.ts";
import { dropDrillDatabases, killMasters } from "./drill-masters.ts";
import { openStores } from "./drill-stores.ts";

/** What an operator may choose for one run. */
export interface DrillRunOptions {
  /** Ids as they were typed; empty = every drill that this box can carry out. */
  readonly ids: readonly string[];
  /** True also carries out what disturbs a stack that others use. */
  readonly dangerous: boolean;
}

/** What `drill run` needs beside the settings. */
export interface DrillRunDeps extends DrillDeps {
  /** Told as each drill begins. */
  readonly onDrill?: (id: string, title: string) => void;
}

/** What one drill found. */
export interface DrillReport {
  readonly id: string;
  readonly title: string;
  /** `passed` only where every claim holds; `failed` where one does not. */
  readonly outcome: DrillOutcome;
  /** Why it was not carried out; null where it was. */
  readonly because: string | null;
  readonly assertions: readonly Assertion[];
  readonly durationMs: number;
}

/** What `drill run --json` prints. */
export interface DrillRunReport {
  /** True where something was looked at, every claim that was holds, what was named was run, and nothing was left behind. */
  readonly ok: boolean;
  /** RFC 3339, UTC. */
  readonly startedAt: string;
  readonly finishedAt: string;
  /** Claims, over all drills. */
  readonly passed: number;
  readonly failed: number;
  readonly notRun: number;
  readonly drills: readonly DrillReport[];
  /** What is still there of this run or earlier ones, and why; empty where everything was cleared away. */
  readonly leftBehind: readonly string[];
}

/** One drill as `drill run` would treat it. */
export interface PlannedDrill {
  readonly drill: Drill;
  /** Why it would not be carried out; null where it would. */
  readonly because: string | null;
}

/**
 * Chooses the drills of a run. @throws FulaError FULA_USAGE for an id that there is not, FULA_DRILL_DANGEROUS for one
 * that disturbs, was named, and was not allowed to
 */
export function planDrills(loaded: LoadedConfig, { ids, dangerous }: DrillRunOptions): readonly PlannedDrill[] {
  const wanted = new Set(ids.map(idOf));
  const chosen = DRILLS.filter(({ id }) => wanted.size === 0 || wanted.has(id));
  const refused = chosen.find(({ id, disturbs }) => wanted.has(id) && disturbs !== null && !dangerous);
  if (refused !== undefined) {
    throw new FulaError("FULA_DRILL_DANGEROUS", `${refused.id} ${refused.disturbs ?? ""}. Nothing was done.`, {
      hint: `if that is acceptable now: fula-master drill run ${refused.id} --dangerous`,
    });
  }
  return chosen.map((drill) => ({ drill, because: obstacleOf(drill, loaded, dangerous) }));
}

function idOf(typed: string): string {
  const id = typed.toUpperCase();
  const ids = DRILLS.map((drill) => drill.id);
  if (ids.includes(id)) return id;
  const near = nearest(id, ids);
  throw new FulaError("FULA_USAGE", `There is no drill ${JSON.stringify(typed)}.`, {
    hint: near === null ? "fula-master drill list" : `did you mean ${near}? fula-master drill list shows them all.`,
  });
}

function obstacleOf({ disturbs, unfitFor }: Drill, loaded: LoadedConfig, dangerous: boolean): string | null {
  const unfit = unfitFor(loaded);
  if (unfit !== null) return unfit;
  return disturbs !== null && !dangerous ? `${disturbs}; --dangerous allows it` : null;
}

/**
 * Carries out drills on this box, one after the other and under a lock, and clears away whatever they made, also when
 * the run is interrupted.
 * @throws FulaError FULA_LOCKED, FULA_USAGE, FULA_DRILL_DANGEROUS, FULA_DISK_FULL, FULA_PATH_NOT_WRITABLE
 */
export async function runDrills(
  loaded: LoadedConfig,
  options: DrillRunOptions,
  deps: DrillRunDeps,
): Promise<DrillRunReport> {
  const planned = planDrills(loaded, options);
  const { clock } = deps;
  const startedAt = formatUtc(clock.nowMs());
  using _ = await acquireLock(join(loaded.paths.locksDir, "drill.lock"), "drill", clock);
  const leftBehind: string[] = [];
  const clear = async (dir: string): Promise<void> => {
    const left = await clearAway(dir, {
      openStores: async () => await openStores(loaded, deps),
      dropDatabases: async (names) => {
        await dropDrillDatabases(loaded, names, clock);
      },
      killMasters: async (masters) => await killMasters(masters, clock),
      clock,
    });
    if (left !== null) leftBehind.push(left);
  };
  for (const dir of await unfinishedRuns(loaded)) await clear(dir);
  const drills: DrillReport[] = [];
  for (const { drill, because } of planned) {
    deps.signal.throwIfAborted();
    if (because === null) deps.onDrill?.(drill.id, drill.title);
    drills.push(because === null ? await carryOut(drill, loaded, deps, clear) : await leaveOut(drill, because));
  }
  const named = options.ids.length > 0;
  return {
    ok:
      leftBehind.length === 0 &&
      drills.some(({ outcome }) => outcome === "passed") &&
      drills.every(({ outcome, because }) => outcome === "passed" || (because !== null && !named)),
    startedAt,
    finishedAt: formatUtc(clock.nowMs()),
    ...countClaims(drills),
    drills,
    leftBehind,
  };
}

function countClaims(drills: readonly DrillReport[]): Pick<DrillRunReport, "passed" | "failed" | "notRun"> {
  const outcomes = drills.flatMap(({ assertions }) => assertions.map(({ outcome }) => outcome));
  const count = (wanted: DrillOutcome): number => outcomes.filter((outcome) => outcome === wanted).length;
  return { passed: count("passed"), failed: count("failed"), notRun: count("not-run") };
}

async function leaveOut({ id, title, claims }: Drill, because: string): Promise<DrillReport> {
  const assertions = claims.map((claim) => ({ claim, outcome: "not-run" as const, evidence: because }));
  return { id, title, outcome: "not-run", because, assertions, durationMs: 0 };
}

async function carryOut(
  drill: Drill,
  loaded: LoadedConfig,
  deps: DrillRunDeps,
  clear: (dir: string) => Promise<void>,
): Promise<DrillReport> {
  const { id, title } = drill;
  const startedMs = deps.clock.monotonicMs();
  const runId = `${formatUtc(deps.clock.nowMs()).replaceAll(/[-:]/g, "")}-${deps.random.uuid().slice(0, 8)}`;
  const dir = join(drillsDir(loaded), runId);
  const apart = setApart(loaded, dir);
  await ensureDir(apart.paths.stateDir);
  let assertions: readonly Assertion[];
  try {
    await using belongings = await DrillBelongings.open(dir, deps.clock);
    const scene: DrillScene = { ...deps, loaded, apart, dir, runId, belongings };
    // What keeps this from being asked keeps the drill from being carried out, too; it then says so itself.
    const because = await drill.unableHere(scene).catch(() => null);
    if (because !== null) return await leaveOut(drill, because);
    assertions = await drill.run(scene);
  } finally {
    await clear(dir);
  }
  return {
    id,
    title,
    outcome: outcomeOf(assertions),
    because: null,
    assertions,
    durationMs: Math.round(deps.clock.monotonicMs() - startedMs),
  };
}

/** A drill that could not be carried out to the end has failed: nobody knows what the rest would have shown. */
function outcomeOf(assertions: readonly Assertion[]): DrillOutcome {
  return assertions.length > 0 && assertions.every(({ outcome }) => outcome === "passed") ? "passed" : "failed";
}

function setApart(loaded: LoadedConfig, dir: string): LoadedConfig {
  const { config, paths } = loaded;
  return {
    ...loaded,
    config: { ...config, sweep: { ...config.sweep, alertLog: join(dir, "alerts.jsonl"), alertCommand: null } },
    paths: {
      ...paths,
      stateDir: join(dir, "state"),
      locksDir: join(dir, "locks"),
      snapshotsDir: join(dir, "snapshots"),
      journalDir: join(dir, "journal"),
      sweepReportFile: join(dir, "sweep-last.json"),
    },
  };
}
