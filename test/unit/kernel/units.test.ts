import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatBytes, formatCount, formatDuration, parseDurationMs } from "../../../src/lib/kernel/units.ts";
import { property } from "../../support/property.ts";

const UNIT_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

describe("durations", () => {
  test.each([
    ["500ms", 500],
    ["90s", 90_000],
    ["1.5h", 5_400_000],
    ["26h", 93_600_000],
    ["7d", 604_800_000],
    ["0s", 0],
  ])("%s is %d ms", (text, ms) => {
    expect(parseDurationMs(text)).toBe(ms);
  });

  test.each(["", "10", "h", "-1h", "1 h", "1h30m", "1H", "1w", "١h", " 1h", "1e3s", "Infinityh"])(
    "%j is no duration",
    (text) => {
      expect(parseDurationMs(text)).toBeNull();
    },
  );

  test("a whole number of any unit is read exactly", () => {
    const anyUnit = fc.constantFrom("ms", "s", "m", "h", "d");
    fc.assert(
      fc.property(fc.nat(100_000), anyUnit, (count, unit) => {
        expect(parseDurationMs(`${count}${unit}`)).toBe(count * UNIT_MS[unit]);
      }),
      property(),
    );
  });

  test("what is shown is never more than it was, and less by no more than the units that it leaves out", () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e12, noNaN: true }), (ms) => {
        const shown = formatDuration(ms);
        const parts = shown.split(" ");
        const totalMs = parts.reduce((sum, part) => sum + (parseDurationMs(part) ?? Number.NaN), 0);
        expect(parts.length).toBeLessThanOrEqual(2);
        expect(totalMs).toBeLessThanOrEqual(ms + 0.5);
        expect(ms - totalMs).toBeLessThan(shown.includes("d") ? 3_600_000 : shown.includes("h") ? 60_000 : 1_000);
      }),
      property(),
    );
  });

  test.each([
    [0, "0ms"],
    [999.4, "999ms"],
    [999.7, "1s"],
    [60_000, "1m"],
    [93_784_000, "1d 2h"],
    [86_401_000, "1d"],
  ])("%d ms is shown as %s", (ms, shown) => {
    expect(formatDuration(ms)).toBe(shown);
  });
});

describe("sizes", () => {
  test.each([
    [0, "0 B"],
    [1_023, "1023 B"],
    [1_024, "1.0 KiB"],
    [1_536, "1.5 KiB"],
    [1_048_575, "1.0 MiB"],
    [524_288_000, "500 MiB"],
    [2 ** 60, "1024 PiB"],
  ])("%d bytes are %s", (bytes, shown) => {
    expect(formatBytes(bytes)).toBe(shown);
  });

  test("more bytes are never shown as fewer", () => {
    const sizeOf = (shown: string): number => {
      const [number = "", unit = ""] = shown.split(" ");
      return Number(number) * 1024 ** ["B", "KiB", "MiB", "GiB", "TiB", "PiB"].indexOf(unit);
    };
    fc.assert(
      fc.property(fc.maxSafeNat(), fc.maxSafeNat(), (a, b) => {
        expect(sizeOf(formatBytes(Math.min(a, b)))).toBeLessThanOrEqual(sizeOf(formatBytes(Math.max(a, b))));
      }),
      property(1_000),
    );
  });
});

test.each([
  [0, "0 pins"],
  [1, "1 pin"],
  [2, "2 pins"],
])("%d pins are counted as %s", (count, text) => {
  expect(formatCount(count, "pin")).toBe(text);
});

test("a plural that is not just an s is named", () => {
  expect(formatCount(1, "CID has", "CIDs have")).toBe("1 CID has");
  expect(formatCount(2, "CID has", "CIDs have")).toBe("2 CIDs have");
});
