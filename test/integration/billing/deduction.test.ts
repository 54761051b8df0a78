import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { standingAlerts } from "../../../src/lib/billing/alerts.ts";
import { runDeduction } from "../../../src/lib/billing/deduction.ts";
import { hourlyFee } from "../../../src/lib/billing/fee.ts";
import { formatHour, hourKey } from "../../../src/lib/billing/hour.ts";
import { formatUnits, parseUnits } from "../../../src/lib/billing/money.ts";
import { freshDatabase, type TestDatabase } from "../../support/postgres.ts";
import {
  currentHour,
  deductionDeps,
  fillUnbilledLedger,
  GIB,
  readBooks,
  unbalanced,
  userId,
} from "../../support/unbilled-ledger.ts";

const POLICY = { freeTierBytes: 524_288_000n, fulaPerGibMonth: parseUnits("3") };
const feeOf = (bytes: bigint): bigint => hourlyFee(bytes, POLICY);

let database: TestDatabase;
beforeEach(async () => {
  database = await freshDatabase();
});
afterEach(async () => {
  await database.drop();
});

describe("a look for unbilled hours", () => {
  test("bills every hour that was missed, each by what was stored at its end, and never the one that runs", async () => {
    const { pool } = database;
    const first = await fillUnbilledLedger(pool, 3, [
      { name: "steady", balance: "100", bytes: [10n * GIB] },
      { name: "growing", balance: "100", bytes: [GIB, 4n * GIB, 2n * GIB] },
      { name: "free", balance: "0", bytes: [524_288_000n] },
      { name: "late", balance: "1", bytes: [0n, 0n, GIB] },
    ]);

    const report = await runDeduction(deductionDeps(pool));

    expect(report.waitingFor).toBeNull();
    expect(report.hours.map(({ hour, state, users }) => [hour - first, state, users])).toEqual([
      [0, "done", 2],
      [1, "done", 2],
      [2, "done", 3],
    ]);
    expect(report.hours[1]?.sumUnits).toBe(feeOf(10n * GIB) + feeOf(4n * GIB));
    const books = await readBooks(pool, ["steady", "growing", "free", "late"]);
    const key = (index: number): string => hourKey(first + index);
    const fee = (bytes: bigint): string => formatUnits(feeOf(bytes));
    expect(books["steady"]?.fees).toEqual([0, 1, 2].map((index) => [key(index), fee(10n * GIB)]));
    expect(books["growing"]?.fees).toEqual([
      [key(0), fee(GIB)],
      [key(1), fee(4n * GIB)],
      [key(2), fee(2n * GIB)],
    ]);
    expect(books["free"]).toEqual({ balance: "0", isSuspended: false, fees: [] });
    expect(books["late"]?.fees).toEqual([[key(2), fee(GIB)]]);
    expect(await unbalanced(pool)).toEqual([]);
    expect((await runDeduction(deductionDeps(pool))).hours).toEqual([]);
  });
});
