import type { ChildProcess } from "node:child_process";
import { access } from "node:fs/promises";
import { join } from "node:path";
import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError, systemErrorCode } from "../kernel/errors.ts";
import { PROJECT_ROOT } from "../kernel/project.ts";
import { formatDuration } from "../kernel/units.ts";
import { type PostgresStopReport, stopUnusedPostgres } from "../runtime/embedded-postgres.ts";
import { spawnDetachedNode } from "../runtime/detached-node.ts";
import { withGate } from "../runtime/gate.ts";
import { type HttpAnswer, probeHttp } from "../runtime/http-probe.ts";
import { LOG_BOUNDS, readLogTail, rotateLog } from "../runtime/log-files.ts";
import { isSameProcessRunning, type ProcessIdentity, signalProcess } from "../runtime/processes.ts";
import { type DaemonRecord, readDaemonFile, removeDaemonFile } from "./daemon-file.ts";

/** What is known about the background process of `serve`. */
export type DaemonState =
  | {
      readonly status: "running";
      readonly pid: number;
      readonly since: string;
      /** True when /readyz answers 200. */
      readonly ready: boolean;
      /** What /readyz says where it does not answer 200; null where nobody answered. */
      readonly notReady: string | null;
    }
  /** `stale` = it did not end in order: its pid file is still there. */
  | { readonly status: "stopped"; readonly stale: { readonly pid: number; readonly since: string } | null };

/** What starting and stopping need beside the configuration. */
export interface DaemonDeps {
  readonly clock: Clock;
  readonly signal?: AbortSignal;
  /** The environment that the daemon gets: settings may come from it. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The program to start; default the launcher of this installation. Tests hand in another. */
  readonly launcher?: string;
  /** How long to wait until it is ready. */
  readonly readyPatienceMs?: number;
  /** How long to wait after SIGTERM; default the shutdown timeout and a margin for closing the ledger. */
  readonly stopPatienceMs?: number;
}

/** What `startDaemon` did. */
export interface DaemonStart {
  readonly pid: number;
  readonly since: string;
  /** True where it ran already; nothing was started then. */
  readonly already: boolean;
  readonly logFile: string;
}

/** What `stopDaemon` did. */
export interface DaemonStop {
  /** Null where nothing ran. */
  readonly pid: number | null;
  readonly manner: "ended" | "killed" | null;
  /** What became of an embedded PostgreSQL that the daemon left behind. */
  readonly postgres: PostgresStopReport;
}

const POLL_MS = 100;
const PROBE_TIMEOUT_MS = 2_000;
/** First start on a slow box: initialising PostgreSQL, recovering it after a crash, migrations. */
const READY_PATIENCE_MS = 120_000;
/** After its own timeout, `serve` still has to close the ledger: PostgreSQL's fast stop may take its 30 s. */
const STOP_MARGIN_MS = 45_000;
const KILL_PATIENCE_MS = 10_000;
const LOG_TAIL_LINES = 15;

async function askReady(loaded: LoadedConfig, signal?: AbortSignal): Promise<HttpAnswer | null> {
  const { host, port } = loaded.config.server;
  return await probeHttp({ host, port, path: "/readyz" }, PROBE_TIMEOUT_MS, signal);
}

/** Looks at the daemon: its pid file, whether that very process runs, and what its /readyz says. */
export async function daemonState(loaded: LoadedConfig, signal?: AbortSignal): Promise<DaemonState> {
  const presence = await readDaemonFile(loaded.paths.servePidFile);
  if (presence.status === "absent") return { status: "stopped", stale: null };
  const { record } = presence;
  if (presence.status === "stale") {
    return { status: "stopped", stale: record === null ? null : { pid: record.pid, since: record.since } };
  }
  const answer = await askReady(loaded, signal);
  const ready = answer?.status === 200;
  const { pid, since } = presence.record;
  return { status: "running", pid, since, ready, notReady: ready ? null : (answer?.body ?? null) };
}

function serveArguments(loaded: LoadedConfig, launcher: string): readonly string[] {
  const { baseDir, configFile } = loaded.paths;
  const config = configFile === join(baseDir, "fula-master.yaml") ? [] : ["--config", configFile];
  return [launcher, "serve", "--base-dir", baseDir, ...config];
}

async function launch(loaded: LoadedConfig, deps: DaemonDeps): Promise<ChildProcess> {
  const { serveLogFile, baseDir } = loaded.paths;
  const launcher = deps.launcher ?? join(PROJECT_ROOT, "bin", "fula-master.js");
  // A file of its own for every start: the tail that an error shows is of this run.
  await rotateLog(serveLogFile, false, { ...LOG_BOUNDS, bytesMax: 0 });
  const args = serveArguments(loaded, launcher);
  return await spawnDetachedNode({ args, cwd: baseDir, env: deps.env, logFile: serveLogFile });
}

async function startFailure(loaded: LoadedConfig, what: string, hint: string): Promise<FulaError> {
  const { serveLogFile } = loaded.paths;
  const tail = await readLogTail(serveLogFile, LOG_TAIL_LINES);
  const said =
    tail.length === 0 ? `It wrote nothing to ${serveLogFile}.` : `${serveLogFile} ends with:\n${tail.join("\n")}`;
  return new FulaError("FULA_DAEMON_START", `${what} ${said}`, { hint, details: { logFile: serveLogFile } });
}

async function notReadyInTime(loaded: LoadedConfig, patienceMs: number): Promise<FulaError> {
  const answer = await askReady(loaded);
  const said = answer === null ? "/readyz does not answer." : `/readyz says ${answer.status}: ${answer.body.trim()}`;
  return await startFailure(
    loaded,
    `serve runs, but is not ready after ${formatDuration(patienceMs)}; ${said}`,
    "fula-master status shows what it waits for; fula-master stop ends it.",
  );
}

/** The running daemon once it is ready; null until then. It must be both: another program may answer on that port. */
async function findReady(loaded: LoadedConfig, signal?: AbortSignal): Promise<DaemonRecord | null> {
  const presence = await readDaemonFile(loaded.paths.servePidFile);
  if (presence.status !== "running") return null;
  return (await askReady(loaded, signal))?.status === 200 ? presence.record : null;
}

async function waitUntilReady(
  loaded: LoadedConfig,
  deps: DaemonDeps,
  child: ChildProcess | null,
): Promise<DaemonRecord> {
  const { clock, signal, readyPatienceMs = READY_PATIENCE_MS } = deps;
  const deadlineMs = clock.monotonicMs() + readyPatienceMs;
  let failure: Error | null = null;
  child?.once("error", (error) => {
    failure = error;
  });
  while (clock.monotonicMs() < deadlineMs) {
    const record = await findReady(loaded, signal);
    if (record !== null) return record;
    const ended =
      child === null ? (await readDaemonFile(loaded.paths.servePidFile)).status !== "running" : hasEnded(child);
    if (failure !== null || ended) {
      const how = child === null ? "" : ` ${describeEnd(child, failure)}`;
      throw await startFailure(
        loaded,
        `serve ended before it was ready${how}.`,
        "mend what the log names, then run the command again.",
      );
    }
    await clock.sleep(POLL_MS, signal);
  }
  throw await notReadyInTime(loaded, readyPatienceMs);
}

// Taking the gate would make the directories of a master that nobody has set up.
async function assertBaseDir(baseDir: string): Promise<void> {
  try {
    await access(baseDir);
  } catch (error) {
    if (systemErrorCode(error) !== "ENOENT") throw error;
    throw new FulaError("FULA_NOT_JOINED", `There is no master to start: ${baseDir} does not exist.`, {
      hint: "fula-master join sets this box up and starts it; --base-dir names another place.",
      details: { baseDir },
    });
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

function describeEnd(child: ChildProcess, failure: Error | null): string {
  if (failure !== null) return `(${failure.message})`;
  return child.signalCode === null ? `(exit code ${child.exitCode})` : `(${child.signalCode})`;
}

/**
 * Starts `serve` in the background and returns when its /readyz answers 200; one that runs already is only waited for.
 * The daemon survives this process and its terminal.
 * @throws FulaError FULA_DAEMON_START with the tail of its log, FULA_NOT_JOINED where there is no base directory
 */
export async function startDaemon(loaded: LoadedConfig, deps: DaemonDeps): Promise<DaemonStart> {
  const { paths } = loaded;
  await assertBaseDir(paths.baseDir);
  const gate = { path: join(paths.locksDir, "start.lock"), purpose: "start", clock: deps.clock, signal: deps.signal };
  return await withGate(gate, async () => {
    const already = (await readDaemonFile(paths.servePidFile)).status === "running";
    const child = already ? null : await launch(loaded, deps);
    const { pid, since } = await waitUntilReady(loaded, deps, child);
    return { pid, since, already, logFile: paths.serveLogFile };
  });
}

async function waitForEnd(identity: ProcessIdentity, patienceMs: number, deps: DaemonDeps): Promise<boolean> {
  const { clock, signal } = deps;
  const deadlineMs = clock.monotonicMs() + patienceMs;
  while (isSameProcessRunning(identity)) {
    if (clock.monotonicMs() >= deadlineMs) return false;
    await clock.sleep(POLL_MS, signal);
  }
  return true;
}

function sendSignal(record: DaemonRecord, name: "SIGTERM" | "SIGKILL"): void {
  try {
    signalProcess(record, name);
  } catch (error) {
    if (systemErrorCode(error) !== "EPERM") throw error;
    throw new FulaError(
      "FULA_DAEMON_STOP",
      `Process ${record.pid} (serve) belongs to another user; we may not stop it.`,
      {
        cause: error,
        hint: "run the command as that user, or as root.",
        details: { pid: record.pid },
      },
    );
  }
}

async function endProcess(
  loaded: LoadedConfig,
  record: DaemonRecord,
  deps: DaemonDeps,
  force: boolean,
): Promise<"ended" | "killed"> {
  const patienceMs = deps.stopPatienceMs ?? loaded.config.server.shutdownTimeout + STOP_MARGIN_MS;
  sendSignal(record, "SIGTERM");
  if (await waitForEnd(record, patienceMs, deps)) return "ended";
  if (force) {
    sendSignal(record, "SIGKILL");
    if (await waitForEnd(record, KILL_PATIENCE_MS, deps)) return "killed";
  }
  throw new FulaError(
    "FULA_DAEMON_STOP",
    `serve (process ${record.pid}) still runs ${formatDuration(patienceMs)} after SIGTERM${force ? ", and after SIGKILL" : ""}.`,
    {
      hint: force
        ? `ps -o pid,stat,wchan -p ${record.pid} shows what it waits for.`
        : "wait for the work in flight and run the command again, or add --force to kill it; a kill loses no stored data.",
      details: { pid: record.pid },
    },
  );
}

/**
 * Stops the background process: SIGTERM, then waits as long as its shutdown may take. Also ends an embedded PostgreSQL
 * that a killed daemon left behind, where nobody else uses it.
 * @throws FulaError FULA_DAEMON_STOP where it still runs; with `force` it is killed first
 */
export async function stopDaemon(
  loaded: LoadedConfig,
  deps: DaemonDeps,
  options: { readonly force?: boolean } = {},
): Promise<DaemonStop> {
  const { paths } = loaded;
  const presence = await readDaemonFile(paths.servePidFile);
  const record = presence.status === "running" ? presence.record : null;
  const manner = record === null ? null : await endProcess(loaded, record, deps, options.force === true);
  await removeDaemonFile(paths.servePidFile);
  const postgres = await stopUnusedPostgres(paths, deps.clock, deps.signal);
  return { pid: record?.pid ?? null, manner, postgres };
}
