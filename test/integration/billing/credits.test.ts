import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { adjustUser } from "../../../src/lib/billing/adjustments.ts";
import { creditUser, creditUsersTx } from "../../../src/lib/billing/credits.ts";
import { parseUnits } from "../../../src/lib/billing/money.ts";
import type { Pool } from "../../../src/lib/postgres/pool.ts";
import { withTransaction } from "../../../src/lib/postgres/transaction.ts";
import { freshDatabase, type TestDatabase } from "../../support/postgres.ts";
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

const CONNECTIONS = 32;

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

async function countRows(pool: Pool, table: string): Promise<number> {
  const { rows } = await pool.query<{ count: string }>(`select count(*) from ${table}`);
  return Number(rows[0]?.count);
}

/** The same client or pool, whose method `name` is called as before; `after` is told each time, and may throw. */
function watched<T extends object>(
  inner: T,
  name: string,
  after: (result: unknown, args: readonly unknown[]) => unknown,
): T {
  return new Proxy(inner, {
    get: (target, property) => {
      const value: unknown = Reflect.get(target, property);
      if (typeof value !== "function") return value;
      if (property !== name) return value.bind(target);
      return async (...args: readonly unknown[]): Promise<unknown> => {
        const result: unknown = await Reflect.apply(value, target, args);
        return (await after(result, args)) ?? result;
      };
    },
  });
}

/** In one transaction that is not run again: a deadlock shows. */
async function creditWithoutRetry(pool: Pool, ...credits: Parameters<typeof creditUsersTx>[1]): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query("begin");
    await creditUsersTx(client, credits);
    await client.query("commit");
  } catch (error) {
    await client.query("rollback");
    throw error;
  } finally {
    client.release();
  }
}

describe("a deposit", () => {
  test("makes the account, and the entry says what the balance was after it", async () => {
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

  test("that comes again, in any case of its letters, changes nothing and says so", async () => {
    await refer(database.pool, "bob", "ada");
    const first = await creditUser(database.pool, deposit("ada", "3", "1:0xab:0"));
    await adjustUser(database.pool, adjustment("ada", "1"));
    const again = await creditUser(database.pool, deposit("ada", "3", "1:0xAB:0"));
    expect(again).toEqual({ entryId: first.entryId, balanceUnits: parseUnits("3"), bonuses: [], applied: false });
    expect(await accountOf(database.pool, "ada")).toMatchObject({ balance: "4", deposited: "3" });
    expect(await accountOf(database.pool, "bob")).toMatchObject({ balance: "0.3" });
  });

  test.each([
    ["another amount", deposit("ada", "3.000000000000000001", "1:0xab:0")],
    ["another user", deposit("eve", "3", "1:0xab:0")],
  ])("whose reference stands for %s is refused, and nothing changes", async (_what, second) => {
    await creditUser(database.pool, deposit("ada", "3", "1:0xab:0"));
    await expect(creditUser(database.pool, second)).rejects.toMatchObject({
      code: "FULA_CREDIT_REFERENCE_TAKEN",
      message: expect.stringContaining(`stands for 3 FULA of user ${userId("ada")}`),
    });
    expect(await accountOf(database.pool, "ada")).toMatchObject({ balance: "3" });
    expect(await accountOf(database.pool, "eve")).toBe(null);
    expect(await countRows(database.pool, "credit_history")).toBe(1);
  });

  test.each(["0", "-1"])("of %s is refused", async (amount) => {
    await expect(creditUser(database.pool, deposit("ada", amount, "1:0xab:0"))).rejects.toMatchObject({
      code: "FULA_AMOUNT_INVALID",
    });
    expect(await accountOf(database.pool, "ada")).toBe(null);
  });

  test("that the balance could not hold is refused before it is written", async () => {
    await creditUser(database.pool, deposit("ada", "99999999999999999999.999999999999999999", "1:0xab:0"));
    await expect(creditUser(database.pool, deposit("ada", "1", "1:0xab:1"))).rejects.toMatchObject({
      code: "FULA_AMOUNT_INVALID",
    });
    expect(await countRows(database.pool, "credit_history")).toBe(1);
  });

  test("is counted exactly where a float4 would swallow it", async () => {
    await creditUser(database.pool, deposit("ada", "10000000", "1:0xab:0"));
    await creditUser(database.pool, deposit("ada", "0.000000000000000001", "1:0xab:1"));
    expect(await accountOf(database.pool, "ada")).toMatchObject({ balance: "10000000.000000000000000001" });
  });
});

describe("the same deposit at the same time", () => {
  test("over 32 connections is credited once, with its bonuses", async () => {
    await refer(database.pool, "bob", "ada");
    const pool = widePool(database, CONNECTIONS);
    const outcomes = await Promise.all(
      Array.from({ length: CONNECTIONS }, async () => await creditUser(pool, deposit("ada", "5", "8453:0xab:1"))),
    );
    await pool.end();
    expect(outcomes.filter(({ applied }) => applied).length).toBe(1);
    expect(new Set(outcomes.map(({ entryId }) => entryId)).size).toBe(1);
    expect(await accountOf(database.pool, "ada")).toMatchObject({ balance: "5" });
    expect(await accountOf(database.pool, "bob")).toMatchObject({ balance: "0.5" });
    expect(await countRows(database.pool, "credit_history")).toBe(2);
  });

  test("claimed by 32 users is credited to one of them, and the others are refused", async () => {
    const pool = widePool(database, CONNECTIONS);
    const outcomes = await Promise.allSettled(
      Array.from(
        { length: CONNECTIONS },
        async (_, user) => await creditUser(pool, deposit(`u${user}`, "5", "1:0xab:1")),
      ),
    );
    await pool.end();
    const refused = outcomes.filter(({ status }) => status === "rejected");
    expect(refused.length).toBe(CONNECTIONS - 1);
    expect(refused).toEqual(
      refused.map(() => ({
        status: "rejected",
        reason: expect.objectContaining({ code: "FULA_CREDIT_REFERENCE_TAKEN" }),
      })),
    );
    expect(await countRows(database.pool, "credit_history")).toBe(1);
    expect(await wrongAccounts(database.pool)).toEqual([]);
  });
});

describe("referral bonuses", () => {
  test("are 10, 1 and 1 percent up three levels, and no further, each with the codes that it came by", async () => {
    const codes = [
      await refer(database.pool, "bob", "ada"),
      await refer(database.pool, "cid", "bob"),
      await refer(database.pool, "dan", "cid"),
      await refer(database.pool, "eve", "dan"),
    ];
    const { entryId, bonuses } = await creditUser(database.pool, deposit("ada", "100", "1:0xab:0"));
    expect(bonuses).toMatchObject([
      { userId: userId("bob"), level: 1, amountUnits: parseUnits("10") },
      { userId: userId("cid"), level: 2, amountUnits: parseUnits("1") },
      { userId: userId("dan"), level: 3, amountUnits: parseUnits("1") },
    ]);
    expect(await entriesOf(database.pool, "cid")).toEqual([
      { type: "referral_bonus", amount: "1", balanceAfter: "1", reference: `bonus:${entryId}:2` },
    ]);
    expect(await accountOf(database.pool, "cid")).toMatchObject({ balance: "1", bonus: "1", deposited: "0" });
    expect(await accountOf(database.pool, "eve")).toBe(null);
    const { rows } = await database.pool.query(
      `select recipient_user_id, recipient_referral_code, source_user_id, source_referral_code, level,
              trim_scale(bonus_amount_fula)::text as bonus, trim_scale(source_amount_fula)::text as source
         from referral_bonuses order by level`,
    );
    const bonusRow = (name: string, level: number, code: string | undefined, bonus: string): unknown => ({
      recipient_user_id: userId(name),
      recipient_referral_code: code,
      source_user_id: userId("ada"),
      source_referral_code: codes[0],
      level,
      bonus,
      source: "100",
    });
    expect(rows).toEqual([
      bonusRow("bob", 1, codes[0], "10"),
      bonusRow("cid", 2, codes[1], "1"),
      bonusRow("dan", 3, codes[2], "1"),
    ]);
  });

  test("end where the chain closes: two who brought each other, and one who brought himself", async () => {
    await refer(database.pool, "bob", "ada");
    await refer(database.pool, "ada", "bob");
    await refer(database.pool, "eve", "eve");
    const { bonuses } = await creditUser(database.pool, deposit("ada", "100", "1:0xab:0"));
    expect(bonuses).toMatchObject([{ userId: userId("bob"), level: 1 }]);
    expect(await creditUser(database.pool, deposit("eve", "100", "1:0xab:1"))).toMatchObject({ bonuses: [] });
    expect(await accountOf(database.pool, "ada")).toMatchObject({ balance: "100" });
    expect(await accountOf(database.pool, "eve")).toMatchObject({ balance: "100", bonus: "0" });
  });

  test("come of deposits alone: an adjustment pays none, upwards or downwards", async () => {
    await refer(database.pool, "bob", "ada");
    await adjustUser(database.pool, adjustment("ada", "100"));
    await adjustUser(database.pool, adjustment("ada", "-50"));
    expect(await accountOf(database.pool, "ada")).toMatchObject({ balance: "50" });
    expect(await accountOf(database.pool, "bob")).toBe(null);
  });

  test("are not paid where the settings say so, nor of an amount that rounds to nothing", async () => {
    await refer(database.pool, "bob", "ada");
    await creditUser(database.pool, { ...deposit("ada", "100", "1:0xab:0"), referralBonuses: false });
    await creditUser(database.pool, deposit("ada", "0.000000000000000005", "1:0xab:1"));
    expect(await countRows(database.pool, "referral_bonuses")).toBe(0);
    expect(await entriesOf(database.pool, "bob")).toEqual([]);
  });
});

describe("a suspended account", () => {
  const SINCE = "2026-11-01T00:00:00Z";

  async function suspended(pool: Pool, balance: string): Promise<void> {
    await pool.query(
      "insert into user_credits (user_id, balance_fula, opening_fula, is_suspended, suspended_at) values ($1, $2, $2, 1, $3)",
      [userId("ada"), balance, SINCE],
    );
  }

  test.each([
    ["a deposit that lifts it above zero", "-1", "1.000000000000000001", false],
    ["a deposit that lifts it to zero", "-1", "1", true],
    ["a deposit that leaves it below zero", "-1", "0.001", true],
  ])("is freed above zero alone: after %s", async (_what, balance, amount, isSuspended) => {
    await suspended(database.pool, balance);
    await creditUser(database.pool, deposit("ada", amount, "1:0xab:0"));
    expect(await accountOf(database.pool, "ada")).toMatchObject({
      suspended: isSuspended,
      since: isSuspended ? new Date(SINCE) : null,
    });
  });

  test.each([
    ["lifts it above zero", "-1", "2", false],
    ["takes more of it", "-1", "-2", true],
    ["takes some of what it has", "5", "-2", true],
  ])("is freed above zero alone: after an adjustment that %s", async (_what, balance, amount, isSuspended) => {
    await suspended(database.pool, balance);
    await adjustUser(database.pool, adjustment("ada", amount));
    expect(await accountOf(database.pool, "ada")).toMatchObject({
      suspended: isSuspended,
      since: isSuspended ? new Date(SINCE) : null,
    });
  });

  test("is what an account becomes when an adjustment takes it below zero, and not when it takes all", async () => {
    await creditUser(database.pool, deposit("ada", "1", "1:0xab:0"));
    await adjustUser(database.pool, adjustment("ada", "-1"));
    expect(await accountOf(database.pool, "ada")).toMatchObject({ balance: "0", suspended: false, since: null });
    await adjustUser(database.pool, adjustment("ada", "-0.000000000000000001"));
    expect(await accountOf(database.pool, "ada")).toMatchObject({ suspended: true, since: expect.any(Date) });
  });

  test("is freed by a bonus that lifts it above zero", async () => {
    await suspended(database.pool, "-1");
    await refer(database.pool, "ada", "bob");
    await creditUser(database.pool, deposit("bob", "20", "1:0xab:0"));
    expect(await accountOf(database.pool, "ada")).toMatchObject({ balance: "1", suspended: false, since: null });
  });
});

describe("credits of many users at the same time", () => {
  test("whose referral chains cross in both directions never wait in a circle, and add up", async () => {
    // The chains are a -> b -> c -> d and back: whoever deposits pays up to three of the others.
    const ring = ["a", "b", "c", "d", "e", "f"];
    await Promise.all(ring.map(async (name, index) => await refer(database.pool, ring[(index + 1) % 6] ?? "", name)));
    const pool = widePool(database, CONNECTIONS);
    const credits = Array.from({ length: 150 }, (_, index) =>
      deposit(ring[(index * 5) % 6] ?? "", "100", `1:0x${index}:0`),
    );
    await Promise.all(credits.map(async (credit) => await creditWithoutRetry(pool, credit)));
    await pool.end();
    // Each of the six made 25 deposits, and got 10, 1 and 1 of those of three others.
    const accounts = await Promise.all(ring.map(async (name) => await accountOf(database.pool, name)));
    expect(accounts).toMatchObject(ring.map(() => ({ balance: "2800", deposited: "2500", bonus: "300" })));
    expect(await wrongAccounts(database.pool)).toEqual([]);
  });

  test("of one transaction take as many statements as one, and each has its own outcome", async () => {
    await refer(database.pool, "bob", "ada");
    await refer(database.pool, "ada", "eve");
    await creditUser(database.pool, deposit("eve", "7", "1:0xold:0"));
    let statements = 0;
    const outcomes = await withTransaction(database.pool, async (client) => {
      const counting = watched(client, "query", () => {
        statements += 1;
      });
      return await creditUsersTx(counting, [
        deposit("ada", "100", "1:0xnew:0"),
        deposit("eve", "7", "1:0xold:0"),
        deposit("eve", "10", "1:0xnew:1"),
        deposit("ada", "100", "1:0xNEW:0"),
      ]);
    });
    expect(statements).toBe(8);
    expect(outcomes).toMatchObject([
      { applied: true, balanceUnits: parseUnits("100.7"), bonuses: [{ userId: userId("bob") }] },
      { applied: false, balanceUnits: parseUnits("7"), bonuses: [] },
      {
        applied: true,
        balanceUnits: parseUnits("17"),
        bonuses: [{ userId: userId("ada") }, { userId: userId("bob") }],
      },
      { applied: false, balanceUnits: parseUnits("100.7"), bonuses: [] },
    ]);
    expect(await accountOf(database.pool, "bob")).toMatchObject({ balance: "10.17" });
    expect(await wrongAccounts(database.pool)).toEqual([]);
  });

  test("of one transaction are locked together, whatever their order: no deadlock reaches anybody", async () => {
    const pool = widePool(database, CONNECTIONS);
    const names = Array.from({ length: 12 }, (_, index) => `u${index}`);
    await Promise.all(
      Array.from({ length: 60 }, async (_, round) => {
        const order = round % 2 === 0 ? names : names.toReversed();
        const credits = order.map((name) => deposit(name, "1", `1:0x${round}-${name}:0`));
        await creditWithoutRetry(pool, ...credits);
      }),
    );
    await pool.end();
    const accounts = await Promise.all(names.map(async (name) => await accountOf(database.pool, name)));
    expect(accounts).toMatchObject(names.map(() => ({ balance: "60" })));
    expect(await wrongAccounts(database.pool)).toEqual([]);
  });

  test("find the account that another one has just made", async () => {
    const pool = widePool(database, CONNECTIONS);
    await Promise.all(
      Array.from(
        { length: CONNECTIONS },
        async (_, index) => await creditUser(pool, deposit("ada", "1", `1:0x${index}:0`)),
      ),
    );
    await pool.end();
    expect(await accountOf(database.pool, "ada")).toMatchObject({ balance: String(CONNECTIONS) });
    expect(await countRows(database.pool, "user_credits")).toBe(1);
  });

  test("let pins of the same accounts come in meanwhile", async () => {
    await creditUser(database.pool, deposit("ada", "1", "1:0xab:0"));
    await withTransaction(database.pool, async (client) => {
      await creditUsersTx(client, [deposit("ada", "1", "1:0xab:1")]);
      await database.pool.query(
        "insert into pins (requestid, cid, user_id, status, size) values ('r', 'bafy', $1, 'pinned', 4096)",
        [userId("ada")],
      );
    });
    const { rows } = await database.pool.query("select bytes from user_usage");
    expect(rows).toEqual([{ bytes: "4096" }]);
    expect(await accountOf(database.pool, "ada")).toMatchObject({ balance: "2" });
  });

  test("use up no id for an account that is there", async () => {
    await creditUser(database.pool, deposit("ada", "1", "1:0xab:0"));
    await creditUser(database.pool, deposit("ada", "1", "1:0xab:1"));
    await creditUser(database.pool, deposit("bob", "1", "1:0xab:2"));
    const { rows } = await database.pool.query("select id from user_credits order by id");
    expect(rows).toEqual([{ id: "1" }, { id: "2" }]);
  });
});

describe("a connection that is lost", () => {
  test("after any statement of a credit leaves nothing of it, and the next attempt credits once", async () => {
    for (let statements = 1; ; statements += 1) {
      await emptyBooks(database.pool);
      await refer(database.pool, "bob", "ada");
      const credit = deposit("ada", "10", "1:0xab:0");
      const client = await database.pool.connect();
      const { rows } = await client.query<{ pid: number }>("select pg_backend_pid() as pid");
      let sent = 0;
      const cutting = watched(client, "query", async () => {
        sent += 1;
        if (sent === statements) await database.pool.query("select pg_terminate_backend($1, 60000)", [rows[0]?.pid]);
      });
      await client.query("begin");
      const failed = await creditUsersTx(cutting, [credit]).then(
        () => false,
        () => true,
      );
      if (sent < statements) {
        // One more than the credit has: it is done, and was tried at each of them.
        expect([failed, statements]).toEqual([false, 9]);
        await client.query("rollback");
        client.release();
        return;
      }
      client.release(true);
      expect([statements, await entriesOf(database.pool, "ada"), await accountOf(database.pool, "bob")]).toEqual([
        statements,
        [],
        null,
      ]);
      expect(await creditUser(database.pool, credit)).toMatchObject({ applied: true });
      expect(await wrongAccounts(database.pool)).toEqual([]);
    }
  });

  test("during the commit is answered by looking: the credit counts once", async () => {
    let commits = 0;
    // The server has committed; its answer is lost on the way.
    const losing = (client: unknown): unknown =>
      watched(Object(client), "query", (_result, [text]) => {
        if (text !== "commit") return;
        commits += 1;
        if (commits === 1) throw Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" });
      });
    const pool = watched(database.pool, "connect", losing);
    expect(await adjustUser(pool, adjustment("ada", "10", "once"))).toMatchObject({ applied: false });
    expect(commits).toBe(2);
    expect(await accountOf(database.pool, "ada")).toMatchObject({ balance: "10" });
    expect(await countRows(database.pool, "credit_notes")).toBe(1);
  });
});

test("a credit in the caller's transaction is gone when that is rolled back", async () => {
  const rolledBack = withTransaction(database.pool, async (client) => {
    await creditUsersTx(client, [deposit("ada", "1", "1:0xab:0")]);
    throw new Error("something else failed");
  });
  await expect(rolledBack).rejects.toThrow("something else failed");
  expect(await accountOf(database.pool, "ada")).toBe(null);
  expect(await creditUser(database.pool, deposit("ada", "1", "1:0xab:0"))).toMatchObject({ applied: true });
});
