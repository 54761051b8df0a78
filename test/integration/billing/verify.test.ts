import { describe, expect, test } from "vitest";
import { verifyLedger } from "../../../src/lib/billing/verify.ts";
import { freshDatabase } from "../../support/postgres.ts";

describe("an untouched ledger", () => {
  test("verifies, and says what could not be looked at", async () => {
    await using database = await freshDatabase();
    const verdict = await verifyLedger(database.pool);
    expect(verdict).toMatchObject({ ok: true, mode: null, since: null, looked: { accounts: 0, entries: 0, hours: 0 } });
  });
});
