import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { lookDelayMs, retryDelayMs } from "../../../../src/lib/pinning/queue/backoff.ts";
import { property } from "../../../support/property.ts";
import { seededRandom } from "../../../support/seeded-random.ts";

const HOUR_MS = 3_600_000;
const least = { ...seededRandom(1), int: () => 0 };
const most = { ...seededRandom(1), int: (below: number) => below - 1 };

describe("the pause after a try that failed", () => {
  test("begins at half a second and doubles up to an hour, with a fifth of chance at most", () => {
    const first = Array.from({ length: 16 }, (_, attempts) => retryDelayMs(attempts, least));
    expect(first.slice(0, 4)).toEqual([500, 1_000, 2_000, 4_000]);
    expect(first.slice(13)).toEqual([HOUR_MS, HOUR_MS, HOUR_MS]);
    expect(retryDelayMs(0, most)).toBe(600);
    expect(retryDelayMs(60, most)).toBe(1.2 * HOUR_MS);
  });

  test("is a whole, finite number of milliseconds however often it has failed", () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer(), (attempts, seed) => {
        const delayMs = retryDelayMs(attempts, seededRandom(seed));
        expect(Number.isSafeInteger(delayMs)).toBe(true);
        expect(delayMs).toBeGreaterThanOrEqual(500);
        expect(delayMs).toBeLessThanOrEqual(1.2 * HOUR_MS);
      }),
      property(),
    );
  });
});

test("peers that are at work are asked again every five minutes at the latest, those that gave up every hour", () => {
  expect([0, 1, 2, 3].map((looks) => lookDelayMs(looks, false))).toEqual([1_000, 2_000, 4_000, 8_000]);
  expect(lookDelayMs(100, false)).toBe(300_000);
  expect(lookDelayMs(100, true)).toBe(HOUR_MS);
});
