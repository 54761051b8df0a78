import type Docker from "dockerode";
import type { Clock } from "../kernel/clock.ts";
import { messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import { decideWatch, FRESH_WATCH, type Watch, type WatchDecision } from "./container-watch.ts";
import { isWell, readProjectHealth, type ServiceHealth } from "./project-health.ts";

/** What the supervisor saw last. */
export interface ContainersSeen {
  /** Why the engine could not be asked; null where it answered. What follows is then of no use. */
  readonly error: string | null;
  readonly containers: readonly ServiceHealth[];
}

/** Keeps the containers of a project running while it is not disposed of. */
export interface ContainerSupervisor extends AsyncDisposable {
  /** Null before the first look. */
  seen(): ContainersSeen | null;
  /** Waits until every container that is wanted is well, but no longer than that. @returns whether they are */
  settled(patienceMs: number, signal?: AbortSignal): Promise<boolean>;
}

/** What a supervisor needs beside the engine. */
export interface SupervisorOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Time between two looks; default ten seconds. */
  readonly intervalMs?: number;
  /** Is told about each restart. */
  readonly onRestart?: (service: string) => void;
}

const INTERVAL_MS = 10_000;
const SETTLED_POLL_MS = 200;
const LOOK_TIMEOUT_MS = 5_000;
/** Longer than any grace period of ours: the engine kills what does not stop within it. */
const RESTART_TIMEOUT_MS = 150_000;
/** From then on somebody should look at it. */
const ATTEMPTS_MANY = 4;

/** True where every container that is not stopped on purpose is well. */
export function areWell({ error, containers }: ContainersSeen): boolean {
  return error === null && containers.every((container) => !container.isWanted || isWell(container));
}

/** What one supervisor knows and has to do it with. */
class Supervision {
  readonly #docker: Docker;
  readonly #project: string;
  readonly #options: SupervisorOptions;
  readonly #watches = new Map<string, Watch>();
  seen: ContainersSeen | null = null;

  constructor(docker: Docker, project: string, options: SupervisorOptions) {
    this.#docker = docker;
    this.#project = project;
    this.#options = options;
  }

  /** One look at all of them, and what follows from it. Throws nothing. */
  async look(end: AbortSignal): Promise<void> {
    const { log } = this.#options;
    const signal = AbortSignal.any([end, AbortSignal.timeout(LOOK_TIMEOUT_MS)]);
    try {
      const containers = await readProjectHealth(this.#docker, this.#project, { signal });
      if (this.seen !== null && this.seen.error !== null) log.info("containers.engine_answers");
      this.seen = { error: null, containers };
    } catch (error) {
      if (end.aborted) return;
      const message = signal.aborted ? `no answer within ${LOOK_TIMEOUT_MS} ms` : messageOf(error);
      if (this.seen?.error !== message) log.error("containers.engine_silent", { message });
      this.seen = { error: message, containers: [] };
      return;
    }
    await Promise.all(this.seen.containers.map(async (container) => await this.#care(container, end)));
  }

  async #care(container: ServiceHealth, end: AbortSignal): Promise<void> {
    const { containerId } = container;
    const before = this.#watches.get(containerId) ?? FRESH_WATCH;
    const decision = decideWatch(before, container, this.#options.clock.monotonicMs());
    this.#watches.set(containerId, decision.watch);
    if (before.attempts > 0 && decision.watch.attempts === 0 && isWell(container)) {
      this.#options.log.info("container.healed", { service: container.service, attempts: before.attempts });
    }
    if (decision.act !== "nothing") await this.#restart(container, decision, end);
  }

  async #restart(container: ServiceHealth, { act, watch }: WatchDecision, end: AbortSignal): Promise<void> {
    const { log, onRestart } = this.#options;
    const { service, containerName, state, exitCode, healthOutput } = container;
    const { attempts } = watch;
    const facts = { service, container: containerName, state, exitCode, healthOutput, attempts };
    if (attempts >= ATTEMPTS_MANY) {
      log.error("container.stays_down", { ...facts, hint: `docker logs ${containerName} says why` });
    }
    log.warn(`container.${act}`, facts);
    const abortSignal = AbortSignal.any([end, AbortSignal.timeout(RESTART_TIMEOUT_MS)]);
    const handle = this.#docker.getContainer(container.containerId);
    try {
      await (act === "start" ? handle.start({ abortSignal }) : handle.restart({ abortSignal }));
      onRestart?.(service);
    } catch (error) {
      if (!end.aborted) log.warn("container.restart_failed", { service, message: messageOf(error) });
    }
  }
}

/**
 * Watches the containers of a project from now on: starts again what ended and was not stopped on purpose, and
 * restarts what says that it is unhealthy, which an engine by itself does not. Looks first and acts when it is still
 * so; what does not come up is tried ever more seldom. An engine that gives no answer is waited for.
 */
export function superviseContainers(docker: Docker, project: string, options: SupervisorOptions): ContainerSupervisor {
  const { clock, intervalMs = INTERVAL_MS } = options;
  const supervision = new Supervision(docker, project, options);
  const end = new AbortController();
  const loop = async (): Promise<void> => {
    while (!end.signal.aborted) {
      await supervision.look(end.signal);
      await clock.sleep(intervalMs, end.signal).catch(() => {});
    }
  };
  const running = loop();
  return {
    seen: () => supervision.seen,
    settled: async (patienceMs, signal) => {
      const deadlineMs = clock.monotonicMs() + patienceMs;
      for (;;) {
        const seen = supervision.seen;
        if (seen !== null && areWell(seen)) return true;
        if (clock.monotonicMs() >= deadlineMs) return false;
        await clock.sleep(SETTLED_POLL_MS, signal);
      }
    },
    [Symbol.asyncDispose]: async () => {
      end.abort();
      await running;
    },
  };
}
