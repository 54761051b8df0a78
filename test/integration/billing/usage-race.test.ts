import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { type Hour, hourFromSql } from "../../../src/lib/billing/hour.ts";
import { usageAt } from "../../../src/lib/billing/usage.ts";
import { type Clock, systemClock } from "../../../src/lib/kernel/clock.ts";
import { createPool, type Pool } from "../../../src/lib/postgres/pool.ts";
import { sqlStateOf } from "../../../src/lib/postgres/database-errors.ts";
import {
  type TransactionClient,
  type TransactionOptions,
  withTransaction,
} from "../../../src/lib/postgres/transaction.ts";
import { asSuperuser, freshDatabase, type TestDatabase } from "../../support/postgres.ts";
import { property } from "../../support/property.ts";
import { until } from "../../support/until.ts";
import { allPins, endOpenHour, historyFaults, keptUsage, usageOf } from "../../support/usage.ts";

const CONNECTIONS = 6;
const HOURS = 4;
// With new seeds they run ten times as long.
vi.setConfig({ testTimeout: 600_000 });

/** One statement, as SQL and values. Requests, users and CIDs are few, so that the connections meet. */
interface Statement {
  readonly text: string;
  readonly values: readonly unknown[];
}

const request = fc.nat(11).map((index) => `request-${index}`);
const user = fc.oneof({ weight: 9, arbitrary: fc.constantFrom("ada", "bob", "eve") }, fc.constant(null));
const cid = fc.constantFrom("bafyone", "bafytwo", "bafysix");
const size = fc.oneof({ weight: 6, arbitrary: fc.nat(1_000) }, fc.constantFrom(null, -1, 0));
const status = fc.oneof(
  { weight: 3, arbitrary: fc.constant("pinned") },
  fc.constantFrom("queued", "pinning", "failed", "deleted"),
);

const INSERT = "insert into pins (requestid, user_id, cid, size, status) values ($1, $2, $3, $4, $5)";
const UPSERT = `${INSERT} on conflict (requestid) do update
  set user_id = excluded.user_id, cid = excluded.cid, size = excluded.size, status = excluded.status`;
const REPLACE = `
  with gone as (delete from pins where requestid = $1 or requestid = $6)
  insert into pins (requestid, user_id, cid, size, status) values ($1 || '-' || $7::text, $2, $3, $4, $5)
      on conflict (requestid) do update set size = excluded.size`;

const row = fc.tuple(request, user, cid, size, status);
const statement: fc.Arbitrary<Statement> = fc.oneof(
  { weight: 6, arbitrary: row.map((values): Statement => ({ text: UPSERT, values })) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(row, request, fc.nat(3))
      .map(([values, other, suffix]): Statement => ({ text: REPLACE, values: [...values, other, suffix] })),
  },
  {
    weight: 3,
    arbitrary: fc
      .tuple(status, request)
      .map((values): Statement => ({ text: "update pins set status = $1 where requestid >= $2", values })),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(user, user)
      .map((values): Statement => ({ text: "update pins set user_id = $1 where user_id = $2", values })),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(cid, size, request)
      .map((values): Statement => ({ text: "update pins set cid = $1, size = $2 where requestid = $3", values })),
  },
  {
    weight: 3,
    arbitrary: request.map((id): Statement => ({ text: "delete from pins where requestid <= $1", values: [id] })),
  },
);

interface Transaction {
  readonly statements: readonly Statement[];
  readonly isolation: NonNullable<TransactionOptions["isolation"]>;
  readonly ends: "commit" | "rollback";
  /** Before which statement a savepoint is set, and whether it is gone back to after all of them. */
  readonly savepoint: number | null;
}

const transaction: fc.Arbitrary<Transaction> = fc.record({
  statements: fc.array(statement, { minLength: 1, maxLength: 4 }),
  isolation: fc.constantFrom("read committed", "read committed", "repeatable read", "serializable"),
  ends: fc.oneof(
    { weight: 5, arbitrary: fc.constant<"commit">("commit") },
    { weight: 1, arbitrary: fc.constant<"rollback">("rollback") },
  ),
  savepoint: fc.option(fc.nat(3), { freq: 4 }),
});

/** What each connection does, one transaction after the other. */
const work = fc.array(fc.array(transaction, { minLength: 1, maxLength: 5 }), {
  minLength: CONNECTIONS,
  maxLength: CONNECTIONS,
});

/** Who lost a race tries again without a pause. */
const AT_ONCE: Clock = { ...systemClock, sleep: async () => {} };

class RolledBack extends Error {}

async function runStatements(client: TransactionClient, { statements, savepoint, ends }: Transaction): Promise<void> {
  for (const [index, { text, values }] of statements.entries()) {
    if (index === savepoint) await client.query("savepoint here");
    await client.query(text, [...values]);
  }
  if (savepoint !== null && savepoint < statements.length) await client.query("rollback to here");
  if (ends === "rollback") throw new RolledBack();
}

/** Runs one transaction; what a deadlock or a serialization failure ends for good has changed nothing. */
async function runTransaction(pool: Pool, wanted: Transaction): Promise<void> {
  try {
    await withTransaction(pool, async (client) => await runStatements(client, wanted), {
      isolation: wanted.isolation,
      clock: AT_ONCE,
    });
  } catch (error) {
    if (!(error instanceof RolledBack) && !["40001", "40P01"].includes(sqlStateOf(error) ?? "")) throw error;
  }
}

async function runAtOnce(pool: Pool, lists: readonly (readonly Transaction[])[]): Promise<void> {
  await Promise.all(
    lists.map(async (list) => {
      for (const one of list) await runTransaction(pool, one);
    }),
  );
}

/** Deadlocks are looked for at once: transactions that lock accounts in whatever order meet in many. */
async function manyConnections(database: TestDatabase): Promise<Pool> {
  await asSuperuser(`alter database ${database.name} set deadlock_timeout = '5ms'`);
  return createPool({ ...database.options, max: CONNECTIONS + 2 });
}

async function usageOfAll(pool: Pool, hour: Hour): Promise<ReadonlyMap<string, bigint>> {
  const { rows } = await pool.query<{ id: string; user_id: string }>(
    "select id, user_id from user_credits order by id",
  );
  const all = await Promise.all(
    rows.map(async ({ id, user_id }) => [user_id, await usageAt(pool, BigInt(id), hour)] as const),
  );
  return new Map(all.filter(([, bytes]) => bytes > 0n));
}

describe("what accounts store", () => {
  test("is what their pins add up to, now and at the end of every hour, whatever raced", async () => {
    await using database = await freshDatabase();
    const pool = await manyConnections(database);
    const expected: (readonly [Hour, ReadonlyMap<string, bigint>])[] = [];
    await fc.assert(
      fc.asyncProperty(fc.array(work, { minLength: HOURS, maxLength: HOURS }), async (hours) => {
        for (const lists of hours) {
          await runAtOnce(pool, lists);
          const truth = usageOf(await allPins(pool));
          expect(await keptUsage(pool)).toEqual(truth);
          expect(await historyFaults(pool)).toEqual([]);
          expected.push([await endOpenHour(pool), truth]);
        }
        for (const [hour, truth] of expected.slice(-2 * HOURS)) expect(await usageOfAll(pool, hour)).toEqual(truth);
      }),
      property(8),
    );
    // And all of them once more, with all that came later.
    for (const [hour, truth] of expected) expect(await usageOfAll(pool, hour)).toEqual(truth);
    await pool.end();
  });

  test("at the end of an hour never changes once it is closed, while others write on", async () => {
    await using database = await freshDatabase();
    const pool = await manyConnections(database);
    const seen: (readonly [Hour, ReadonlyMap<string, bigint>])[] = [];
    await fc.assert(
      fc.asyncProperty(work, async (lists) => {
        // An older snapshot does not see an hour that ends ahead of the clock; hours that the clock has ended it cannot miss.
        const current = lists.map((list) => list.map((one) => ({ ...one, isolation: "read committed" as const })));
        const written = new AbortController();
        const writing = runAtOnce(pool, current).finally(() => written.abort());
        const closing = (async () => {
          do {
            const hour = await endOpenHour(pool);
            seen.push([hour, await usageOfAll(pool, hour)]);
          } while (!written.signal.aborted);
        })();
        await Promise.all([writing, closing]);
        expect(await keptUsage(pool)).toEqual(usageOf(await allPins(pool)));
      }),
      property(8),
    );
    expect(await historyFaults(pool)).toEqual([]);
    for (const [hour, bytes] of seen) expect([hour, await usageOfAll(pool, hour)]).toEqual([hour, bytes]);
    await pool.end();
  });
});

const SNAPSHOTS = ["repeatable read", "serializable"] as const;

describe.each(SNAPSHOTS)("a transaction at %s", (isolation) => {
  test("whose snapshot misses a pin of the same content fails to serialize, though that pin changed no sum", async () => {
    await using database = await freshDatabase();
    const { pool } = database;
    await pool.query(INSERT, ["first", "ada", "bafyone", 10, "pinned"]);
    const attempts: number[] = [];
    await withTransaction(
      pool,
      async (client) => {
        attempts.push(attempts.length);
        await client.query("select from pins");
        if (attempts.length === 1) await pool.query(INSERT, ["second", "ada", "bafyone", 10, "pinned"]);
        await client.query("delete from pins where requestid = 'first'");
      },
      { isolation },
    );
    expect(attempts).toEqual([0, 1]);
    expect(await keptUsage(pool)).toEqual(new Map([["ada", 10n]]));
  });
});

describe("a change of pins", () => {
  test("waits for whoever changes pins of the same account, and for nobody else", async () => {
    await using database = await freshDatabase();
    const { pool } = database;
    const holder = await pool.connect();
    try {
      await holder.query("begin");
      await holder.query(INSERT, ["a", "ada", "bafyone", 10, "pinned"]);
      await pool.query(INSERT, ["b", "bob", "bafyone", 20, "pinned"]);
      const waiting = pool.query(INSERT, ["c", "ada", "bafytwo", 30, "pinned"]);
      await until("the second change of ada's pins waits", async () => {
        const { rows } = await pool.query(
          "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        );
        return rows.length > 0;
      });
      await holder.query("commit");
      await waiting;
    } finally {
      holder.release();
    }
    expect(await keptUsage(pool)).toEqual(
      new Map([
        ["ada", 40n],
        ["bob", 20n],
      ]),
    );
  });

  test("belongs to the hour in which the account last changed where the server's clock was set back", async () => {
    await using database = await freshDatabase();
    const { pool } = database;
    await pool.query(INSERT, ["a", "ada", "bafyone", 10, "pinned"]);
    const { rows } = await pool.query<{ changed_hour: Date }>(
      "update user_usage set changed_hour = changed_hour + interval '1 hour' returning changed_hour",
    );
    await pool.query("update usage_history set hour = hour + interval '1 hour'");
    await pool.query(INSERT, ["b", "ada", "bafytwo", 5, "pinned"]);
    await pool.query("update usage_clock set closed_through = (select changed_hour from user_usage)");
    await pool.query("delete from pins");
    const ahead = hourFromSql(rows[0]?.changed_hour ?? new Date(0));
    expect(await usageAt(pool, 1n, ahead - 1)).toBe(0n);
    expect(await usageAt(pool, 1n, ahead)).toBe(15n);
    expect(await usageAt(pool, 1n, ahead + 1)).toBe(0n);
    expect(await usageAt(pool, 99n, ahead)).toBe(0n);
  });
});
