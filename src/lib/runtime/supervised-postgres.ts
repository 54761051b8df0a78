import { join } from "node:path";
import { FulaError, messageOf } from "../kernel/errors.ts";
import {
  type EmbeddedPostgresOptions,
  ensureEmbeddedPostgres,
  type PostgresStopReport,
  type RunningPostgres,
} from "./embedded-postgres.ts";
import { keepLogBounded } from "./log-files.ts";

/** What the supervisor knows; readyz shows it. */
export type PostgresState =
  | { readonly status: "running"; readonly pid: number; readonly sinceMs: number; readonly restarts: number }
  | {
      readonly status: "restarting";
      readonly sinceMs: number;
      /** Starts that failed since the server was lost. */
      readonly attempts: number;
      readonly restarts: number;
      readonly lastError: string | null;
    }
  | { readonly status: "stopped"; readonly restarts: number };

/** An embedded server that is started again when it dies, always on the same port. */
export interface SupervisedPostgres extends AsyncDisposable {
  readonly host: "127.0.0.1";
  readonly port: number;
  state(): PostgresState;
  /** Ends the supervision and our use of the server; it stops where nobody else uses it. */
  stop(): Promise<PostgresStopReport>;
}

/** Pauses between two attempts to start it again; the last one is repeated for as long as it takes. */
const RESTART_DELAYS_MS = [100, 500, 1_000, 2_000, 5_000, 10_000, 30_000] as const;
/** A server that dies sooner than this after a restart is sick: the pauses go on growing. */
const HEALTHY_AFTER_MS = 60_000;

/**
 * `ensureEmbeddedPostgres` for a process that stays: watches the server, starts it again with growing pauses when it
 * dies, and keeps its log bounded.
 * @throws FulaError what `ensureEmbeddedPostgres` throws, for the first start only
 */
export async function superviseEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<SupervisedPostgres> {
  return new Supervisor(options, await ensureEmbeddedPostgres(options));
}

class Supervisor implements SupervisedPostgres {
  readonly host = "127.0.0.1";
  readonly port: number;
  readonly #options: EmbeddedPostgresOptions;
  readonly #end = new AbortController();
  readonly #watching: Promise<void>;
  readonly #log: Disposable;
  #server: RunningPostgres;
  #state: PostgresState;
  #restarts = 0;
  #stopped: Promise<PostgresStopReport> | null = null;

  constructor(options: EmbeddedPostgresOptions, server: RunningPostgres) {
    this.#options = options;
    this.#server = server;
    this.port = server.port;
    this.#state = this.#running();
    this.#log = keepLogBounded(join(options.logsDir, "postgres.log"), (error) => {
      options.log.warn("postgres.log_rotation_failed", { message: messageOf(error) });
    });
    this.#watching = this.#watch();
  }

  state(): PostgresState {
    return this.#state;
  }

  async stop(): Promise<PostgresStopReport> {
    this.#stopped ??= this.#stop();
    return await this.#stopped;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #running(): PostgresState {
    return { status: "running", pid: this.#server.pid, sinceMs: this.#options.clock.nowMs(), restarts: this.#restarts };
  }

  async #stop(): Promise<PostgresStopReport> {
    this.#end.abort();
    await this.#watching;
    this.#log[Symbol.dispose]();
    this.#state = { status: "stopped", restarts: this.#restarts };
    return await this.#server.stop();
  }

  async #watch(): Promise<void> {
    const { clock, log } = this.#options;
    const ended = Promise.withResolvers<void>();
    this.#end.signal.addEventListener("abort", () => {
      ended.resolve();
    });
    let attempts = 0;
    for (;;) {
      const startedMs = clock.monotonicMs();
      await Promise.race([this.#server.exited, ended.promise]);
      if (this.#end.signal.aborted) return;
      log.error("postgres.lost", { pid: this.#server.pid });
      if (clock.monotonicMs() - startedMs >= HEALTHY_AFTER_MS) attempts = 0;
      attempts = await this.#restart(attempts);
      if (this.#end.signal.aborted) return;
      this.#restarts += 1;
      this.#state = this.#running();
      log.info("postgres.restarted", { pid: this.#server.pid, attempts });
    }
  }

  /** Tries until the server is back or we are to end. @returns how many attempts were made */
  async #restart(attemptsBefore: number): Promise<number> {
    const { clock, log } = this.#options;
    const sinceMs = clock.nowMs();
    let lastError: string | null = null;
    for (let attempts = attemptsBefore; ; attempts += 1) {
      this.#state = { status: "restarting", sinceMs, attempts, restarts: this.#restarts, lastError };
      const delayMs = RESTART_DELAYS_MS[Math.min(attempts, RESTART_DELAYS_MS.length - 1)] ?? 0;
      try {
        await clock.sleep(delayMs, this.#end.signal);
        // The same port: the pools of this process and of others point there.
        const next = await ensureEmbeddedPostgres({ ...this.#options, port: this.port, signal: this.#end.signal });
        await this.#replace(next);
        return attempts + 1;
      } catch (error) {
        if (this.#end.signal.aborted) return attempts;
        lastError = messageOf(error);
        const code = error instanceof FulaError ? error.code : undefined;
        log.error("postgres.restart_failed", { attempts: attempts + 1, code, message: lastError });
      }
    }
  }

  async #replace(next: RunningPostgres): Promise<void> {
    const previous = this.#server;
    this.#server = next;
    // The new right to use it is held already, so giving the old one back stops nothing.
    await previous.stop();
  }
}
