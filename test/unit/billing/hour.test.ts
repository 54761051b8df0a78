import { describe, expect, test } from "vitest";
import { formatHour, hourKey, hourOf, parseHour, parseHourKey } from "../../../src/lib/billing/hour.ts";
import { isFulaError } from "../../../src/lib/kernel/errors.ts";

const HOUR = hourOf(Date.UTC(2026, 5, 12, 14, 59, 59, 999));

describe("an hour", () => {
  test("has the key that the fleet's ledgers have, and is read back from it", () => {
    expect(hourKey(HOUR)).toBe("hour:2026-06-12T14");
    expect(parseHourKey("hour:2026-06-12T14")).toBe(HOUR);
    expect(formatHour(HOUR + 10)).toBe("2026-06-13T00:00:00Z");
  });

  test.each([
    "hour:2026-02-30T14",
    "hour:2026-06-12T24",
    "hour:2026-06-12",
    "2026-06-12T14",
    "hour:2026-06-12T14:00",
    "",
  ])("%j is no key", (key) => {
    expect(parseHourKey(key)).toBeNull();
  });

  test.each(["2026-06-12T14", "2026-06-12T14Z", "2026-06-12T14:00", "2026-06-12T14:00Z", "2026-06-12T14:00:00Z"])(
    "is read from %s",
    (text) => {
      expect(parseHour(text)).toBe(HOUR);
    },
  );

  test.each([
    "2026-06-12T14:30",
    "2026-06-12",
    "yesterday",
    "2026-13-01T00",
    "2026-06-12T14:00+02:00",
    " 2026-06-12T14",
  ])("%j is refused", (text) => {
    expect(() => parseHour(text)).toThrow(expect.toSatisfy((error) => isFulaError(error, "FULA_HOUR_INVALID")));
  });
});
