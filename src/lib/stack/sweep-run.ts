import { tmpdir } from "node:os";
import { join } from "node:path";
import { CachedReader } from "../buckets/tree/cached-reader.ts";
import type { LoadedConfig } from "../config/load.ts";
import { type Clock, formatUtc } from "../kernel/clock.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { acquireLock } from "../kernel/lock.ts";
import { parseDurationMs } from "../kernel/units.ts";
import { AlertLog } from "../pinset/alert-log.ts";
import { inOrder } from "../pinset/in-order.ts";
import type { Pool } from "../postgres/pool.ts";
import { type LedgerPins, ledgerPins, ledgerUnreadable } from "../pinset/ledger-pins.ts";
import { sweep, type SweepDeps, type SweepFigures } from "../pinset/sweep.ts";
import { SweepMemory } from "../pinset/sweep-memory.ts";
import { readSweepReport, type SweepReport, writeSweepReport } from "../pinset/sweep-report.ts";
import { runAlertCommand } from "./alert-command.ts";
import { openLedger } from "./ledger.ts";
import { bucketPins } from "./bucket-pins.ts";
import { openBlocks, openPinCluster } from "./pinset.ts";

/** What an operator may choose for one sweep. */
export interface SweepRunOptions {
  readonly deep: boolean;
  readonly acceptEmpty: boolean;
  readonly graceMs: number;
  /** How long peers may take to fetch what the repair told them to, before the verdict is given. */
  readonly waitMs: number;
  /** False leaves out what the ledger wants pinned. */
  readonly ledger: boolean;
  /** True pins again what the ledger wants pinned and the pinset lost. */
  readonly repairLedger: boolean;
  /** Peers that were taken out of the cluster on purpose. */
  readonly forgetPeers: readonly string[];
  /** True looks only: no peer is asked to repair anything, and nothing at all is written. */
  readonly dryRun: boolean;
}

/** What a run takes from its caller. */
export interface SweepRunDeps {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** The ledger, where the caller has it open already. */
  readonly pool?: Pool;
  readonly onProgress?: SweepDeps["onProgress"];
  readonly onGone?: SweepDeps["onGone"];
}

/** One reads the list, the others look single CIDs up. */
const LEDGER_CONNECTIONS = 4;

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
  reallocated: 0,
  alertsRaised: 0,
  alertsCleared: 0,
  worst: [],
  peers: [],
  ledger: null,
  lastPins: null,
};

/**
 * Sweeps the pinset of this master once, under a lock. What came of it is kept in `state/sweep-last.json`, also when
 * the pinset could not be read, so that a watcher never sees an old all-clear.
 * @throws FulaError FULA_LOCKED, FULA_CLUSTER_*, FULA_LEDGER_UNREADABLE, FULA_PINSET_*, FULA_SWEEP_EMPTIED
 */
export async function runSweep(
  loaded: LoadedConfig,
  options: SweepRunOptions,
  deps: SweepRunDeps,
): Promise<SweepReport> {
  const { paths } = loaded;
  assertMaster(loaded);
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

/** A follower of an IPFS Cluster knows its own copies alone, and may repair nothing. */
function assertMaster({ config }: LoadedConfig): void {
  if (config.node.role !== "storage") return;
  throw new FulaError("FULA_CLUSTER_READ_ONLY", "A storage node knows of its own copies alone, so it cannot sweep.", {
    hint: "run fula-master sweep on a master; fula-master status shows whether this node holds what it shall.",
  });
}

async function sweepOnce(
  loaded: LoadedConfig,
  options: SweepRunOptions,
  deps: SweepRunDeps,
  previous: SweepReport | null,
): Promise<SweepReport> {
  const { paths, config } = loaded;
  const { deep, dryRun } = options;
  const startedAt = formatUtc(deps.clock.nowMs());
  const forwardAlerts = config.sweep.alertCommand !== null && !dryRun;
  await using cluster = await openPinCluster(loaded, { clock: deps.clock });
  await using ledger = await openLedgerPins(loaded, options, deps);
  await using memory = dryRun
    ? SweepMemory.temporary()
    : await SweepMemory.open(join(paths.stateDir, "sweep.sqlite"), deps.clock);
  await using alerts = new AlertLog(dryRun ? null : config.sweep.alertLog);
  forgetPeers(memory, options.forgetPeers);
  const figures = await sweep(
    { cluster, sources: inOrder(cluster), ledger: ledger.pins, memory, alerts, ...deps },
    {
      replMin: config.sweep.replMin,
      graceMs: options.graceMs,
      waitMs: options.waitMs,
      deep,
      acceptEmpty: options.acceptEmpty,
      repair: !dryRun,
      repairLedger: options.repairLedger && !dryRun,
      forwardAlerts,
      lastPins: previous?.clusterId === cluster.clusterId ? previous.lastPins : null,
    },
  );
  const alertCommand = await forwardAll(forwardAlerts ? config.sweep.alertCommand : null, memory, deps.signal);
  const finishedAt = formatUtc(deps.clock.nowMs());
  const run = { formatVersion: 1, clusterId: cluster.clusterId, startedAt, finishedAt, deep } as const;
  return { ...run, error: null, ...figures, alertCommand };
}

interface OpenLedgerPins extends AsyncDisposable {
  /** Null where the ledger is left out. */
  readonly pins: LedgerPins | null;
}

async function openLedgerPins(
  loaded: LoadedConfig,
  { ledger: isWanted }: SweepRunOptions,
  { clock, signal, pool: given }: SweepRunDeps,
): Promise<OpenLedgerPins> {
  if (!isWanted) return { pins: null, [Symbol.asyncDispose]: async () => {} };
  try {
    const options = { clock, signal, part: "sweep", poolMax: LEDGER_CONNECTIONS };
    const ledger = given === undefined ? await openLedger(loaded, options) : { pool: given, close: async () => {} };
    const nodes = new CachedReader(await openBlocks(loaded), loaded.config.buckets.nodeCacheBytes);
    const pins = ledgerPins(ledger.pool, tmpdir(), bucketPins(ledger.pool, nodes));
    return { pins, [Symbol.asyncDispose]: async () => ledger.close() };
  } catch (error) {
    signal.throwIfAborted();
    throw ledgerUnreadable(error);
  }
}

function forgetPeers({ members }: SweepMemory, ids: readonly string[]): void {
  for (const id of ids) {
    if (members.forget(id)) continue;
    throw new FulaError("FULA_USAGE", `--forget-peer ${id} names no peer that an earlier sweep found in the cluster.`, {
      hint: "fula-master sweep --json lists the peers that are gone under peers.",
    });
  }
}

/** Gives the alert command what it has not taken yet; what it does not take now, it is given again after the next sweep. */
async function forwardAll(
  command: string | null,
  { outbox }: SweepMemory,
  signal: AbortSignal,
): Promise<SweepReport["alertCommand"]> {
  if (command === null) return null;
  const alerts = outbox.count();
  if (alerts === 0) return null;
  const error = await runAlertCommand(command, outbox.lines(), signal);
  if (error === null) outbox.clear();
  return { alerts, error };
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
    alertCommand: null,
    error: { code, message: messageOf(error) },
  };
  try {
    await writeSweepReport(loaded.paths.sweepReportFile, report);
  } catch {
    // The failure of the sweep is what the operator must hear of; that of its report has the same cause, a bad disk.
  }
}

/** Reads a duration among the options of `sweep`. @throws FulaError FULA_USAGE */
export function parseSweepDuration(flag: string, text: string): number {
  const ms = parseDurationMs(text);
  if (ms !== null) return ms;
  throw new FulaError("FULA_USAGE", `${flag} ${JSON.stringify(text)} is not a duration such as "30m" or "2h".`, {
    hint: "fula-master sweep --help",
  });
}
