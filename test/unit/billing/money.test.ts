import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatUnits, parseUnits } from "../../../src/lib/billing/money.ts";
import { isFulaError } from "../../../src/lib/kernel/errors.ts";
import { property } from "../../support/property.ts";

describe("an amount of money", () => {
  test.each([
    ["0", 0n, "0"],
    ["3", 3_000_000_000_000_000_000n, "3"],
    ["-0.25", -250_000_000_000_000_000n, "-0.25"],
    ["0.000000000000000001", 1n, "0.000000000000000001"],
    ["100.500000000000000000", 100_500_000_000_000_000_000n, "100.5"],
    ["-0", 0n, "0"],
    ["99999999999999999999.999999999999999999", 10n ** 38n - 1n, "99999999999999999999.999999999999999999"],
  ])("%s is read to the last unit and shown in its shortest form", (text, units, shown) => {
    expect(parseUnits(text)).toBe(units);
    expect(formatUnits(units)).toBe(shown);
  });

  test.each(["", " 1", "1 ", "1e3", "1.", ".5", "+1", "0x10", "1,5", "NaN", "1.0000000000000000001", "1".repeat(21)])(
    "%j is refused",
    (text) => {
      expect(() => parseUnits(text)).toThrow(expect.toSatisfy((error) => isFulaError(error, "FULA_AMOUNT_INVALID")));
    },
  );

  test("is the same after it was shown and read again", () => {
    const limit = 10n ** 38n - 1n;
    fc.assert(
      fc.property(fc.bigInt({ min: -limit, max: limit }), (units) => {
        expect(parseUnits(formatUnits(units))).toBe(units);
      }),
      property(),
    );
  });
});
