import { describe, expect, test } from "vitest";
import { parseUnits } from "../../../src/lib/billing/money.ts";
import { bonusUnits } from "../../../src/lib/billing/referrals.ts";

describe("a referral bonus", () => {
  test.each([
    [1, "100", "10"],
    [2, "100", "1"],
    [3, "100", "1"],
    [4, "100", "0"],
    [1, "0.000000000000000005", "0"],
    [1, "0.000000000000000015", "0.000000000000000002"],
    [1, "0.000000000000000016", "0.000000000000000002"],
    [1, "0.000000000000000025", "0.000000000000000002"],
    [2, "0.00000000000000025", "0.000000000000000002"],
    [2, "0.00000000000000035", "0.000000000000000004"],
    [1, "12345678901234567890.123456789012345678", "1234567890123456789.012345678901234568"],
  ])("of level %i for a deposit of %s is %s, halves rounded to even", (level, amount, bonus) => {
    expect(bonusUnits(parseUnits(amount), level)).toBe(parseUnits(bonus));
  });
});
