import type { Fence } from "../postgres/fence.ts";

/** What the holder of the lease does again and again. Metrics and log lines know it by its name. */
export interface CronTask {
  /** `deduction`, `scan`. */
  readonly name: string;
  /** Pause after a run that was complete. */
  readonly intervalMs: number;
  /** True: also run shortly after each full hour of the database's clock. */
  readonly atEachHour: boolean;
  /** False: the first run comes after one interval, else as soon as the lease is taken. */
  readonly atOnce: boolean;
  /** False: a run that was not complete is not tried again before its interval either, since each run counts. */
  readonly triesAgain: boolean;
  /**
   * One run; never beside another one of the same task. It ends soon after `signal` aborts, by returning or by throwing.
   * @param fence null where the settings have no lease
   * @returns false where something is left to do, which is then tried again within a minute if it `triesAgain`
   */
  run(fence: Fence | null, signal: AbortSignal): Promise<boolean>;
}
