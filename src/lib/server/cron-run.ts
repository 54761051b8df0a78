import type { Clock } from "../kernel/clock.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import type { Fence } from "../postgres/fence.ts";
import type { CronTask } from "./cron-task.ts";

/** How a run ended: `partial` = something is left, `stopped` = the right to go on ended before it did. */
export type RunOutcome = "complete" | "partial" | "failed" | "stopped";

/** What running tasks needs. */
export interface CronDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Milliseconds to the next full hour by the database's clock: this machine's may be wrong. */
  readonly msToNextHour: () => Promise<number>;
  readonly onRun?: ((task: string, outcome: RunOutcome) => void) | undefined;
}

/** Pauses after runs that were not complete, of tasks that try again; the last one repeats. An hour is not to wait for the next interval. */
const RETRY_DELAYS_MS = [5_000, 15_000, 30_000, 60_000];
/** From so many failures in a row on, a person is to look. */
const FAILURES_TO_TELL = 3;
/** So long after the full hour the hour's last writers have mostly ended; up to twice that, so that masters spread. */
const AFTER_HOUR_MS = 2_000;

/** One task over all holdings of the lease: a run that outlives its holding keeps the next holding's first one waiting. */
class TaskLoop {
  readonly #task: CronTask;
  readonly #deps: CronDeps;
  #running: Promise<unknown> = Promise.resolve();
  #failures = 0;

  constructor(task: CronTask, deps: CronDeps) {
    this.#task = task;
    this.#deps = deps;
  }

  async loop(fence: Fence | null, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#deps;
    const { name, atOnce, intervalMs } = this.#task;
    const pause = async (ms: number): Promise<void> => {
      await clock.sleep(ms, signal).catch(() => {});
    };
    this.#failures = 0;
    if (!atOnce) await pause(intervalMs);
    const ended = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => {
      ended.resolve();
    });
    await Promise.race([this.#running, ended.promise]);
    while (!signal.aborted) {
      const run = this.#run(fence, signal);
      this.#running = run;
      const outcome = await run;
      this.#deps.onRun?.(name, outcome);
      if (signal.aborted) break;
      const pauseMs = await this.#pauseMs(outcome);
      log.debug("cron.next_run", { task: name, outcome, inMs: Math.round(pauseMs) });
      await pause(pauseMs);
    }
  }

  async #run(fence: Fence | null, signal: AbortSignal): Promise<RunOutcome> {
    const { log } = this.#deps;
    const { name } = this.#task;
    try {
      const isComplete = await this.#task.run(fence, signal);
      this.#failures = isComplete ? 0 : this.#failures + 1;
      return isComplete ? "complete" : "partial";
    } catch (error) {
      if (signal.aborted) {
        log.debug("cron.run_stopped", { task: name, error });
        return "stopped";
      }
      this.#failures += 1;
      log[this.#failures < FAILURES_TO_TELL ? "warn" : "error"]("cron.run_failed", {
        task: name,
        failures: this.#failures,
        error,
      });
      return "failed";
    }
  }

  async #pauseMs(outcome: RunOutcome): Promise<number> {
    const { random, log, msToNextHour } = this.#deps;
    const { name, intervalMs, atEachHour, triesAgain } = this.#task;
    const retryMs = RETRY_DELAYS_MS[Math.min(this.#failures, RETRY_DELAYS_MS.length) - 1] ?? intervalMs;
    if (outcome !== "complete") return triesAgain ? Math.min(intervalMs, retryMs) : intervalMs;
    if (!atEachHour) return intervalMs;
    try {
      return Math.min(intervalMs, (await msToNextHour()) + AFTER_HOUR_MS + random.int(AFTER_HOUR_MS));
    } catch (error) {
      log.warn("cron.hour_unknown", { task: name, error });
      return Math.min(intervalMs, RETRY_DELAYS_MS.at(-1) ?? intervalMs);
    }
  }
}

/**
 * Makes what the holder of the lease does: every task side by side, each again and again, until the signal aborts. Errors
 * are logged and the run is repeated soon; it never throws.
 */
export function cronLoop(
  tasks: readonly CronTask[],
  deps: CronDeps,
): (fence: Fence | null, signal: AbortSignal) => Promise<void> {
  const loops = tasks.map((task) => new TaskLoop(task, deps));
  return async (fence, signal) => {
    await Promise.all(loops.map(async (each) => await each.loop(fence, signal)));
  };
}
