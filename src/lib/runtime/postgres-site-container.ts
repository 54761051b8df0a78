import { posix } from "node:path";
import { Readable } from "node:stream";
import type Docker from "dockerode";
import type { ContainerInspectInfo } from "dockerode";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import { LABELS } from "./compose-labels.ts";
import { runInContainer } from "./container-exec.ts";
import { askingEngine, orAbsent } from "./docker-errors.ts";
import { openHelper, type SiteHelper } from "./postgres-site-helper.ts";
import { SiteOutput } from "./postgres-site-run.ts";
import type {
  PostgresSite,
  SiteProgram,
  SiteRun,
  SiteRunEnd,
  SiteSession,
  SiteState,
  SiteStop,
} from "./postgres-site.ts";

/** Where a server of this box lives that is a container of the stack. */
export interface ContainerSiteOptions {
  readonly docker: Docker;
  /** Name of the server's container, which is there, whether it runs or not. */
  readonly container: string;
  /** Where its port is published. */
  readonly host: string;
  readonly port: number;
  readonly clock: Clock;
  readonly random: Random;
}

/** In the images of PostgreSQL. */
const SERVER_USER = "postgres";
const SERVER_PORT = 5432;
const FAST_STOP_SECONDS = 60;
const IMMEDIATE_STOP_SECONDS = 15;
const KILL_POLL_MS = 100;
/** What a shell and the engine add to the number of the signal that ended a program. */
const SIGNAL_EXITS = 128;

/**
 * Gives access to a server that is a container: programs run in another one, made from the same image on the same volume
 * and networks for the time of a session, whether the server runs or not.
 * @throws FulaError FULA_DOCKER_UNREACHABLE, FULA_DOCKER_FAILED, FULA_POSTGRES_DATA
 */
export async function openContainerSite(options: ContainerSiteOptions): Promise<PostgresSite> {
  const { docker, container } = options;
  const info = await askingEngine(
    `looking at ${container}`,
    async () => await docker.getContainer(container).inspect(),
  );
  return new ContainerSite(options, info);
}

function environmentOf(info: ContainerInspectInfo, name: string): string {
  const line = info.Config.Env.find((entry) => entry.startsWith(`${name}=`));
  if (line !== undefined) return line.slice(name.length + 1);
  throw new FulaError("FULA_POSTGRES_DATA", `The container ${info.Name.slice(1)} does not say its ${name}.`, {
    hint: "it is made from another image than PostgreSQL's; set postgres.image to one of those, and run the command again.",
  });
}

/** The first network's alias under which the container is found by others; its name on the engine's own bridge. */
function aliasOf(info: ContainerInspectInfo): string {
  const service = info.Config.Labels[LABELS.service];
  return service ?? info.Name.slice(1);
}

class ContainerSite implements PostgresSite {
  readonly kind = "container";
  readonly where: string;
  readonly dataDir: string;
  readonly rootDir: string;
  readonly major: number;
  readonly host: string;
  readonly port: number;
  readonly innerHost: string;
  readonly innerPort = SERVER_PORT;
  readonly #options: ContainerSiteOptions;
  readonly #container: Docker.Container;

  constructor(options: ContainerSiteOptions, info: ContainerInspectInfo) {
    this.#options = options;
    this.#container = options.docker.getContainer(info.Id);
    this.dataDir = environmentOf(info, "PGDATA");
    this.rootDir = posix.dirname(this.dataDir);
    this.where = `${this.dataDir} of the container ${info.Name.slice(1)}`;
    this.major = Number(environmentOf(info, "PG_MAJOR"));
    this.host = options.host;
    this.port = options.port;
    this.innerHost = aliasOf(info);
  }

  async open(signal: AbortSignal): Promise<SiteSession> {
    signal.throwIfAborted();
    const { docker, container, random } = this.#options;
    const info = await askingEngine(`looking at ${container}`, async () => await this.#container.inspect());
    return new ContainerSession(this.#options, await openHelper(docker, info, this.rootDir, random), signal);
  }

  async state(): Promise<SiteState> {
    const doing = `looking at ${this.#options.container}`;
    const info = await askingEngine(doing, async () => await orAbsent(async () => await this.#container.inspect()));
    if (info === null) return "absent";
    // While it is paused or starts anew, its processes are there.
    if (info.State.Running || info.State.Restarting || info.State.Paused) return "running";
    const version = await askingEngine(
      doing,
      async () =>
        await orAbsent(async () => await this.#container.infoArchive({ path: posix.join(this.dataDir, "PG_VERSION") })),
    );
    return version === null ? "absent" : "stopped";
  }

  async start(): Promise<void> {
    await askingEngine(`starting ${this.#options.container}`, async () => {
      const { State } = await this.#container.inspect();
      if (!State.Running) await this.#container.start();
    });
  }

  async stop(how: SiteStop): Promise<void> {
    await askingEngine(`stopping ${this.#options.container}`, async () => {
      const { State } = await this.#container.inspect();
      if (!State.Running && !State.Restarting) return;
      if (how === "immediate" && State.Running) await this.#container.kill({ signal: "SIGQUIT" });
      // The image's stop signal is a fast shutdown, and nothing more to a server that has been told to end at once.
      await this.#container.stop({ t: how === "fast" ? FAST_STOP_SECONDS : IMMEDIATE_STOP_SECONDS });
    });
  }

  async reload(): Promise<void> {
    const { docker, container } = this.#options;
    await askingEngine(`reloading ${container}`, async () => {
      const { State, Id } = await this.#container.inspect();
      if (!State.Running) return;
      // Not a signal by the engine: it takes each for the wish that the container end, and does not start it again then.
      const end = await runInContainer(docker, Id, {
        args: ["/bin/sh", "-c", "kill -HUP 1"],
        user: SERVER_USER,
        onOutput: async () => {},
      });
      if (end.exitCode !== 0) throw new Error(`kill -HUP 1: ${end.stderr}`);
    });
  }
}

class ContainerSession implements SiteSession {
  readonly host: string;
  readonly #options: ContainerSiteOptions;
  readonly #helper: SiteHelper;
  readonly #signal: AbortSignal;
  readonly #close: () => void;
  readonly #closed = new AbortController();
  #runs = 0;

  constructor(options: ContainerSiteOptions, helper: SiteHelper, outer: AbortSignal) {
    this.#options = options;
    this.#helper = helper;
    this.host = helper.address;
    this.#signal = AbortSignal.any([outer, this.#closed.signal]);
    this.#close = () => {
      this.#closed.abort(new Error("The work at this server was ended"));
    };
  }

  async run(program: SiteProgram, run: SiteRun): Promise<SiteRunEnd> {
    const signal = run.signal === undefined ? this.#signal : AbortSignal.any([this.#signal, run.signal]);
    signal.throwIfAborted();
    this.#runs += 1;
    return await askingEngine(
      `running ${program}`,
      async () => await this.#run({ ...run, signal }, program, `/tmp/run-${this.#runs}`),
    );
  }

  async #run(run: SiteRun & { readonly signal: AbortSignal }, program: SiteProgram, pidFile: string) {
    const { args, env, stdin, signal, timeoutMs, onLine } = run;
    const output = new SiteOutput(onLine);
    await using killer = this.#killerOf(pidFile, signal, timeoutMs);
    try {
      // The engine puts what it runs into a group of its own, whose number is that of the shell.
      const { exitCode } = await runInContainer(this.#options.docker, this.#helper.id, {
        args: ["/bin/sh", "-c", `echo $$ >${pidFile}; exec "$@"`, "sh", program, ...args],
        env: { LC_ALL: "C", TZ: "UTC", ...env },
        ...(stdin === undefined ? {} : { stdin: typeof stdin === "string" ? Readable.from([stdin]) : stdin }),
        user: SERVER_USER,
        onOutput: async (piece) => {
          if (!output.addStdout(piece)) killer.kill();
        },
        onError: (piece) => {
          output.addStderr(piece);
        },
      });
      signal.throwIfAborted();
      return { exitCode: exitCode > SIGNAL_EXITS ? null : exitCode, ...output.end(), timedOut: killer.timedOut() };
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    }
  }

  #killerOf(pidFile: string, signal: AbortSignal, timeoutMs: number | undefined): Killer {
    const { docker, clock } = this.#options;
    return new Killer({ clock, signal, timeoutMs }, async () => {
      await runInContainer(docker, this.#helper.id, {
        args: ["/bin/sh", "-c", `kill -9 "-$(cat ${pidFile})"`],
        user: SERVER_USER,
        onOutput: async () => {},
      });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#close();
    await this.#helper[Symbol.asyncDispose]();
  }
}

/** Ends a program of a session, again and again until it is gone: it may only just be starting. */
class Killer implements AsyncDisposable {
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  readonly #attempt: () => Promise<void>;
  readonly #ended = new AbortController();
  #killing: Promise<void> | null = null;
  #isLate = false;

  constructor(
    { clock, signal, timeoutMs }: Required<Pick<SiteRun, "signal">> & { clock: Clock; timeoutMs: number | undefined },
    attempt: () => Promise<void>,
  ) {
    this.#clock = clock;
    this.#signal = signal;
    this.#attempt = attempt;
    signal.addEventListener("abort", this.kill, { once: true });
    if (timeoutMs === undefined) return;
    clock
      .sleep(timeoutMs, this.#ended.signal)
      .then(() => {
        this.#isLate = true;
        this.kill();
      })
      // The program was quicker.
      .catch(() => {});
  }

  timedOut(): boolean {
    return this.#isLate;
  }

  readonly kill = (): void => {
    this.#killing ??= this.#kill();
  };

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort();
    this.#signal.removeEventListener("abort", this.kill);
    await this.#killing;
  }

  async #kill(): Promise<void> {
    while (!this.#ended.signal.aborted) {
      // What cannot be ended so ends with the container.
      await this.#attempt().catch(() => {});
      await this.#clock.sleep(KILL_POLL_MS, this.#ended.signal).catch(() => {});
    }
  }
}
