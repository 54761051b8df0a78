import { join } from "node:path";
import type { LoadedConfig } from "../config/load.ts";
import { type Clock, formatUtc } from "../kernel/clock.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { acquireLock } from "../kernel/lock.ts";
import { parseDurationMs } from "../kernel/units.ts";
import { AlertLog } from "../pinset/alert-log.ts";
import { inOrder } from "../pinset/in-order.ts";
import { sweep, type SweepDeps, type SweepFigures } from "../pinset/sweep.ts";
import { SweepFindings } from "../pinset/sweep-findings.ts";
import { readSweepReport, type SweepReport, writeSweepReport } from "../pinset/sweep-report.ts";
import { openPinCluster } from "./pinset.ts";

/** What an operator may choose for one sweep. */
export interface SweepRunOptions {
  readonly deep: boolean;
  readonly acceptEmpty: boolean;
  readonly graceMs: number;
  /** True looks only: no peer is asked to recover anything, and nothing at all is written. */
  readonly dryRun: boolean;
}

/** What a run takes from its caller. */
export interface SweepRunDeps {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly onProgress?: SweepDeps["onProgress"];
}

const NOTHING_KNOWN: SweepFigures = {
  outcome: "failed",
  pins: 0,
  statuses: 0,
  ok: 0,
  pinning: 0,
  under: 0,
  lost: 0,
  expired: 0,
  withoutPin: 0,
  belowBefore: 0,
  belowAfter: 0,
  recovered: 0,
  alertsRaised: 0,
  alertsCleared: 0,
  worst: [],
  lastPins: null,
};

/**
 * Sweeps the pinset of this master once, under a lock. What came of it is kept in `state/sweep-last.json`, also when
 * the pinset could not be read, so that a watcher never sees an old all-clear.
 * @throws FulaError FULA_LOCKED, FULA_CLUSTER_UNREADABLE, FULA_PINSET_*, FULA_SWEEP_EMPTIED
 */
export async function runSweep(
  loaded: LoadedConfig,
  options: SweepRunOptions,
  deps: SweepRunDeps,
): Promise<SweepReport> {
  const { paths } = loaded;
  if (options.dryRun) return sweepOnce(loaded, options, deps, await readSweepReport(paths.sweepReportFile));
  const lock = await acquireLock(join(paths.locksDir, "sweep.lock"), "sweep", deps.clock);
  try {
    const previous = await readSweepReport(paths.sweepReportFile);
    const startedMs = deps.clock.nowMs();
    try {
      const report = await sweepOnce(loaded, options, deps, previous);
      await writeSweepReport(paths.sweepReportFile, report);
      return report;
    } catch (error) {
      if (!deps.signal.aborted) await keepFailure(loaded, options, deps.clock, startedMs, previous, error);
      throw error;
    }
  } finally {
    lock.release();
  }
}

async function sweepOnce(
  loaded: LoadedConfig,
  { deep, acceptEmpty, graceMs, dryRun }: SweepRunOptions,
  deps: SweepRunDeps,
  previous: SweepReport | null,
): Promise<SweepReport> {
  const { paths, config } = loaded;
  const startedAt = formatUtc(deps.clock.nowMs());
  await using cluster = await openPinCluster(loaded, { clock: deps.clock });
  await using findings = dryRun
    ? SweepFindings.temporary()
    : await SweepFindings.open(join(paths.stateDir, "sweep.sqlite"), deps.clock);
  await using alerts = new AlertLog(dryRun ? null : config.sweep.alertLog);
  const figures = await sweep(
    { cluster, sources: inOrder(cluster), findings, alerts, ...deps },
    {
      replMin: config.sweep.replMin,
      graceMs,
      deep,
      acceptEmpty,
      recover: !dryRun,
      lastPins: previous?.clusterId === cluster.clusterId ? previous.lastPins : null,
    },
  );
  const finishedAt = formatUtc(deps.clock.nowMs());
  return { formatVersion: 1, clusterId: cluster.clusterId, startedAt, finishedAt, deep, error: null, ...figures };
}

function outcomeOf(error: unknown): SweepReport["outcome"] {
  if (!(error instanceof FulaError)) return "failed";
  return error.code === "FULA_SWEEP_EMPTIED" ? "refused" : "unreadable";
}

async function keepFailure(
  loaded: LoadedConfig,
  { deep }: SweepRunOptions,
  clock: Clock,
  startedMs: number,
  previous: SweepReport | null,
  error: unknown,
): Promise<void> {
  const code = error instanceof FulaError ? error.code : "BUG";
  const report: SweepReport = {
    ...NOTHING_KNOWN,
    formatVersion: 1,
    clusterId: loaded.config.node.clusterId ?? "",
    startedAt: formatUtc(startedMs),
    finishedAt: formatUtc(clock.nowMs()),
    deep,
    outcome: outcomeOf(error),
    lastPins: previous?.lastPins ?? null,
    error: { code, message: messageOf(error) },
  };
  try {
    await writeSweepReport(loaded.paths.sweepReportFile, report);
  } catch {
    // The failure of the sweep is what the operator must hear of; that of its report has the same cause, a bad disk.
  }
}

/** Reads the grace of `--grace`. @throws FulaError FULA_USAGE */
export function parseGrace(text: string): number {
  const ms = parseDurationMs(text);
  if (ms !== null) return ms;
  throw new FulaError("FULA_USAGE", `--grace ${JSON.stringify(text)} is not a duration such as "30m" or "2h".`, {
    hint: "fula-master sweep --help",
  });
}
