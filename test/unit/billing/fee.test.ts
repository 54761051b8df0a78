import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { hourlyFee } from "../../../src/lib/billing/fee.ts";
import { formatUnits, parseUnits } from "../../../src/lib/billing/money.ts";
import { property } from "../../support/property.ts";

const anyBytes = fc.bigInt({ min: 0n, max: 2n ** 55n });
const anyPrice = fc.bigInt({ min: 0n, max: 10n ** 22n });

describe("the fee of an hour", () => {
  // The table of the docstring.
  test.each([
    [0n, 524_288_000n, "0"],
    [524_288_000n, 524_288_000n, "0"],
    [524_288_001n, 524_288_000n, "0.000000000003880511"],
    [1_073_741_824n, 524_288_000n, "0.002132161458333333"],
    [10_737_418_240n, 524_288_000n, "0.039632161458333333"],
    [11_261_706_240n, 524_288_000n, "0.041666666666666667"],
    [98_304n, 0n, "0.000000381469726562"],
    [294_912n, 0n, "0.000001144409179688"],
  ])("%d bytes of which %d are free cost %s at a price of 3", (bytes, freeTierBytes, fee) => {
    expect(formatUnits(hourlyFee(bytes, { freeTierBytes, fulaPerGibMonth: parseUnits("3") }))).toBe(fee);
  });

  test("is never more than half a unit from the exact quotient, and even where it is just that", () => {
    fc.assert(
      fc.property(anyBytes, anyBytes, anyPrice, (bytes, freeTierBytes, fulaPerGibMonth) => {
        const units = hourlyFee(bytes, { freeTierBytes, fulaPerGibMonth });
        const over = bytes > freeTierBytes ? bytes - freeTierBytes : 0n;
        const byteHours = 2n ** 30n * 720n;
        const twiceError = 2n * (units * byteHours - over * fulaPerGibMonth);
        const size = twiceError < 0n ? -twiceError : twiceError;
        expect(size <= byteHours).toBe(true);
        expect(size < byteHours || units % 2n === 0n).toBe(true);
      }),
      property(1_000),
    );
  });

  test("never falls when more is stored", () => {
    fc.assert(
      fc.property(anyBytes, anyBytes, anyBytes, anyPrice, (one, other, freeTierBytes, fulaPerGibMonth) => {
        const [less, more] = one < other ? [one, other] : [other, one];
        const policy = { freeTierBytes, fulaPerGibMonth };
        expect(hourlyFee(less, policy) <= hourlyFee(more, policy)).toBe(true);
      }),
      property(),
    );
  });
});
