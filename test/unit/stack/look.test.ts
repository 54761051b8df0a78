import { expect, test } from "vitest";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { withinLimit } from "../../../src/lib/stack/look.ts";
import { lookAtPart, OK, type Part } from "../../../src/lib/stack/status-part.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const never = async (): Promise<never> => await new Promise(() => {});
const signal = new AbortController().signal;

test("an answer that comes in time is given as it is", async () => {
  const limits = { clock: new ManualClock(), signal, limitMs: 5_000 };
  expect(await withinLimit(limits, async () => await Promise.resolve(7))).toBe(7);
});

test("what heeds no signal and never answers is given up when its time is up", async () => {
  const clock = new ManualClock();
  const looking = withinLimit({ clock, signal, limitMs: 5_000 }, never);
  const seen = expect(looking).rejects.toMatchObject({
    code: "FULA_LOOK_TIMEOUT",
    message: "There was no answer within 5s.",
  });
  await clock.step(4_999);
  await clock.step(1);
  await seen;
});

test("what does heed its signal is told to stop when its time is up", async () => {
  const clock = new ManualClock();
  let stopped = false;
  const looking = withinLimit({ clock, signal, limitMs: 100 }, async (stop) => {
    stop.addEventListener("abort", () => {
      stopped = true;
    });
    return await never();
  });
  const seen = expect(looking).rejects.toThrow();
  await clock.step(100);
  await seen;
  expect(stopped).toBe(true);
});

test("the end of the run ends every look with the run's own reason", async () => {
  const run = new AbortController();
  const looking = withinLimit({ clock: new ManualClock(), signal: run.signal, limitMs: 5_000 }, never);
  const reason = new FulaError("FULA_INTERRUPTED", "Stopped.");
  run.abort(reason);
  await expect(looking).rejects.toBe(reason);
});

test("a part that cannot be looked at is bad and says why, a part that hangs too", async () => {
  interface Counted extends Part {
    readonly count: number | null;
  }
  const clock = new ManualClock();
  const limits = { clock, signal, limitMs: 1_000 };
  const broken = await lookAtPart<Counted>(limits, { count: null }, async () => {
    throw new FulaError("FULA_PINSET_MISSING", "It is gone.");
  });
  expect(broken).toEqual({ count: null, state: "bad", problem: "FULA_PINSET_MISSING: It is gone." });
  const hanging = lookAtPart<Counted>(limits, { count: null }, never);
  await clock.step(1_000);
  expect(await hanging).toMatchObject({ state: "bad", problem: expect.stringContaining("no answer within 1s") });
  expect(await lookAtPart<Counted>(limits, { count: null }, async () => ({ count: 1, ...OK }))).toEqual({
    count: 1,
    state: "ok",
    problem: null,
  });
});
