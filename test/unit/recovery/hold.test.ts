import { expect, test } from "vitest";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { Hold } from "../../../src/lib/recovery/hold.ts";
import { RecoveryLog } from "../../../src/lib/recovery/recovery-log.ts";
import { FakeClock } from "../../support/clock.ts";
import { EPOCH } from "../../support/recovery-fakes.ts";

interface Held {
  readonly hold: Hold;
  /** What was let go, in order. */
  readonly released: string[];
  /** How often the replica was given to others, and what was said in the log. */
  readonly freed: () => number;
  readonly said: () => readonly string[];
}

function holding(...names: readonly string[]): Held {
  const log = new RecoveryLog(new FakeClock(), silentLog);
  const released: string[] = [];
  let freed = 0;
  const authority = { replicaId: "r", sessionId: 1n, epoch: EPOCH };
  const hold = new Hold({ authority, log, free: () => void (freed += 1) });
  for (const name of names) {
    const release = async (reason: string): Promise<void> => {
      await Promise.resolve();
      released.push(`${name}: ${reason}`);
    };
    hold.take({ name, release, [Symbol.asyncDispose]: () => release("disposed") });
  }
  const said = (): readonly string[] => log.events().map(({ event, detail }) => `${event}: ${detail}`);
  return { hold, released, freed: () => freed, said };
}

test("whoever lets go first says why, and what was taken last goes first", async () => {
  const { hold, released, freed, said } = holding("backup", "wal");
  await Promise.all([hold.release("first"), hold.release("second"), hold[Symbol.asyncDispose]()]);
  expect(released).toEqual(["wal: first", "backup: first"]);
  expect(freed()).toBe(1);
  expect(said().at(-1)).toBe("exec_resources_released: first");
});

test("a block that is left by an error lets go, and says that nobody said why", async () => {
  const { hold, released, freed } = holding("wal");
  const work = async (): Promise<void> => {
    await using _ = hold;
    await Promise.reject(new Error("in between"));
  };
  await expect(work()).rejects.toThrow("in between");
  expect(released).toEqual(["wal: thrown_error"]);
  expect(freed()).toBe(1);
});

test("what belongs to a plan is kept when its block is left, begun once, and let go when that ends", async () => {
  const { hold, released, freed } = holding("wal");
  expect([hold.isIdle, hold.begin()]).toEqual([false, false]);
  hold.keepForPlan();
  await hold[Symbol.asyncDispose]();
  expect([hold.isIdle, freed()]).toEqual([true, 0]);
  expect([hold.begin(), hold.begin(), hold.isIdle]).toEqual([true, false, false]);
  hold.because("completed");
  await hold[Symbol.asyncDispose]();
  expect(released).toEqual(["wal: completed"]);
});

test("a plan that was let go cannot be begun", async () => {
  const { hold } = holding("wal");
  hold.keepForPlan();
  await hold.release("cancelled");
  expect([hold.isIdle, hold.begin()]).toEqual([false, false]);
});

test("where nothing was held, nothing is said to have been", async () => {
  const { hold, freed, said } = holding();
  await hold.release("zero_gap");
  expect([freed(), said()]).toEqual([1, []]);
  const planned = holding();
  planned.hold.keepForPlan();
  await planned.hold.release("plan_cancelled");
  expect(planned.said()).toEqual(["exec_resources_released: plan_cancelled"]);
});
