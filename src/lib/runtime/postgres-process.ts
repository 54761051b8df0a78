import { type ChildProcess, spawn } from "node:child_process";
import { realpath, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../kernel/clock.ts";
import { FulaError, systemErrorCode } from "../kernel/errors.ts";
import { readTextIfExists } from "../kernel/files.ts";
import { withLogDescriptor } from "./log-files.ts";
import type { PostgresBinaries } from "./postgres-binaries.ts";
import { type SystemUser, spawnIdentity } from "./postgres-user.ts";
import {
  argumentsOf,
  identifyProcess,
  isSameProcessRunning,
  listPids,
  type ProcessIdentity,
  programOf,
  signalProcess,
  workingDirOf,
} from "./processes.ts";

/** The main process of a running server, verified to work on the data directory that was asked about. */
export interface Postmaster {
  readonly identity: ProcessIdentity;
  readonly port: number;
  /** True where it was started by this program: only such a server is stopped by it. */
  readonly ours: boolean;
}

/** Stands in the arguments of every server that we start; an operator sees it in `ps` too. */
const CLUSTER_NAME = "fula-master";
const POLL_MS = 25;
/** A backend without its postmaster ends by itself when it next waits; one that computes does not notice. */
const LEFTOVER_PATIENCE_MS = 5_000;
const IMMEDIATE_PATIENCE_MS = 10_000;

async function resolveDir(dir: string): Promise<string | null> {
  try {
    return await realpath(dir);
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return null;
    throw error;
  }
}

// Every process of a server works in its data directory (PostgreSQL's ChangeToDataDir), which no stale pid file can fake.
function worksIn(pid: number, dir: string): boolean {
  return workingDirOf(pid) === dir && /^postgres|^postmaster/.test(programOf(pid) ?? "");
}

/** Finds the server that runs on a data directory; null where none does, whatever a left-over postmaster.pid says. */
export async function findPostmaster(dataDir: string): Promise<Postmaster | null> {
  const dir = await resolveDir(dataDir);
  if (dir === null) return null;
  // Its lines: pid, data directory, start time, port, … (src/include/utils/pidfile.h of PostgreSQL).
  const lines = (await readTextIfExists(join(dir, "postmaster.pid")))?.split("\n") ?? [];
  const [pid, port] = [Number(lines[0]), Number(lines[3])];
  if (!Number.isInteger(pid) || pid <= 0) return null;
  const identity = identifyProcess(pid);
  if (identity === null || !worksIn(pid, dir)) return null;
  return { identity, port, ours: argumentsOf(pid).includes(`cluster_name=${CLUSTER_NAME}`) };
}

/** Processes of a server whose main process is gone: they still hold its shared memory, and no new one can start. */
export async function findLeftovers(dataDir: string): Promise<readonly ProcessIdentity[]> {
  const dir = await resolveDir(dataDir);
  if (dir === null) return [];
  return listPids()
    .filter((pid) => worksIn(pid, dir))
    .map(identifyProcess)
    .filter((identity) => identity !== null);
}

/** Waits until none of the processes runs; @returns those that still do when the time is over. */
async function waitForEnd(
  processes: readonly ProcessIdentity[],
  patienceMs: number,
  clock: Clock,
  signal?: AbortSignal,
): Promise<readonly ProcessIdentity[]> {
  const deadlineMs = clock.monotonicMs() + patienceMs;
  for (;;) {
    const running = processes.filter(isSameProcessRunning);
    if (running.length === 0 || clock.monotonicMs() >= deadlineMs) return running;
    await clock.sleep(POLL_MS, signal);
  }
}

/** Waits while processes work in the directory and none of them is a server yet. */
async function watchRemains(
  dataDir: string,
  patienceMs: number,
  clock: Clock,
  signal?: AbortSignal,
): Promise<Postmaster | null> {
  const deadlineMs = clock.monotonicMs() + patienceMs;
  for (;;) {
    const postmaster = await findPostmaster(dataDir);
    if (postmaster !== null) return postmaster;
    if ((await findLeftovers(dataDir)).length === 0 || clock.monotonicMs() >= deadlineMs) return null;
    await clock.sleep(POLL_MS, signal);
  }
}

/**
 * Finds the server of a data directory, and where there is none clears what a killed one left: waits for its last
 * processes, ends those that do not notice (the write-ahead log makes that safe), and removes a postmaster.pid whose
 * pid may belong to somebody else by now. A server that is just starting is waited for. The caller has the gate.
 * @throws FulaError FULA_POSTGRES_DATA where left-over processes cannot be ended
 */
export async function settlePostmaster(
  dataDir: string,
  clock: Clock,
  signal?: AbortSignal,
): Promise<Postmaster | null> {
  const postmaster = await watchRemains(dataDir, LEFTOVER_PATIENCE_MS, clock, signal);
  if (postmaster !== null) return postmaster;
  let running = await findLeftovers(dataDir);
  for (const name of ["SIGQUIT", "SIGKILL"] as const) {
    for (const identity of running) signalProcess(identity, name);
    running = await waitForEnd(running, LEFTOVER_PATIENCE_MS, clock, signal);
  }
  if (running.length > 0) {
    const pids = running.map(({ pid }) => pid).join(", ");
    throw new FulaError("FULA_POSTGRES_DATA", `Processes ${pids} of a dead server still hold ${dataDir}.`, {
      hint: "they wait for the disk or the kernel (state D in ps); restart the machine if they do not end.",
    });
  }
  await rm(join(dataDir, "postmaster.pid"), { force: true });
  return null;
}

/** What `launchPostmaster` needs. */
export interface LaunchOptions {
  readonly binaries: PostgresBinaries;
  readonly dataDir: string;
  readonly port: number;
  readonly user: SystemUser;
  readonly logFile: string;
  /** Configuration outside of the data directory; it says then where the server listens. Default: that in the directory. */
  readonly configFile?: string | undefined;
}

/**
 * Starts the server and returns at once. It is detached: a Ctrl-C in the terminal is ours to handle, and a server
 * that others use outlives the process that happened to start it. What the operator may tune is in postgresql.conf;
 * where it listens is decided here.
 */
export async function launchPostmaster(options: LaunchOptions): Promise<ChildProcess> {
  const { binaries, dataDir, port, user, logFile, configFile } = options;
  const settings = {
    ...(configFile === undefined ? { listen_addresses: "127.0.0.1" } : { config_file: configFile }),
    unix_socket_directories: "",
    logging_collector: "off",
    log_destination: "stderr",
    cluster_name: CLUSTER_NAME,
  };
  const args = ["-D", dataDir, "-p", String(port)];
  for (const [name, value] of Object.entries(settings)) args.push("-c", `${name}=${value}`);
  return await withLogDescriptor(logFile, (log) => {
    const child = spawn(binaries.postgres, args, {
      ...spawnIdentity(user),
      cwd: "/",
      detached: true,
      stdio: ["ignore", log, log],
      // Nothing else of our environment: PGDATA and its like would change what is started.
      env: { PATH: "/usr/bin:/bin", LC_ALL: "C", TZ: "UTC" },
    });
    child.unref();
    return child;
  });
}

/** How a server was stopped. */
export type StopManner = "fast" | "immediate";

/**
 * Stops a server: fast (open transactions are rolled back, everything is written), and where that takes longer than
 * `fastPatienceMs`, immediate (the next start replays the log).
 * @throws FulaError FULA_POSTGRES_STOP
 */
export async function stopPostmaster(
  postmaster: Postmaster,
  clock: Clock,
  fastPatienceMs: number,
): Promise<StopManner> {
  const { identity } = postmaster;
  signalProcess(identity, "SIGINT");
  if ((await waitForEnd([identity], fastPatienceMs, clock)).length === 0) return "fast";
  await quitPostmaster(postmaster, clock);
  return "immediate";
}

/**
 * Stops a server at once: it writes nothing more, and the next start replays the log.
 * @throws FulaError FULA_POSTGRES_STOP
 */
export async function quitPostmaster({ identity }: Postmaster, clock: Clock): Promise<void> {
  signalProcess(identity, "SIGQUIT");
  if ((await waitForEnd([identity], IMMEDIATE_PATIENCE_MS, clock)).length === 0) return;
  throw new FulaError(
    "FULA_POSTGRES_STOP",
    `PostgreSQL (process ${identity.pid}) still runs after an immediate shutdown.`,
    {
      hint: `ps -o pid,stat,wchan,args -p ${identity.pid} shows what it waits for; state D means the disk does not answer.`,
      details: { pid: identity.pid },
    },
  );
}
