import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { adjustUser } from "../../../src/lib/billing/adjustments.ts";
import { creditUser } from "../../../src/lib/billing/credits.ts";
import { formatUnits, parseUnits } from "../../../src/lib/billing/money.ts";
import { reverseDeposit } from "../../../src/lib/billing/reversals.ts";
import { verifyLedger } from "../../../src/lib/billing/verify.ts";
import type { Pool } from "../../../src/lib/postgres/pool.ts";
import { freshDatabase, type TestDatabase } from "../../support/postgres.ts";
import { property } from "../../support/property.ts";
import {
  accountOf,
  adjustment,
  deposit,
  emptyBooks,
  entriesOf,
  refer,
  userId,
  widePool,
  wrongAccounts,
} from "./ledger.ts";

const WORDS = { reason: "the chain dropped the block", operator: "tester" };

let database: TestDatabase;
let pool: Pool;
beforeAll(async () => {
  database = await freshDatabase();
  pool = widePool(database, 16);
});
afterAll(async () => {
  await pool.end();
  await database.drop();
});
beforeEach(async () => {
  await emptyBooks(pool);
});

describe("a deposit that is taken back", () => {
  test("takes every bonus that it brought along, exactly, and leaves other deposits alone", async () => {
    await refer(pool, "bob", "ada");
    await refer(pool, "cid", "bob");
    await creditUser(pool, deposit("ada", "1", "1:0xaa:0"));
    const { entryId } = await creditUser(pool, deposit("ada", "0.333333333333333335", "1:0xab:0"));
    const outcome = await reverseDeposit(pool, { deposit: { entryId }, ...WORDS });
    expect(outcome).toMatchObject({ applied: true, userId: userId("ada"), balanceUnits: parseUnits("1") });
    expect(outcome.bonuses.map(({ userId: user, amountUnits }) => [user, formatUnits(amountUnits)])).toEqual([
      [userId("bob"), "0.033333333333333334"],
      [userId("cid"), "0.003333333333333333"],
    ]);
    expect(await accountOf(pool, "bob")).toMatchObject({ balance: "0.1", bonus: "0.1" });
    expect(await accountOf(pool, "cid")).toMatchObject({ balance: "0.01", bonus: "0.01" });
    expect((await entriesOf(pool, "ada")).at(-1)).toEqual({
      type: "adjustment",
      amount: "-0.333333333333333335",
      balanceAfter: "1",
      reference: `reversal:${entryId}`,
    });
    expect(await wrongAccounts(pool)).toEqual([]);
  });

  test("sixteen times at once is taken back once", async () => {
    await refer(pool, "bob", "ada");
    await creditUser(pool, deposit("ada", "5", "1:0xab:0"));
    const outcomes = await Promise.all(
      Array.from(
        { length: 16 },
        async () => await reverseDeposit(pool, { deposit: { reference: "1:0xAB:0" }, ...WORDS }),
      ),
    );
    expect(outcomes.filter(({ applied }) => applied).length).toBe(1);
    expect(new Set(outcomes.map(({ reversalEntryId }) => reversalEntryId)).size).toBe(1);
    expect(await accountOf(pool, "ada")).toMatchObject({ balance: "0" });
    expect(await accountOf(pool, "bob")).toMatchObject({ balance: "0", bonus: "0" });
    const { rows } = await pool.query("select reason, operator from credit_notes");
    expect(rows).toEqual([WORDS]);
  });

  test("suspends whom it takes below zero, depositor and referrer alike", async () => {
    await refer(pool, "bob", "ada");
    const { entryId } = await creditUser(pool, deposit("ada", "5", "1:0xab:0"));
    await adjustUser(pool, adjustment("ada", "-1"));
    await adjustUser(pool, adjustment("bob", "-0.4"));
    await reverseDeposit(pool, { deposit: { entryId }, ...WORDS });
    expect(await accountOf(pool, "ada")).toMatchObject({ balance: "-1", suspended: true, since: expect.any(Date) });
    expect(await accountOf(pool, "bob")).toMatchObject({ balance: "-0.4", suspended: true });
  });

  test("is not credited again by whoever finds it once more on the chain", async () => {
    const { entryId } = await creditUser(pool, deposit("ada", "5", "1:0xab:0"));
    await reverseDeposit(pool, { deposit: { entryId }, ...WORDS });
    expect(await creditUser(pool, deposit("ada", "5", "1:0xab:0"))).toMatchObject({ applied: false });
    expect(await accountOf(pool, "ada")).toMatchObject({ balance: "0" });
  });

  test("of the fleet's own making, whose reference has no log index and whose bonus says it in words, goes as well", async () => {
    await pool.query(
      "insert into user_credits (user_id, balance_fula, total_deposited_fula, total_bonus_received_fula) values ($1, 10, 10, 0), ($2, 1, 0, 1)",
      [userId("ada"), userId("bob")],
    );
    await pool.query(
      `insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id)
       values ($1, 'deposit', 10, 10, '8453:0xab'),
              ($2, 'referral_bonus', 1, 1, $3)`,
      [userId("ada"), userId("bob"), `'10%' bonus referral code 'BOB' > 'BOB' for '${userId("ada")}' level '1'`],
    );
    await pool.query(
      `insert into referral_bonuses (credit_history_id, recipient_user_id, recipient_referral_code, source_credit_history_id,
                                     source_user_id, source_referral_code, level, bonus_amount_fula, source_amount_fula)
       values (2, $2, 'BOB', 1, $1, 'BOB', 1, 1, 10)`,
      [userId("ada"), userId("bob")],
    );
    await reverseDeposit(pool, { deposit: { reference: "8453:0xab" }, ...WORDS });
    expect(await accountOf(pool, "ada")).toMatchObject({ balance: "0" });
    expect(await accountOf(pool, "bob")).toMatchObject({ balance: "0", bonus: "0" });
    expect(await wrongAccounts(pool)).toEqual([]);
  });

  test("leaves books that billing verify finds right in everything that it says of accounts and credits", async () => {
    await refer(pool, "bob", "ada");
    await refer(pool, "cid", "bob");
    const { entryId } = await creditUser(pool, deposit("ada", "100.000000000000000007", "1:0xaa:0"));
    await creditUser(pool, deposit("bob", "3", "1:0xab:0"));
    await adjustUser(pool, adjustment("cid", "-7"));
    await reverseDeposit(pool, { deposit: { entryId }, ...WORDS });
    const { checks } = await verifyLedger(pool);
    const wrong = checks.filter(({ ok }) => !ok).map(({ name, examples }) => ({ name, examples }));
    // These deposits were made up: no scan has found them on a chain.
    expect(wrong.filter(({ name }) => name !== "deposits")).toEqual([]);
    const names = checks.map(({ name }) => name);
    expect(names).toEqual(
      expect.arrayContaining([
        "balances",
        "running-balances",
        "totals",
        "duplicates",
        "bonuses",
        "adjustments",
        "reversals",
      ]),
    );
  });

  test("of nobody is refused, and so is an adjustment, and nothing is changed", async () => {
    await pool.query(
      "insert into credit_history (tx_type, amount_fula, balance_after, reference_id) values ('deposit', 10, 10, '1:0xab')",
    );
    const refused = { code: "FULA_REVERSAL_REFUSED" };
    await expect(reverseDeposit(pool, { deposit: { entryId: 1n }, ...WORDS })).rejects.toMatchObject(refused);
    const { entryId } = await adjustUser(pool, adjustment("ada", "5"));
    await expect(reverseDeposit(pool, { deposit: { entryId }, ...WORDS })).rejects.toMatchObject(refused);
    await expect(reverseDeposit(pool, { deposit: { reference: "1:0xff" }, ...WORDS })).rejects.toMatchObject({
      code: "FULA_ENTRY_NOT_FOUND",
    });
    expect((await entriesOf(pool, "ada")).length).toBe(1);
  });
});

describe("whatever is credited, corrected and taken back, several at a time", () => {
  const NAMES = ["a", "b", "c", "d", "e"];
  const amounts = fc.bigInt({ min: 1n, max: parseUnits("1000") });
  const references = fc.integer({ min: 0, max: 11 });
  const acts = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        act: fc.constant("deposit" as const),
        who: fc.nat(4),
        amount: amounts,
        reference: references,
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        act: fc.constant("adjust" as const),
        who: fc.nat(4),
        amount: amounts,
        reference: references,
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        act: fc.constant("reverse" as const),
        who: fc.nat(4),
        amount: amounts,
        reference: references,
      }),
    },
  );
  type Act = typeof acts extends fc.Arbitrary<infer T> ? T : never;

  async function run({ act, who, amount, reference }: Act): Promise<string> {
    const name = NAMES[who] ?? "";
    const userAmount = formatUnits(amount);
    try {
      if (act === "deposit") {
        const { applied } = await creditUser(pool, deposit(name, userAmount, `1:0x${reference}:0`));
        return applied ? "done" : "repeated";
      }
      if (act === "adjust") {
        const key = `${reference}`;
        const { applied } = await adjustUser(
          pool,
          adjustment(name, reference % 2 === 0 ? userAmount : `-${userAmount}`, key),
        );
        return applied ? "done" : "repeated";
      }
      const { applied } = await reverseDeposit(pool, { deposit: { reference: `1:0x${reference}:0` }, ...WORDS });
      return applied ? "done" : "repeated";
    } catch (error) {
      const code = error instanceof Error && "code" in error ? String(error.code) : "";
      if (code !== "FULA_CREDIT_REFERENCE_TAKEN" && code !== "FULA_ENTRY_NOT_FOUND") throw error;
      return code;
    }
  }

  test("every balance is the sum of its entries, each reference is there once, and bonuses are what deposits left of them", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(4), fc.nat(4)), { maxLength: 6 }),
        fc.array(fc.array(acts, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 8 }),
        async (referrals, rounds) => {
          await emptyBooks(pool);
          const brought = new Set<number>();
          for (const [referrer, referred] of referrals) {
            if (brought.has(referred)) continue;
            brought.add(referred);
            await refer(pool, NAMES[referrer] ?? "", NAMES[referred] ?? "");
          }
          const outcomes: string[] = [];
          for (const round of rounds) outcomes.push(...(await Promise.all(round.map(run))));
          expect(await wrongAccounts(pool)).toEqual([]);
          const { rows } = await pool.query<{ gates: string; twice: string; bonuses: string; owed: string }>(
            `select count(*) filter (where tx_type = 'deposit' or tx_type = 'adjustment') as gates,
                    count(*) - count(distinct reference_id) as twice,
                    coalesce(sum(amount_fula) filter (where tx_type = 'referral_bonus'), 0) as bonuses,
                    (select coalesce(sum(b.bonus_amount_fula), 0) from referral_bonuses b
                      where not exists (select from credit_history r
                                         where r.reference_id = 'reversal:' || b.source_credit_history_id)) as owed
               from credit_history`,
          );
          const [sums] = rows;
          expect(sums).toMatchObject({
            gates: String(outcomes.filter((outcome) => outcome === "done").length),
            twice: "0",
          });
          expect(parseUnits(sums?.bonuses ?? "")).toBe(parseUnits(sums?.owed ?? ""));
        },
      ),
      property(15),
    );
  });
});
