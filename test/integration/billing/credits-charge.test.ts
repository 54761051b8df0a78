import { expect, test } from "vitest";
import { adjustUser } from "../../../src/lib/billing/adjustments.ts";
import { chargeShard, openShards } from "../../../src/lib/billing/charge.ts";
import { creditUser } from "../../../src/lib/billing/credits.ts";
import { hourlyFee } from "../../../src/lib/billing/fee.ts";
import { formatHour, hourOf } from "../../../src/lib/billing/hour.ts";
import { completeHour, openHour } from "../../../src/lib/billing/hours.ts";
import { formatUnits, parseUnits } from "../../../src/lib/billing/money.ts";
import { reverseDeposit } from "../../../src/lib/billing/reversals.ts";
import { freshDatabase } from "../../support/postgres.ts";
import { until } from "../../support/until.ts";
import { accountOf, adjustment, deposit, refer, userId, widePool, wrongAccounts } from "./ledger.ts";

const POLICY = { freeTierBytes: 524_288_000n, fulaPerGibMonth: parseUnits("3"), whileSuspended: "accrue" } as const;
const BYTES = 10n * 2n ** 30n;
const HOURS = 6;
const ROUNDS = 12;

test("hours that are charged while the same accounts are credited, corrected and taken back from wait for them, and all adds up", async () => {
  await using database = await freshDatabase();
  const pool = widePool(database, 16);
  const names = ["a", "b", "c", "d", "e", "f", "g", "h"];
  for (const [index, name] of names.entries()) {
    await refer(pool, names[(index + 1) % names.length] ?? "", name);
    // The user who was there last has the lowest id, so that who credits and who charges begin at different ends.
    await creditUser(pool, { ...deposit(names.at(-1 - index) ?? "", "1", `1:0x${index}:9`), referralBonuses: false });
  }
  await pool.query("insert into user_usage (account_id, bytes) select id, $1 from user_credits", [BYTES.toString()]);
  const first = hourOf(Date.parse("2026-06-12T00:00:00Z"));
  const writer = { node: "test", fence: null };
  await pool.query("insert into billing_mode (mode, first_hour, changed_by) values ('keyed', $1, 'test')", [
    formatHour(first),
  ]);
  await pool.query("update usage_clock set closed_through = $1", [formatHour(first + HOURS)]);

  const charge = async (): Promise<void> => {
    for (let hour = first; hour < first + HOURS; hour += 1) {
      await openHour(pool, hour, { basis: "completed", policy: POLICY }, writer);
      // As the deduction does: an hour is begun when the one before it is done, whoever does it.
      await until("the hour is charged", async () => {
        const { shards } = await openShards(pool, hour);
        for (const shard of shards) await chargeShard(pool, hour, shard, writer);
        return shards.length === 0;
      });
      await completeHour(pool, hour, writer);
    }
  };
  const credit = async (name: string, index: number): Promise<void> => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const { entryId } = await creditUser(pool, deposit(name, "100", `1:0x${index}:${round}00`));
      await adjustUser(pool, adjustment(name, "-1"));
      if (round % 2 === 1) await reverseDeposit(pool, { deposit: { entryId }, reason: "a test", operator: "tester" });
    }
  };
  await Promise.all([charge(), charge(), ...names.map(credit)]);

  const fees = hourlyFee(BYTES, POLICY) * BigInt(HOURS);
  // Half of the deposits stay, with the bonuses of those of three others: 10, 1 and 1 percent.
  const balance = formatUnits(
    parseUnits("1") + parseUnits("112") * BigInt(ROUNDS / 2) - parseUnits("1") * BigInt(ROUNDS) - fees,
  );
  const accounts = await Promise.all(names.map(async (name) => await accountOf(pool, name)));
  expect(accounts).toMatchObject(names.map(() => ({ balance })));
  expect(await wrongAccounts(pool)).toEqual([]);
  const { rows } = await pool.query<{ user_id: string; fees: string }>(
    "select user_id, count(*) as fees from credit_history where tx_type = 'hourly_deduction' group by user_id order by user_id",
  );
  expect(rows).toEqual(
    names
      .map((name) => ({ user_id: userId(name), fees: String(HOURS) }))
      .toSorted((x, y) => (x.user_id < y.user_id ? -1 : 1)),
  );
  await pool.end();
});
