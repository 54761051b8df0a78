import { join } from "node:path";
import type { Clock } from "../kernel/clock.ts";
import type { LockHolder, ProcessLock } from "../kernel/lock.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import type { Secret } from "../kernel/secret.ts";
import { assertReachable, openPassage } from "./postgres-access.ts";
import { resolvePostgresBinaries } from "./postgres-binaries.ts";
import { clusterPlace, readDataMajor } from "./postgres-cluster.ts";
import { withGate } from "./gate.ts";
import { dropHold, listHolders, takeHold } from "./postgres-holds.ts";
import { findPostmaster, type StopManner, stopPostmaster } from "./postgres-process.ts";
import { ensureLedgerRole } from "./postgres-roles.ts";
import { bringUp, FAST_STOP_PATIENCE_MS, LOOPBACK, type ReadyServer } from "./postgres-server.ts";
import { ensurePostgresUser, planPostgresUser, type PostgresUserPlan } from "./postgres-user.ts";
import { isSameProcessRunning } from "./processes.ts";

/** Where the embedded server lives on this box. */
export interface EmbeddedPostgresPlace {
  readonly baseDir: string;
  readonly stateDir: string;
  readonly locksDir: string;
  readonly logsDir: string;
}

/** Everything that `ensureEmbeddedPostgres` needs. */
export interface EmbeddedPostgresOptions extends EmbeddedPostgresPlace {
  /** Folder of the server programs; null or missing = those of the npm package. */
  readonly binDir?: string | null;
  /** System user when we are root; null or missing = `postgres`, or one that is made. */
  readonly runAs?: string | null;
  /** 0 = choose a free one and remember it. */
  readonly port: number;
  /** Address that it listens on for other boxes, beside loopback; null or missing = none. */
  readonly listen?: string | null;
  /** Ports that others of this box will want, and that must not be chosen. */
  readonly avoidPorts?: readonly number[];
  readonly database: string;
  readonly user: string;
  readonly password: Secret;
  /** True where the data directory was made before and must not be made anew when it is missing. Default false. */
  readonly mustExist?: boolean;
  /** Asked before the server is started or attached to; what it throws, this throws, and nothing is started. */
  readonly permit?: () => Promise<void>;
  /** Who uses it, for messages: "serve", "migrate up". */
  readonly purpose: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly signal?: AbortSignal;
}

/** What `RunningPostgres.stop` did. */
export interface PostgresStopReport {
  /** How the server was stopped; null where it runs on, or was gone already. */
  readonly stopped: StopManner | null;
  /** Who else uses it; it runs on for them. */
  readonly usedBy: readonly LockHolder[];
}

/** An embedded server that answers, and this process's right to use it. */
export interface RunningPostgres extends AsyncDisposable {
  readonly host: "127.0.0.1";
  readonly port: number;
  readonly pid: number;
  /** True where it ran already; false where this call started it. */
  readonly attached: boolean;
  /** Fulfilled when the server is gone, whoever ended it. */
  readonly exited: Promise<void>;
  /** Ends our use of it, and the server too where nobody else uses it. A second call does nothing. */
  stop(): Promise<PostgresStopReport>;
}

/** What there is of an embedded server on this box. */
export interface EmbeddedPostgresFacts {
  /** Major version of its data directory; null where there is none yet. */
  readonly dataMajor: number | null;
  readonly running: { readonly pid: number; readonly port: number } | null;
}

const EXIT_POLL_MS = 250;

function gateFile(place: EmbeddedPostgresPlace): string {
  return join(place.locksDir, "postgres.lock");
}

function holdsDir(place: EmbeddedPostgresPlace): string {
  return join(place.locksDir, "postgres.users");
}

/** Looks at the embedded server without touching anything. @throws FulaError FULA_POSTGRES_DATA */
export async function inspectEmbeddedPostgres(
  place: Pick<EmbeddedPostgresPlace, "stateDir">,
): Promise<EmbeddedPostgresFacts> {
  const { dataDir } = clusterPlace(place.stateDir);
  const postmaster = await findPostmaster(dataDir);
  return {
    dataMajor: await readDataMajor(dataDir),
    running: postmaster === null ? null : { pid: postmaster.identity.pid, port: postmaster.port },
  };
}

/**
 * What `ensureEmbeddedPostgres` would run the server as, checked but not changed.
 * @throws FulaError FULA_POSTGRES_USER, FULA_POSTGRES_ACCESS
 */
export async function planEmbeddedPostgres(
  options: Pick<EmbeddedPostgresOptions, "baseDir" | "stateDir" | "runAs">,
): Promise<PostgresUserPlan> {
  const { dataDir } = clusterPlace(options.stateDir);
  const plan = await planPostgresUser({ runAs: options.runAs ?? undefined, dataDir });
  // A user that does not exist yet has no rights but those of everybody.
  const user = plan.kind === "create" ? { name: plan.name, uid: -1, gid: -1 } : plan.user;
  await assertReachable(options.baseDir, user);
  return plan;
}

async function open(options: EmbeddedPostgresOptions, plan: PostgresUserPlan): Promise<ReadyServer> {
  const { baseDir, stateDir, logsDir, clock, random, log } = options;
  const { user, created } = await ensurePostgresUser(plan);
  if (created) log.info("postgres.user_created", { user: user.name, uid: user.uid });
  const place = clusterPlace(stateDir);
  await openPassage([baseDir, stateDir, place.root], user);
  // Once more, for parents of the base directory that were only made now.
  await assertReachable(baseDir, user);
  const server = await bringUp({
    place,
    user,
    logFile: join(logsDir, "postgres.log"),
    port: options.port,
    listen: options.listen ?? null,
    avoidPorts: options.avoidPorts,
    clock,
    random,
    log,
    signal: options.signal,
    mustExist: options.mustExist === true,
    findBinaries: async () =>
      await resolvePostgresBinaries({ binDir: options.binDir ?? undefined, copyRoot: place.root, user }),
  });
  if (options.port !== 0 && server.postmaster.port !== options.port) {
    log.warn("postgres.port_differs", { configured: options.port, running: server.postmaster.port });
  }
  return server;
}

/**
 * Gives the embedded server: attaches to the one that runs on this data directory, else starts it, initialising
 * everything the first time. It is shared by all processes of this box and stops when the last of them lets go.
 * @throws FulaError FULA_PORT_IN_USE, FULA_POSTGRES_VERSION, FULA_POSTGRES_BINARIES, FULA_POSTGRES_USER,
 *   FULA_POSTGRES_ACCESS, FULA_POSTGRES_DATA, FULA_POSTGRES_START, FULA_DISK_FULL, FULA_PATH_NOT_WRITABLE
 */
export async function ensureEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<RunningPostgres> {
  const { clock, random, purpose, signal } = options;
  const plan = await planEmbeddedPostgres(options);
  await options.permit?.();
  return await withGate({ path: gateFile(options), purpose, clock, signal }, async () => {
    const hold = await takeHold(holdsDir(options), purpose, clock, random);
    try {
      const server = await open(options, plan);
      return await makeReady(options, server, hold);
    } catch (error) {
      await dropHold(hold);
      throw error;
    }
  });
}

async function makeReady(
  options: EmbeddedPostgresOptions,
  server: ReadyServer,
  hold: ProcessLock,
): Promise<RunningPostgres> {
  try {
    await ensureLedgerRole(server.postmaster.port, server.adminPassword, options, options.log);
    return new HeldServer(options, server, hold);
  } catch (error) {
    await dropHold(hold);
    await stopIfUnused(options, options.clock);
    throw error;
  }
}

/**
 * Stops an embedded server that nobody uses, such as one whose master was killed.
 * @returns what was done; `usedBy` names those who keep it running
 */
export async function stopUnusedPostgres(
  place: EmbeddedPostgresPlace,
  clock: Clock,
  signal?: AbortSignal,
): Promise<PostgresStopReport> {
  const { dataDir } = clusterPlace(place.stateDir);
  if ((await findPostmaster(dataDir)) === null) return { stopped: null, usedBy: [] };
  return await withGate(
    { path: gateFile(place), purpose: "stop", clock, signal },
    async () => await stopIfUnused(place, clock),
  );
}

/** The caller has the gate. */
async function stopIfUnused(place: EmbeddedPostgresPlace, clock: Clock): Promise<PostgresStopReport> {
  const usedBy = await listHolders(holdsDir(place), clock);
  if (usedBy.length > 0) return { stopped: null, usedBy };
  const postmaster = await findPostmaster(clusterPlace(place.stateDir).dataDir);
  // One that a person or a service manager started is theirs to stop.
  if (postmaster === null || !postmaster.ours) return { stopped: null, usedBy: [] };
  return { stopped: await stopPostmaster(postmaster, clock, FAST_STOP_PATIENCE_MS), usedBy: [] };
}

class HeldServer implements RunningPostgres {
  readonly host = LOOPBACK;
  readonly port: number;
  readonly pid: number;
  readonly attached: boolean;
  readonly exited: Promise<void>;
  readonly #options: EmbeddedPostgresOptions;
  readonly #hold: ProcessLock;
  readonly #settleExit: () => void;
  #released: Promise<PostgresStopReport> | null = null;

  constructor(options: EmbeddedPostgresOptions, server: ReadyServer, hold: ProcessLock) {
    this.#options = options;
    this.#hold = hold;
    this.port = server.postmaster.port;
    this.pid = server.postmaster.identity.pid;
    this.attached = server.child === null;
    const { exited, settle } = watchExit(server);
    this.exited = exited;
    this.#settleExit = settle;
  }

  async stop(): Promise<PostgresStopReport> {
    this.#released ??= this.#stop();
    return await this.#released;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #stop(): Promise<PostgresStopReport> {
    const { clock, purpose } = this.#options;
    // Not the signal of the run: what was taken is given back although the run was interrupted.
    return await withGate({ path: gateFile(this.#options), purpose: `end ${purpose}`, clock }, async () => {
      await dropHold(this.#hold);
      const report = await stopIfUnused(this.#options, clock);
      if (report.usedBy.length === 0) this.#settleExit();
      return report;
    });
  }
}

/** Tells when the server is gone; `settle` is for one who saw it end. Watching keeps no process alive. */
function watchExit(server: ReadyServer): { readonly exited: Promise<void>; readonly settle: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const { child, postmaster } = server;
  if (child !== null) {
    child.once("exit", () => {
      resolve();
    });
    if (child.exitCode !== null || child.signalCode !== null) resolve();
    return { exited: promise, settle: resolve };
  }
  const timer = setInterval(() => {
    if (!isSameProcessRunning(postmaster.identity)) settle();
  }, EXIT_POLL_MS);
  timer.unref();
  const settle = (): void => {
    clearInterval(timer);
    resolve();
  };
  return { exited: promise, settle };
}
