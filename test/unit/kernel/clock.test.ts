import { expect, test } from "vitest";
import { formatUtc, systemClock } from "../../../src/lib/kernel/clock.ts";

test("a time is shown in UTC with whole seconds", () => {
  expect(formatUtc(Date.UTC(2026, 10, 20, 3, 0, 0, 999))).toBe("2026-11-20T03:00:00Z");
});

test("the machine's monotonic time never goes back", () => {
  const times = Array.from({ length: 1_000 }, () => systemClock.monotonicMs());
  expect(times).toEqual(times.toSorted((a, b) => a - b));
});

test("a sleep ends at once when its signal aborts, before or during it", async () => {
  const controller = new AbortController();
  const sleep = systemClock.sleep(600_000, controller.signal);
  controller.abort();
  await expect(sleep).rejects.toThrow("abort");
  await expect(systemClock.sleep(600_000, AbortSignal.abort())).rejects.toThrow("abort");
});
