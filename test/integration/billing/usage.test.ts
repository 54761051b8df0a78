import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createPool } from "../../../src/lib/postgres/pool.ts";
import { withTransaction } from "../../../src/lib/postgres/transaction.ts";
import { asSuperuser, freshDatabase, type TestDatabase, testPostgres } from "../../support/postgres.ts";
import { until } from "../../support/until.ts";
import { allPins, historyFaults, keptUsage, type TestPin, usageOf } from "../../support/usage.ts";

let database: TestDatabase;

beforeEach(async () => {
  database = await freshDatabase();
});
afterEach(async () => {
  await database.drop();
});

let requests = 0;

async function pin(fields: Partial<TestPin>): Promise<string> {
  requests += 1;
  const { id, user, cid, size, status } = {
    id: `request-${requests}`,
    user: "ada",
    cid: "bafyone",
    size: 100n,
    status: "pinned",
    ...fields,
  };
  await database.pool.query("insert into pins (requestid, user_id, cid, size, status) values ($1, $2, $3, $4, $5)", [
    id,
    user,
    cid,
    size,
    status,
  ]);
  return id;
}

async function run(sql: string, values: readonly unknown[] = []): Promise<void> {
  await database.pool.query(sql, [...values]);
}

async function expectUsage(expected: Readonly<Record<string, number | bigint>>): Promise<void> {
  const kept = await keptUsage(database.pool);
  expect(Object.fromEntries(kept)).toEqual(
    Object.fromEntries(Object.entries(expected).map(([user, bytes]) => [user, BigInt(bytes)])),
  );
  expect(kept).toEqual(usageOf(await allPins(database.pool)));
  expect(await historyFaults(database.pool)).toEqual([]);
}

describe("what an account stores", () => {
  test("counts a pin while it is pinned, not while it is queued, being pinned, failed or deleted (defect 14)", async () => {
    const id = await pin({ status: "queued" });
    for (const [status, bytes] of [
      ["pinning", 0],
      ["pinned", 100],
      ["failed", 0],
      ["pinned", 100],
      ["deleted", 0],
    ] as const) {
      await run("update pins set status = $2 where requestid = $1", [id, status]);
      await expectUsage(bytes === 0 ? {} : { ada: bytes });
    }
  });

  test("counts a CID once, with its greatest size, however many requests name it (defect 14)", async () => {
    const first = await pin({ size: 100n });
    const second = await pin({ size: 300n });
    await pin({ size: 200n });
    await pin({ user: "bob", size: 50n });
    await expectUsage({ ada: 300, bob: 50 });
    await run("delete from pins where requestid = $1", [second]);
    await expectUsage({ ada: 200, bob: 50 });
    await run("update pins set size = 40 where user_id = 'ada' and requestid <> $1", [first]);
    await expectUsage({ ada: 100, bob: 50 });
  });

  test("moves with a pin to another user and to another CID", async () => {
    const id = await pin({});
    await pin({ cid: "bafytwo", size: 7n });
    await run("update pins set user_id = 'bob' where requestid = $1", [id]);
    await expectUsage({ ada: 7, bob: 100 });
    await run("update pins set cid = 'bafytwo', user_id = 'ada' where requestid = $1", [id]);
    await expectUsage({ ada: 100 });
    await run("update pins set user_id = null");
    await expectUsage({});
  });

  test("is right after a statement that inserts and updates, and after one that deletes and inserts", async () => {
    await pin({ id: "a", size: 100n });
    await run(
      `insert into pins (requestid, user_id, cid, size, status)
       values ('a', 'ada', 'bafyone', 30, 'pinned'), ('b', 'ada', 'bafyone', 20, 'pinned'), ('c', 'eve', 'bafyone', 9, 'pinned')
           on conflict (requestid) do update set size = excluded.size`,
    );
    await expectUsage({ ada: 30, eve: 9 });
    await run(
      `with gone as (delete from pins where requestid in ('a', 'b') returning user_id, cid)
       insert into pins (requestid, user_id, cid, size, status)
       select 'd', user_id, cid, 5, 'pinned' from gone limit 1`,
    );
    await expectUsage({ ada: 5, eve: 9 });
    await run(
      `merge into pins using (values ('c', 8::bigint), ('e', 6)) as wanted (id, size) on requestid = wanted.id
        when matched then delete
        when not matched then insert (requestid, user_id, cid, size, status) values (wanted.id, 'eve', 'bafysix', wanted.size, 'pinned')`,
    );
    await expectUsage({ ada: 5, eve: 6 });
  });

  test("is nothing after a truncate, and grows again", async () => {
    await pin({});
    await pin({ user: "bob" });
    await run("truncate pins");
    await expectUsage({});
    await pin({ size: 3n });
    await expectUsage({ ada: 3 });
    const olderSnapshot = { isolation: "repeatable read" } as const;
    await expect(
      withTransaction(database.pool, async (client) => await client.query("truncate pins"), olderSnapshot),
    ).rejects.toMatchObject({ code: "0A000" });
    await expectUsage({ ada: 3 });
  });

  test("goes back with a savepoint and with a transaction that is rolled back", async () => {
    await pin({ id: "a" });
    await run(`
      begin;
      insert into pins (requestid, user_id, cid, size, status) values ('b', 'ada', 'bafytwo', 10, 'pinned');
      savepoint here;
      delete from pins;
      rollback to here;
      update pins set size = 11 where requestid = 'b';
      commit;
      begin;
      delete from pins;
      rollback`);
    await expectUsage({ ada: 111 });
  });

  test("gives new users an account, and uses up no account ids otherwise", async () => {
    for (const user of ["ada", "ada", "ada", "bob"]) await pin({ user, cid: `bafy${requests}` });
    const { rows } = await database.pool.query("select id, user_id, balance_fula from user_credits order by id");
    expect(rows).toEqual([
      { id: "1", user_id: "ada", balance_fula: "0.000000000000000000" },
      { id: "2", user_id: "bob", balance_fula: "0.000000000000000000" },
    ]);
  });
});

describe("a statement on pins", () => {
  test("never fails for sizes that are missing, negative, or more than can be added up", async () => {
    await pin({ size: null });
    await pin({ size: -5n });
    await pin({ size: 0n });
    await expectUsage({});
    const most = 2n ** 63n - 1n;
    const one = await pin({ cid: "bafybig", size: most });
    const two = await pin({ cid: "bafybigger", size: most - 1n });
    await pin({ cid: "bafysmall", size: 8n });
    expect(await keptUsage(database.pool)).toEqual(new Map([["ada", most]]));
    await run("delete from pins where requestid = $1", [one]);
    expect(await keptUsage(database.pool)).toEqual(new Map([["ada", most]]));
    await run("delete from pins where requestid = $1", [two]);
    await expectUsage({ ada: 8 });
  });

  test("never fails for a text that is longer than any CID; it counts for nobody", async () => {
    // 2,690 characters that do not compress: what the index that pins always had still takes.
    const { rows } = await database.pool.query<{ text: string }>(
      "select left(string_agg(encode(sha256(i::text::bytea), 'base64'), ''), 2690) as text from generate_series(1, 90) as i",
    );
    const user = "f".repeat(64);
    await pin({ user, cid: rows[0]?.text ?? "" });
    expect(await keptUsage(database.pool)).toEqual(new Map());
    await pin({ user, cid: "b".repeat(1_024), size: 5n });
    expect(await keptUsage(database.pool)).toEqual(new Map([[user, 5n]]));
  });

  test("needs no right to the tables of usage, and no search_path", async () => {
    const role = `pins_only_${database.name}`;
    await asSuperuser(`create role ${role} login password 'secret'`, database.name);
    await asSuperuser(
      `grant select, insert, update, delete on pins to ${role}; grant usage on sequence pins_id_seq to ${role}`,
      database.name,
    );
    const { host, port } = testPostgres();
    const pool = createPool({ ...database.options, host, port, user: role, password: "secret" });
    try {
      await pool.query("set search_path = pg_catalog");
      await pool.query(
        "insert into public.pins (requestid, user_id, cid, size, status) values ('a', 'ada', 'bafyone', 12, 'pinned')",
      );
      await expect(pool.query("select from public.user_usage")).rejects.toMatchObject({ code: "42501" });
      await expectUsage({ ada: 12 });
    } finally {
      await pool.end();
      await asSuperuser(`drop owned by ${role}; drop role ${role}`, database.name);
    }
  });
});

describe("keeping usage", () => {
  test("looks up what a statement touches by index, also in a session that began while the tables were empty", async () => {
    const insert = `
      insert into pins (requestid, user_id, cid, size, status)
      select $1 || i, 'user' || i % 7, 'bafy' || $1 || i, 10, 'pinned' from generate_series(1, $2::integer) as i`;
    // Autovacuum would have the session plan anew in the middle, by what it has counted then.
    for (const table of ["pins", "stored_contents", "user_credits", "user_usage", "usage_history"])
      await run(`alter table ${table} set (autovacuum_enabled = off)`);
    const session = createPool({ ...database.options, max: 1 });
    // Enough of them for every plan to be a kept one.
    for (let index = 0; index < 12; index += 1) await session.query(insert, [`few${index}-`, 3]);
    await session.query(insert, ["many-", 3_000]);
    await session.query("update pins set status = 'failed' where requestid like 'many-%'");
    await session.query("delete from pins where requestid like 'few%'");
    await session.end();
    await expectUsage({});
    const rowsRead = await until("the session's counts arrive", async () => {
      const { rows } = await database.pool.query<{ name: string; reads: string }>(
        `select indexrelname as name, idx_tup_read as reads from pg_stat_user_indexes
          where indexrelname in ('idx_pins_stored', 'idx_pins_user_id', 'idx_pins_cid')`,
      );
      const reads = new Map(rows.map(({ name, reads: count }) => [name, Number(count)]));
      return (reads.get("idx_pins_stored") ?? 0) >= 3_000 && reads;
    });
    expect(rowsRead.get("idx_pins_stored")).toBeLessThan(10_000);
    expect(rowsRead.get("idx_pins_user_id")).toBe(0);
    expect(rowsRead.get("idx_pins_cid")).toBe(0);
    const { rows } = await database.pool.query<{ table: string; reads: string }>(
      `select relname as table, seq_tup_read as reads from pg_stat_user_tables
        where relname in ('stored_contents', 'user_credits') order by 1`,
    );
    for (const { table, reads } of rows) expect([table, Number(reads) < 10_000]).toEqual([table, true]);
  });
});
