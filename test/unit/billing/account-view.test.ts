import { describe, expect, test } from "vitest";
import { type AccountFacts, viewAccount } from "../../../src/lib/billing/account-view.ts";
import { parseUnits } from "../../../src/lib/billing/money.ts";

const FREE = 524_288_000n;
const GIB = 2n ** 30n;
const POLICY = { freeTierBytes: FREE, fulaPerGibMonth: parseUnits("3") };

function facts(storedBytes: bigint, balance: string, isSuspended = false): AccountFacts {
  return {
    accountId: 1n,
    userId: "a".repeat(64),
    storedBytes,
    balanceUnits: parseUnits(balance),
    totalDepositedUnits: 0n,
    totalDeductedUnits: 0n,
    totalBonusUnits: 0n,
    isSuspended,
    suspendedAt: null,
    createdAt: null,
  };
}

describe("whether an account may upload", () => {
  test.each([
    [FREE - 1n, "0", false, true, "under the free tier, whatever the balance"],
    [FREE - 1n, "-1", false, true, "under the free tier, whatever the balance"],
    [FREE, "0", false, false, "the free tier is used up, and nothing is there to pay with"],
    [FREE, "0.000000000000000001", false, true, "the smallest balance pays"],
    [FREE + 1n, "-1", false, false, "the balance is below zero"],
    [0n, "0", true, false, "suspended, although under the free tier"],
    [FREE + 1n, "100", true, false, "suspended, although there is a balance"],
  ])("with %s bytes, a balance of %s and suspended %s: %s (%s)", (bytes, balance, isSuspended, canUpload) => {
    expect(viewAccount(facts(bytes, balance, isSuspended), POLICY).canUpload).toBe(canUpload);
  });
});

describe("what an account has and costs", () => {
  test("is the free tier and what its balance pays for a month, and what it stores beyond", () => {
    expect(viewAccount(facts(FREE + 10n * GIB, "4.5"), POLICY)).toMatchObject({
      freeTierBytes: FREE,
      paidBytes: (3n * GIB) / 2n,
      availableBytes: FREE + (3n * GIB) / 2n,
      monthlyBurnUnits: parseUnits("30"),
      isConsuming: true,
    });
  });

  test("is nothing below the free tier, and a balance below zero pays for nothing", () => {
    expect(viewAccount(facts(FREE, "-4.5"), POLICY)).toMatchObject({
      paidBytes: 0n,
      availableBytes: FREE,
      monthlyBurnUnits: 0n,
      isConsuming: false,
    });
  });

  test("has no end where bytes cost nothing", () => {
    const view = viewAccount(facts(FREE + GIB, "1"), { ...POLICY, fulaPerGibMonth: 0n });
    expect(view).toMatchObject({ paidBytes: null, availableBytes: null, monthlyBurnUnits: 0n });
  });
});
