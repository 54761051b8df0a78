import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { readAccount } from "../../../src/lib/billing/account-view.ts";
import { adjustUser } from "../../../src/lib/billing/adjustments.ts";
import { type HistoryPage, readCreditHistory } from "../../../src/lib/billing/credit-history.ts";
import { creditUser } from "../../../src/lib/billing/credits.ts";
import { parseUnits } from "../../../src/lib/billing/money.ts";
import { listSuspended } from "../../../src/lib/billing/suspended.ts";
import { freshDatabase, type TestDatabase } from "../../support/postgres.ts";
import { adjustment, deposit, emptyBooks, userId } from "./ledger.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(async () => {
  await database.drop();
});
beforeEach(async () => {
  await emptyBooks(database.pool);
});

async function page(question: { page?: number; limit?: number; cursor?: string | null }): Promise<HistoryPage> {
  return await readCreditHistory(database.pool, userId("ada"), { page: 1, limit: 2, ...question });
}

function idsOf({ entries }: HistoryPage): readonly bigint[] {
  return entries.map(({ entryId }) => entryId);
}

/** Entries 1 to 5, some of one time and one that came before the others but waited; then one of somebody else. */
async function someEntries(): Promise<void> {
  await database.pool.query(
    `insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id, created_at, usage_bytes)
     select $1, 'hourly_deduction', -0.25, n, 'hour:2026-06-12T1' || n, t, 1000 * n
       from unnest(array[1, 2, 3, 4, 5],
                   array['2026-06-12T10:00:00Z', '2026-06-12T10:00:00Z', '2026-06-12T10:00:00Z', '2026-06-12T09:59:59Z',
                         '2026-06-12T11:00:00Z']::timestamptz[]) as e (n, t)`,
    [userId("ada")],
  );
  await creditUser(database.pool, deposit("bob", "1", "1:0xab:0"));
}

describe("an account's history", () => {
  test("is read by pages, the newest first, in the order in which balances follow from each other", async () => {
    await someEntries();
    expect(idsOf(await page({}))).toEqual([5n, 4n]);
    expect(idsOf(await page({ page: 2 }))).toEqual([3n, 2n]);
    expect(await page({ page: 3 })).toMatchObject({ total: 5, page: 3, limit: 2, nextCursor: null });
    expect(idsOf(await page({ page: 3 }))).toEqual([1n]);
    expect(await page({ page: 4 })).toMatchObject({ entries: [], total: 5, nextCursor: null });
  });

  test("goes on by its cursor where the page before ended, whatever comes in meanwhile", async () => {
    await someEntries();
    const first = await page({});
    await creditUser(database.pool, deposit("ada", "1", "1:0xcd:0"));
    const second = await page({ cursor: first.nextCursor });
    const third = await page({ cursor: second.nextCursor });
    expect([idsOf(first), idsOf(second), idsOf(third)]).toEqual([[5n, 4n], [3n, 2n], [1n]]);
    expect(third).toMatchObject({ total: 6, nextCursor: null });
    // By its number alone, the second page has moved.
    expect(idsOf(await page({ page: 2 }))).toEqual([4n, 3n]);
  });

  test("has exact amounts, the bytes of a fee, and the note of an operator", async () => {
    await someEntries();
    await adjustUser(database.pool, adjustment("ada", "0.000000000000000001", "k"));
    const { entries } = await page({ limit: 2 });
    expect(entries).toEqual([
      {
        entryId: 7n,
        type: "adjustment",
        amountUnits: 1n,
        balanceAfterUnits: 1n,
        reference: "adjustment:k",
        createdAt: expect.any(Date),
        usageBytes: null,
        note: { operator: "tester", reason: "a test" },
      },
      {
        entryId: 5n,
        type: "hourly_deduction",
        amountUnits: parseUnits("-0.25"),
        balanceAfterUnits: parseUnits("5"),
        reference: "hour:2026-06-12T15",
        createdAt: new Date("2026-06-12T11:00:00Z"),
        usageBytes: 5000n,
        note: null,
      },
    ]);
  });

  test.each([
    ["a page below one", { page: 0 }],
    ["a page that is no whole number", { page: 1.5 }],
    ["more than a hundred entries", { limit: 101 }],
    ["no entries", { limit: 0 }],
    ["a cursor of somebody's own", { cursor: "1'; drop" }],
  ])("is refused for %s", async (_what, question) => {
    await expect(page(question)).rejects.toMatchObject({ code: "FULA_HISTORY_PAGE" });
  });
});

describe("an account", () => {
  const POLICY = { freeTierBytes: 524_288_000n, fulaPerGibMonth: parseUnits("3") };

  test("that nobody has met is empty and may upload", async () => {
    expect(await readAccount(database.pool, userId("ada"), POLICY)).toMatchObject({
      accountId: null,
      storedBytes: 0n,
      balanceUnits: 0n,
      isSuspended: false,
      canUpload: true,
    });
  });

  test("is read with what it stores and its exact totals, in one statement", async () => {
    await creditUser(database.pool, deposit("ada", "10000000.000000000000000001", "1:0xab:0"));
    await database.pool.query(
      "insert into user_usage (account_id, bytes) select id, 9007199254740993 from user_credits",
    );
    expect(await readAccount(database.pool, userId("ada"), POLICY)).toMatchObject({
      accountId: 1n,
      storedBytes: 9_007_199_254_740_993n,
      balanceUnits: parseUnits("10000000.000000000000000001"),
      totalDepositedUnits: parseUnits("10000000.000000000000000001"),
      isConsuming: true,
      canUpload: true,
    });
  });

  test("that is suspended is listed, those of longest standing first, and all are counted", async () => {
    await database.pool.query(
      `insert into user_credits (user_id, balance_fula, is_suspended, suspended_at)
       values ('a', -1, 1, '2026-11-02'), ('b', -2, 1, '2026-11-01'), ('c', 5, 0, null), ('d', -3, 1, null)`,
    );
    const { accounts, total } = await listSuspended(database.pool, 2);
    expect(accounts).toEqual([
      { userId: "d", balanceUnits: parseUnits("-3"), storedBytes: 0n, suspendedAt: null },
      { userId: "b", balanceUnits: parseUnits("-2"), storedBytes: 0n, suspendedAt: new Date("2026-11-01") },
    ]);
    expect(total).toBe(3);
  });
});
