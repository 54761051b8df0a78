import { expect, test } from "vitest";
import { migrateDown, migrateUp } from "../../../src/lib/postgres/migrator.ts";
import { emptyDatabase } from "../../support/postgres.ts";
import { allPins, historyFaults, keptUsage, usageOf } from "../../support/usage.ts";

const PINS = `
  insert into pins (requestid, user_id, cid, size, status)
  select 'request-' || i,
         nullif('user' || i % 5, 'user4'),
         'bafy' || i % 11,
         i % 7 - 1,
         (array['pinned', 'pinned', 'queued', 'failed', 'deleted'])[i / 5 % 5 + 1]
    from generate_series(1, 400) as i`;

test("028 finds what is stored already, and goes up, down and up again over it", async () => {
  await using database = await emptyDatabase();
  const { pool } = database;
  await migrateUp(pool, { to: 27 });
  await pool.query("insert into user_credits (user_id, balance_fula) values ('user1', 5), (null, 1), ('nobody', 2)");
  await pool.query(PINS);
  await pool.query("update pins set size = 9223372036854775807 where user_id = 'user1' and status = 'pinned'");
  for (const round of ["first", "second"]) {
    await migrateUp(pool, { to: 28 });
    const stored = new Map(usageOf(await allPins(pool)));
    // More than can be added up counts as the most that can.
    stored.set("user1", 2n ** 63n - 1n);
    expect([round, await keptUsage(pool)]).toEqual([round, stored]);
    expect(await historyFaults(pool)).toEqual([]);
    const { rows } = await pool.query(
      "select count(*) as accounts, sum(balance_fula) as balance, (select count(*) from user_usage) as known from user_credits",
    );
    expect(rows).toEqual([{ accounts: "6", balance: "8.000000000000000000", known: "5" }]);
    await pool.query("delete from pins where user_id = 'user1'");
    expect((await keptUsage(pool)).has("user1")).toBe(false);
    await pool.query("update pins set user_id = 'user1' where user_id = 'user0' and status = 'pinned'");
    expect(await keptUsage(pool)).toEqual(usageOf(await allPins(pool)));
    await pool.query("update pins set size = 9223372036854775807 where user_id = 'user1' and status = 'pinned'");
    await migrateDown(pool, { force: true });
  }
});
