import { once } from "node:events";
import { dirname, join } from "node:path";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { exists } from "../kernel/files.ts";
import { logOffset, readLogTail } from "./log-files.ts";
import { type PostgresBinaries, resolvePostgresBinaries } from "./postgres-binaries.ts";
import {
  findLeftovers,
  findPostmaster,
  launchPostmaster,
  quitPostmaster,
  settlePostmaster,
  stopPostmaster,
} from "./postgres-process.ts";
import { FAST_STOP_PATIENCE_MS, LOOPBACK } from "./postgres-server.ts";
import { runInGroup } from "./postgres-site-run.ts";
import {
  type PostgresSite,
  RECOVERY_MARKER,
  type SiteProgram,
  type SiteRun,
  type SiteRunEnd,
  type SiteSession,
  type SiteState,
  type SiteStop,
} from "./postgres-site.ts";
import type { SystemUser } from "./postgres-user.ts";
import { signalProcess } from "./processes.ts";
import { OwnSiteFiles, type SiteFiles } from "./site-files.ts";

/** Where a server of this box lives that is a process of it. */
export interface ProcessSiteOptions {
  /** Holds `data`, and what belongs to the box beside it. */
  readonly rootDir: string;
  /** Folder of the programs; null or missing = those of the npm package, which lacks all but the server. */
  readonly binDir?: string | null;
  readonly user: SystemUser;
  readonly port: number;
  readonly logFile: string;
  readonly clock: Clock;
}

const SYSTEM_PATH = "/usr/bin:/bin";
const POLL_MS = 10;
const LOG_TAIL_LINES = 12;

/** Gives access to a server that is a process of this box. @throws FulaError FULA_POSTGRES_BINARIES */
export async function openProcessSite(options: ProcessSiteOptions): Promise<PostgresSite> {
  const { binDir, rootDir, user } = options;
  const binaries = await resolvePostgresBinaries({ binDir: binDir ?? undefined, copyRoot: rootDir, user });
  return new ProcessSite(options, binaries);
}

class ProcessSite implements PostgresSite {
  readonly kind = "processes";
  readonly where: string;
  readonly dataDir: string;
  readonly rootDir: string;
  readonly major: number;
  readonly host = LOOPBACK;
  readonly port: number;
  readonly innerHost = LOOPBACK;
  readonly innerPort: number;
  readonly #options: ProcessSiteOptions;
  readonly #binaries: PostgresBinaries;

  constructor(options: ProcessSiteOptions, binaries: PostgresBinaries) {
    this.#options = options;
    this.#binaries = binaries;
    this.rootDir = options.rootDir;
    this.dataDir = join(options.rootDir, "data");
    this.where = this.dataDir;
    this.major = binaries.major;
    this.port = options.port;
    this.innerPort = options.port;
  }

  async open(signal: AbortSignal): Promise<SiteSession> {
    signal.throwIfAborted();
    return new ProcessSession(dirname(this.#binaries.postgres), this.#options, signal);
  }

  async state(): Promise<SiteState> {
    // Processes of a server whose main process is gone still write: nothing may be done to the data before they end.
    if ((await findPostmaster(this.dataDir)) !== null) return "running";
    if ((await findLeftovers(this.dataDir)).length > 0) return "running";
    return (await exists(join(this.dataDir, "PG_VERSION"))) ? "stopped" : "absent";
  }

  async start(): Promise<void> {
    const { clock, user, port, logFile } = this.#options;
    if (await exists(join(this.rootDir, RECOVERY_MARKER))) throw halfRewritten(this.dataDir);
    if ((await settlePostmaster(this.dataDir, clock)) !== null) return;
    const configFile = join(this.rootDir, "server.conf");
    const offset = await logOffset(logFile);
    const child = await launchPostmaster({
      binaries: this.#binaries,
      dataDir: this.dataDir,
      port,
      user,
      logFile,
      configFile: (await exists(configFile)) ? configFile : undefined,
    });
    await once(child, "spawn");
    while ((await findPostmaster(this.dataDir)) === null) {
      if (child.exitCode !== null || child.signalCode !== null) throw await this.#startFailure(offset);
      await clock.sleep(POLL_MS);
    }
  }

  async #startFailure(fromOffset: number): Promise<FulaError> {
    const { logFile } = this.#options;
    const tail = await readLogTail(logFile, LOG_TAIL_LINES, fromOffset);
    return new FulaError(
      "FULA_POSTGRES_START",
      `PostgreSQL on ${this.dataDir} ended at once. Its log ends with:\n${tail.join("\n")}`,
      { hint: `mend what the log names; the whole log is ${logFile}.`, details: { dataDir: this.dataDir, logFile } },
    );
  }

  async stop(how: SiteStop): Promise<void> {
    const { clock } = this.#options;
    const postmaster = await findPostmaster(this.dataDir);
    if (postmaster !== null && how === "immediate") await quitPostmaster(postmaster, clock);
    else if (postmaster !== null) await stopPostmaster(postmaster, clock, FAST_STOP_PATIENCE_MS);
    await settlePostmaster(this.dataDir, clock);
  }

  async reload(): Promise<void> {
    const postmaster = await findPostmaster(this.dataDir);
    if (postmaster !== null) signalProcess(postmaster.identity, "SIGHUP");
  }
}

class ProcessSession implements SiteSession {
  readonly host = "127.0.0.1";
  readonly files: SiteFiles;
  readonly #binDir: string;
  readonly #options: ProcessSiteOptions;
  readonly #outer: AbortSignal;
  readonly #closed = new AbortController();
  readonly #running = new Set<Promise<SiteRunEnd>>();

  constructor(binDir: string, options: ProcessSiteOptions, signal: AbortSignal) {
    this.#binDir = binDir;
    this.#options = options;
    this.#outer = signal;
    this.files = new OwnSiteFiles(options.user, options.clock);
  }

  async run(program: SiteProgram, run: SiteRun): Promise<SiteRunEnd> {
    const { user, clock } = this.#options;
    const path = program === "sh" ? "/bin/sh" : join(this.#binDir, program);
    if (!(await exists(path))) throw missingProgram(program, this.#binDir);
    const running = runInGroup({
      ...run,
      program: path,
      path: `${this.#binDir}:${SYSTEM_PATH}`,
      user,
      clock,
      signal: AbortSignal.any([this.#outer, this.#closed.signal, ...(run.signal === undefined ? [] : [run.signal])]),
    });
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort(new Error("The work at this server was ended"));
    await Promise.allSettled(this.#running);
  }
}

function missingProgram(program: SiteProgram, binDir: string): FulaError {
  return new FulaError("FULA_POSTGRES_BINARIES", `There is no ${program} in ${binDir}.`, {
    hint: "install PostgreSQL from your distribution and set postgres.binDir (Debian: /usr/lib/postgresql/15/bin): the npm package has the server alone.",
  });
}

function halfRewritten(dataDir: string): FulaError {
  return new FulaError(
    "FULA_RECOVERY_MARKER",
    `${dataDir} must not be started: a recovery works on it, or was cut off, and it may be half rewritten.`,
    {
      hint: "if no recovery runs any more: fula-master resync, which begins anew where that is safe and rebuilds where it is not.",
    },
  );
}
