import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { withTransaction } from "../../../src/lib/postgres/transaction.ts";
import { freshDatabase, type TestDatabase } from "../../support/postgres.ts";
import { until } from "../../support/until.ts";

let database: TestDatabase;

beforeEach(async () => {
  database = await freshDatabase();
});
afterEach(async () => {
  await database.drop();
});

const LINK = `insert into user_wallets (user_id, chain_id, wallet_address_hash, is_verified) values ($1, $2, $3, $4)
  on conflict (user_id, wallet_address_hash, chain_id) do update set is_verified = excluded.is_verified`;
const TAKEN = { code: "23505", constraint: "wallet_owners_pkey" };

async function link(user: string, chain: number, wallet: string, verified = 1): Promise<void> {
  await database.pool.query(LINK, [user, chain, wallet, verified]);
}

async function owners(): Promise<readonly object[]> {
  const { rows } = await database.pool.query<object>(
    "select wallet_address_hash as wallet, user_id as owner from wallet_owners order by 1",
  );
  return rows;
}

describe("a verified wallet (defect 6)", () => {
  test("belongs to one user, on all chains", async () => {
    await link("ada", 1, "w");
    await link("ada", 8453, "w");
    await expect(link("bob", 8453, "w")).rejects.toMatchObject(TAKEN);
    expect(await owners()).toEqual([{ wallet: "w", owner: "ada" }]);
  });

  test("that is claimed and not verified belongs to nobody", async () => {
    await link("bob", 1, "w", 0);
    await link("ada", 1, "w");
    await expect(link("bob", 1, "w")).rejects.toMatchObject(TAKEN);
    expect(await owners()).toEqual([{ wallet: "w", owner: "ada" }]);
  });

  test("is free again when its last verified row goes, by delete, by update, or by moving to another user", async () => {
    await link("ada", 1, "w");
    await link("ada", 8453, "w");
    await database.pool.query("delete from user_wallets where chain_id = 1");
    expect(await owners()).toEqual([{ wallet: "w", owner: "ada" }]);
    await database.pool.query("update user_wallets set is_verified = 0");
    expect(await owners()).toEqual([]);
    await link("bob", 1, "w");
    await database.pool.query("update user_wallets set user_id = 'eve' where user_id = 'bob'");
    expect(await owners()).toEqual([{ wallet: "w", owner: "eve" }]);
    await database.pool.query("update user_wallets set wallet_address_hash = 'v' where user_id = 'eve'");
    expect(await owners()).toEqual([{ wallet: "v", owner: "eve" }]);
  });

  test("two users who verify it at the same time: one wins, the other is refused", async () => {
    const users = Array.from({ length: 8 }, (_, index) => `user${index}`);
    const outcomes = await Promise.allSettled(
      users.map(async (user) => {
        await link(user, 1, "w");
      }),
    );
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const outcome of outcomes) if (outcome.status === "rejected") expect(outcome.reason).toMatchObject(TAKEN);
    expect(await owners()).toHaveLength(1);
  });

  test("its two rows removed at the same time leave no owner behind", async () => {
    await link("ada", 1, "w");
    await link("ada", 8453, "w");
    const firstDeleted = Promise.withResolvers<void>();
    const bothDeleted = Promise.withResolvers<void>();
    const first = withTransaction(database.pool, async (client) => {
      await client.query("delete from user_wallets where chain_id = 1");
      firstDeleted.resolve();
      await bothDeleted.promise;
    });
    await firstDeleted.promise;
    const second = database.pool.query("delete from user_wallets where chain_id = 8453");
    await until("the second waits for the first", async () => {
      const { rowCount } = await database.pool.query(
        "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
      );
      return rowCount === 1;
    });
    bothDeleted.resolve();
    await Promise.all([first, second]);
    expect(await owners()).toEqual([]);
  });
});
