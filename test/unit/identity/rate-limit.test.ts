import fc from "fast-check";
import { expect, test } from "vitest";
import { createRateLimit } from "../../../src/lib/identity/rate-limit.ts";
import { property } from "../../support/property.ts";

/** A clock that stands until it is moved. */
class StandingClock {
  ms = 0;
  readonly monotonicMs = (): number => this.ms;
}

test("a burst is let in at once, and after it what comes back in time", () => {
  const clock = new StandingClock();
  const limit = createRateLimit({ perSecond: 10, burst: 3 }, clock);
  expect([1, 2, 3, 4].map(() => limit.take("a"))).toEqual([null, null, null, 100]);
  clock.ms = 99;
  expect(limit.take("a")).toBe(1);
  clock.ms = 100;
  expect([limit.take("a"), limit.take("a")]).toEqual([null, 100]);
  clock.ms = 100_000;
  expect([1, 2, 3, 4].map(() => limit.take("a"))).toEqual([null, null, null, 100]);
});

test("one name uses up nothing of another's, and asking in vain costs nothing", () => {
  const clock = new StandingClock();
  const limit = createRateLimit({ perSecond: 1, burst: 1 }, clock);
  expect([limit.take("a"), limit.take("b")]).toEqual([null, null]);
  for (let times = 0; times < 100; times += 1) expect(limit.take("a")).toBe(1_000);
  clock.ms = 1_000;
  expect(limit.take("a")).toBeNull();
});

test("names are forgotten beyond a number, the one that was idle longest first", () => {
  const limit = createRateLimit({ perSecond: 0.001, burst: 1 }, new StandingClock(), 2);
  expect(["a", "b", "a", "c", "a"].map((name) => limit.take(name) === null)).toEqual([true, true, false, true, false]);
  expect(limit.take("b")).toBeNull();
});

test("whenever requests come, no span of time lets in more than a burst and what comes back in it", () => {
  const pauses = fc.array(fc.nat(400), { minLength: 1, maxLength: 60 });
  fc.assert(
    fc.property(pauses, fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 5 }), (waits, perSecond, burst) => {
      const clock = new StandingClock();
      const limit = createRateLimit({ perSecond, burst }, clock, 1);
      const taken: number[] = [];
      for (const ms of waits) {
        clock.ms += ms;
        const waitMs = limit.take("a");
        if (waitMs === null) taken.push(clock.ms);
        else expect(waitMs).toBeGreaterThan(0);
      }
      const excess = taken.flatMap((fromMs, first) =>
        taken.slice(first).map((untilMs, more) => more + 1 - burst - ((untilMs - fromMs) * perSecond) / 1_000),
      );
      expect(Math.max(...excess)).toBeLessThanOrEqual(1e-6);
    }),
    property(),
  );
});
