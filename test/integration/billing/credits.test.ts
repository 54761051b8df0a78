import { describe, expect, test } from "vitest";
import { adjustUser } from "../../../src/lib/billing/adjustments.ts";
import { creditUser } from "../../../src/lib/billing/credits.ts";
import { parseUnits } from "../../../src/lib/billing/money.ts";
import { freshDatabase } from "../../support/postgres.ts";
import { accountOf, deposit, entriesOf, refer, userId } from "./ledger.ts";

describe("a deposit", () => {
  test("makes the account, and the entry says what the balance was after it", async () => {
    await using database = await freshDatabase();
    const outcome = await creditUser(database.pool, deposit("ada", "12.5", "8453:0xAB:3"));
    expect(outcome).toMatchObject({ applied: true, balanceUnits: parseUnits("12.5"), bonuses: [] });
    expect(await entriesOf(database.pool, "ada")).toEqual([
      { type: "deposit", amount: "12.5", balanceAfter: "12.5", reference: "8453:0xab:3" },
    ]);
    expect(await accountOf(database.pool, "ada")).toEqual({
      balance: "12.5",
      opening: "0",
      deposited: "12.5",
      bonus: "0",
      suspended: false,
      since: null,
    });
  });
});
