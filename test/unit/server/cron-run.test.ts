import { describe, expect, test } from "vitest";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { type Log, silentLog } from "../../../src/lib/kernel/log.ts";
import { cronLoop, type RunOutcome } from "../../../src/lib/server/cron-run.ts";
import type { CronTask } from "../../../src/lib/server/cron-task.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const FENCE = { holder: "master-1", epoch: 7n };
const HOUR_MS = 3_600_000;

interface Rig {
  readonly clock: ManualClock;
  readonly runs: string[];
  readonly outcomes: RunOutcome[];
  readonly logged: string[];
  readonly stop: AbortController;
  readonly ended: Promise<void>;
}

/** Runs one task by hand; its answers are taken from `answers`, and are `true` when they are used up. */
function rig(
  more: Partial<CronTask> = {},
  answers: (boolean | Error | Promise<boolean>)[] = [],
  nextHour: () => Promise<number> = async () => await Promise.resolve(600_000),
): Rig {
  const clock = new ManualClock();
  const runs: string[] = [];
  const outcomes: RunOutcome[] = [];
  const logged: string[] = [];
  const stop = new AbortController();
  const startMs = clock.monotonicMs();
  const task: CronTask = {
    name: "deduction",
    intervalMs: HOUR_MS,
    atEachHour: true,
    atOnce: true,
    triesAgain: true,
    run: async (fence) => {
      runs.push(`${(clock.monotonicMs() - startMs) / 1_000} s, epoch ${fence?.epoch}`);
      const answer = answers.shift() ?? true;
      if (answer instanceof Error) throw answer;
      return await answer;
    },
    ...more,
  };
  const note =
    (level: string) =>
    (event: string): void => {
      logged.push(`${level} ${event}`);
    };
  const log: Log = { ...silentLog, warn: note("warn"), error: note("error") };
  const random = { bytes: () => new Uint8Array(), int: () => 0, uuid: () => "" };
  const loop = cronLoop([task], {
    clock,
    random,
    log,
    msToNextHour: nextHour,
    onRun: (_, outcome) => {
      outcomes.push(outcome);
    },
  });
  return { clock, runs, outcomes, logged, stop, ended: loop(FENCE, stop.signal) };
}

async function steps(clock: ManualClock, ms: number, times = 1): Promise<void> {
  for (let index = 0; index < times; index += 1) await clock.step(ms);
}

describe("a task", () => {
  test("runs at once, then shortly after each full hour of the database's clock", async () => {
    const { clock, runs, stop, ended } = rig();
    await steps(clock, 0);
    await steps(clock, 601_000);
    expect(runs).toEqual(["0 s, epoch 7"]);
    await steps(clock, 1_000);
    expect(runs).toEqual(["0 s, epoch 7", "602 s, epoch 7"]);
    stop.abort();
    await ended;
  });

  test.each([
    ["the interval is shorter than what is left of the hour", { intervalMs: 60_000 }],
    ["it has nothing to do with hours", { intervalMs: 60_000, atEachHour: false }],
  ])("runs again after its interval where %s", async (_, more) => {
    const { clock, runs, stop, ended } = rig(more);
    await steps(clock, 0);
    await steps(clock, 60_000);
    expect(runs).toEqual(["0 s, epoch 7", "60 s, epoch 7"]);
    stop.abort();
    await ended;
  });

  test("that is not to run at once waits for one interval", async () => {
    const { clock, runs, stop, ended } = rig({ atOnce: false, intervalMs: 60_000 });
    await steps(clock, 59_000);
    expect(runs).toEqual([]);
    await steps(clock, 1_000);
    expect(runs).toEqual(["60 s, epoch 7"]);
    stop.abort();
    await ended;
  });

  test("whose run failed is repeated within a minute, not within the hour, and calls for a person in the end", async () => {
    const failure = new FulaError("FULA_DATABASE_UNREACHABLE", "no answer");
    const { clock, runs, outcomes, logged, stop, ended } = rig({}, [failure, failure, failure, failure, failure]);
    await steps(clock, 0);
    for (const ms of [5_000, 15_000, 30_000, 60_000, 60_000]) await steps(clock, ms);
    expect(runs.map((each) => each.split(" ")[0])).toEqual(["0", "5", "20", "50", "110", "170"]);
    expect(outcomes).toEqual(["failed", "failed", "failed", "failed", "failed", "complete"]);
    expect(logged).toEqual([
      "warn cron.run_failed",
      "warn cron.run_failed",
      "error cron.run_failed",
      "error cron.run_failed",
      "error cron.run_failed",
    ]);
    stop.abort();
    await ended;
  });

  test.each([
    ["failed", new FulaError("FULA_DATABASE_UNREACHABLE", "no answer")],
    ["left something", false],
  ])("that charges once more with each run waits for its interval also where a run %s", async (_, answer) => {
    const { clock, runs, stop, ended } = rig({ triesAgain: false, atEachHour: false }, [answer, answer]);
    await steps(clock, 0);
    await steps(clock, 60_000, 59);
    expect(runs).toHaveLength(1);
    await steps(clock, 60_000);
    expect(runs).toHaveLength(2);
    stop.abort();
    await ended;
  });

  test("that has left something to do is run again soon", async () => {
    const { clock, runs, outcomes, stop, ended } = rig({}, [false]);
    await steps(clock, 0);
    await steps(clock, 5_000);
    expect([runs.length, outcomes]).toEqual([2, ["partial", "complete"]]);
    stop.abort();
    await ended;
  });

  test("goes on within a minute where the database's hour cannot be asked for", async () => {
    const { clock, runs, logged, stop, ended } = rig({}, [], async () => await Promise.reject(new Error("no answer")));
    await steps(clock, 0);
    await steps(clock, 60_000);
    expect([runs.length, logged[0]]).toEqual([2, "warn cron.hour_unknown"]);
    stop.abort();
    await ended;
  });

  test("that is told to end is waited for, and its end is no failure", async () => {
    const { promise, reject } = Promise.withResolvers<boolean>();
    const { clock, outcomes, logged, stop, ended } = rig({}, [promise]);
    await steps(clock, 0);
    let isOver = false;
    void ended.then(() => {
      isOver = true;
    });
    stop.abort();
    await steps(clock, 0);
    expect(isOver).toBe(false);
    reject(new Error("it was interrupted"));
    await ended;
    expect([outcomes, logged]).toEqual([["stopped"], []]);
  });
});

test("a run that outlives its right to run is not joined by another one of the same task", async () => {
  const clock = new ManualClock();
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const epochs: bigint[] = [];
  const task: CronTask = {
    name: "scan",
    intervalMs: 60_000,
    atEachHour: false,
    atOnce: true,
    triesAgain: true,
    run: async (fence) => {
      epochs.push(fence?.epoch ?? 0n);
      return epochs.length === 1 ? await promise : true;
    },
  };
  const random = { bytes: () => new Uint8Array(), int: () => 0, uuid: () => "" };
  const msToNextHour = async (): Promise<number> => await Promise.resolve(0);
  const loop = cronLoop([task], { clock, random, log: silentLog, msToNextHour });
  const first = new AbortController();
  const firstEnded = loop(FENCE, first.signal);
  await clock.step(0);
  first.abort();
  const second = new AbortController();
  const secondEnded = loop({ ...FENCE, epoch: 8n }, second.signal);
  await clock.step(0);
  expect(epochs).toEqual([7n]);
  resolve(true);
  await firstEnded;
  await clock.step(0);
  expect(epochs).toEqual([7n, 8n]);
  second.abort();
  await secondEnded;
});
