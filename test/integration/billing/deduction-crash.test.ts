import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { runDeduction } from "../../../src/lib/billing/deduction.ts";
import { hourlyFee } from "../../../src/lib/billing/fee.ts";
import { formatUnits, parseUnits } from "../../../src/lib/billing/money.ts";
import type { Pool } from "../../../src/lib/postgres/pool.ts";
import { freshDatabase, type TestDatabase } from "../../support/postgres.ts";
import {
  deductionDeps,
  fillUnbilledLedger,
  GIB,
  readBooks,
  unbalanced,
  userId,
} from "../../support/unbilled-ledger.ts";

const NAMES = ["anna", "bert", "carl"] as const;
const FEE = hourlyFee(10n * GIB, { freeTierBytes: 524_288_000n, fulaPerGibMonth: parseUnits("3") });

let database: TestDatabase;
beforeEach(async () => {
  database = await freshDatabase();
});
afterEach(async () => {
  await database.drop();
});

class Crash extends Error {}

/** A pool whose client dies at the statement of this number, before it is sent or before its answer is heard. */
function dyingPool(pool: Pool, at: number, when: "before" | "after"): { readonly pool: Pool; died(): boolean } {
  let count = 0;
  let died = false;
  const query = async (...args: readonly unknown[]): Promise<unknown> => {
    count += 1;
    const isLast = count === at;
    died ||= isLast;
    if (isLast && when === "before") throw new Crash("died before the statement");
    const answer: unknown = await Reflect.apply(pool.query.bind(pool), undefined, args);
    if (isLast) throw new Crash("died after the statement");
    return answer;
  };
  const dying = new Proxy(pool, {
    get: (target, name) => (name === "query" ? query : Reflect.get(target, name)),
  });
  return { pool: dying, died: () => died };
}

async function fill(hours: number): Promise<void> {
  await fillUnbilledLedger(
    database.pool,
    hours,
    NAMES.map((name, index) => ({ name, balance: String(index), bytes: [10n * GIB] })),
  );
}

describe("a master that dies at any statement of a look", () => {
  test.each(["before", "after"] as const)("%s it leaves what the next look makes whole", async (when) => {
    const { pool } = database;
    await fill(2);
    const truncate = async (): Promise<void> => {
      await pool.query("delete from billing_hours");
      await pool.query("delete from credit_history");
      await pool.query(
        "update user_credits set balance_fula = opening_fula, total_deducted_fula = 0, billed_hour = null, is_suspended = 0, suspended_at = null",
      );
    };
    await runDeduction(deductionDeps(pool, { shardAccounts: 2 }));
    const expected = await readBooks(pool, NAMES);
    expect(expected["anna"]?.fees).toHaveLength(2);

    let at = 1;
    for (; ; at += 1) {
      await truncate();
      const dying = dyingPool(pool, at, when);
      const run = runDeduction(deductionDeps(dying.pool, { shardAccounts: 2 }));
      if (!dying.died()) await run.catch(() => {});
      await run.catch((error: unknown) => {
        if (!(error instanceof Crash)) throw error;
      });
      if (!dying.died()) break;
      expect(await unbalanced(pool), `after the crash at statement ${at}`).toEqual([]);
      await runDeduction(deductionDeps(pool));
      expect(await readBooks(pool, NAMES), `crash ${when} statement ${at}`).toEqual(expected);
    }
    // Hours, closing, opening, shards, completing: fewer would mean that the look was not cut everywhere.
    expect(at).toBeGreaterThan(15);
  });
});

describe("a run without keys", () => {
  const settings = { idempotency: false } as const;
  beforeEach(async () => {
    await fill(3);
    await database.pool.query("update billing_mode set mode = 'unkeyed'");
    await database.pool.query("alter table credit_history disable trigger credit_history_unkeyed_refused");
    await database.pool.query("alter table credit_history enable trigger credit_history_keyed_refused");
  });

  test("charges once a run by what is stored now, with the time as reference, and nobody who is suspended", async () => {
    const { pool } = database;
    const deps = deductionDeps(pool, { settings });
    expect(await runDeduction(deps)).toMatchObject({ hours: [], unkeyed: { users: 3, sumUnits: 3n * FEE } });
    expect(await runDeduction(deps)).toMatchObject({ unkeyed: { users: 2 } });
    const books = await readBooks(pool, NAMES);
    expect(books["anna"]).toMatchObject({ balance: formatUnits(-FEE), isSuspended: true });
    expect(books["bert"]?.fees.map(([reference]) => reference)).toEqual([
      expect.stringMatching(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/),
      expect.stringMatching(/^\d{4}-/),
    ]);
    expect(await unbalanced(pool)).toEqual([]);
  });

  test("goes on after an account that cannot be charged, and says so, instead of charging the others again", async () => {
    const { pool } = database;
    await pool.query(
      "update user_credits set balance_fula = -99999999999999999999.999999999999999999 where user_id = $1",
      [userId("bert")],
    );
    const report = await runDeduction(deductionDeps(pool, { settings }));
    expect(report).toMatchObject({ waitingFor: expect.stringContaining("(1)"), unkeyed: { users: 2, failed: 1 } });
    const books = await readBooks(pool, NAMES);
    expect(NAMES.map((name) => books[name]?.fees.length)).toEqual([1, 0, 1]);
  });

  test("that loses its connection at any statement of a user's transaction takes all of the fee or nothing, and once", async () => {
    const { pool } = database;
    for (const at of [1, 2, 3, 4]) {
      let count = 0;
      const connect = async (): Promise<unknown> => {
        const client = await pool.connect();
        const query = async (...args: readonly unknown[]): Promise<unknown> => {
          count += 1;
          // The server ends the session: what is sent next meets a connection that is gone.
          if (count === at) {
            const { rows } = await client.query<{ pid: number }>("select pg_backend_pid() as pid");
            await pool.query("select pg_terminate_backend($1, 60000)", [rows[0]?.pid]);
          }
          return await Reflect.apply(client.query.bind(client), undefined, args);
        };
        return {
          query,
          release: (broken: boolean) => {
            client.release(broken);
          },
        };
      };
      const cutting = new Proxy(pool, {
        get: (target, name) => {
          if (name === "connect") return connect;
          const value: unknown = Reflect.get(target, name);
          return typeof value === "function" ? value.bind(target) : value;
        },
      });
      await pool.query("update user_credits set is_suspended = 0");
      const before = await readBooks(pool, NAMES);
      await runDeduction(deductionDeps(cutting, { settings }));
      const after = await readBooks(pool, NAMES);
      for (const name of NAMES) {
        expect(after[name]?.fees.length, `${name}, cut at ${at}`).toBe((before[name]?.fees.length ?? 0) + 1);
      }
      expect(await unbalanced(pool)).toEqual([]);
    }
  });
});
