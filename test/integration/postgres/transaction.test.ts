import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { withTransaction } from "../../../src/lib/postgres/transaction.ts";
import { FakeClock } from "../../support/clock.ts";
import { asSuperuser, emptyDatabase, type TestDatabase } from "../../support/postgres.ts";

let database: TestDatabase;

beforeAll(async () => {
  database = await emptyDatabase();
  await database.pool.query("create table counters (name text primary key, value integer not null)");
});
afterAll(async () => {
  await database.drop();
});
beforeEach(async () => {
  await database.pool.query("truncate counters");
  await database.pool.query("insert into counters values ('a', 0), ('b', 0)");
});

async function values(): Promise<readonly number[]> {
  const { rows } = await database.pool.query<{ value: number }>("select value from counters order by name");
  return rows.map(({ value }) => value);
}

describe("a transaction", () => {
  test("commits what was done and gives back the callback's result", async () => {
    const result = await withTransaction(database.pool, async (client) => {
      await client.query("update counters set value = 1");
      return "done";
    });
    expect(result).toBe("done");
    expect(await values()).toEqual([1, 1]);
  });

  test("rolls everything back when the callback throws, and gives the connection back", async () => {
    const failing = withTransaction(database.pool, async (client) => {
      await client.query("update counters set value = 1");
      throw new RangeError("no");
    });
    await expect(failing).rejects.toThrow(RangeError);
    expect(await values()).toEqual([0, 0]);
    expect(database.pool.totalCount).toBe(database.pool.idleCount);
  });

  test("that swallowed an error of the server does not pass for committed", async () => {
    const swallowing = withTransaction(database.pool, async (client) => {
      await client.query("update counters set value = 1");
      await client.query("select 1/0").catch(() => {});
    });
    await expect(swallowing).rejects.toThrow("its error was swallowed");
    expect(await values()).toEqual([0, 0]);
  });

  test("read only cannot write", async () => {
    const writing = withTransaction(
      database.pool,
      async (client) => await client.query("update counters set value = 1"),
      { readOnly: true },
    );
    await expect(writing).rejects.toMatchObject({ code: "FULA_DATABASE_READ_ONLY" });
  });
});

describe("trying again", () => {
  test("a lost serialization race is run again as a whole: no increment is lost", async () => {
    const increment = async (): Promise<void> =>
      await withTransaction(
        database.pool,
        async (client) => {
          const { rows } = await client.query<{ value: number }>("select value from counters where name = 'a'");
          await client.query("update counters set value = $1 where name = 'a'", [(rows[0]?.value ?? 0) + 1]);
        },
        { isolation: "serializable" },
      );
    await Promise.all(Array.from({ length: 4 }, increment));
    expect(await values()).toEqual([4, 0]);
  });

  test("both sides of a deadlock get through", async () => {
    const both = Promise.withResolvers<void>();
    let arrived = 0;
    const take = async (first: string, second: string): Promise<void> =>
      await withTransaction(database.pool, async (client) => {
        const add = "update counters set value = value + 1 where name = $1";
        await client.query(add, [first]);
        arrived += 1;
        if (arrived === 2) both.resolve();
        await both.promise;
        await client.query(add, [second]);
      });
    await Promise.all([take("a", "b"), take("b", "a")]);
    expect(await values()).toEqual([2, 2]);
  });

  test("a violated constraint is not tried again", async () => {
    let runs = 0;
    const clock = new FakeClock();
    const inserting = withTransaction(
      database.pool,
      async (client) => {
        runs += 1;
        await client.query("insert into counters values ('a', 1)");
      },
      { clock },
    );
    await expect(inserting).rejects.toMatchObject({ code: "23505" });
    expect([runs, clock.sleptMs]).toEqual([1, []]);
  });

  test("a connection that is killed before the commit is replaced, and the work is done once", async () => {
    let runs = 0;
    await withTransaction(database.pool, async (client) => {
      runs += 1;
      await client.query("update counters set value = value + 1");
      if (runs > 1) return;
      const { rows } = await client.query<{ pid: number }>("select pg_backend_pid() as pid");
      await asSuperuser(`select pg_terminate_backend(${rows[0]?.pid}, 60000)`);
      await client.query("select 1");
    });
    expect(runs).toBe(2);
    expect(await values()).toEqual([1, 1]);
  });

  test("a connection that dies during the commit leaves the outcome open, and is not tried again", async () => {
    await database.pool.query(`
      create table doomed (x integer);
      create function die() returns trigger language plpgsql as $$
      begin perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(5); return null; end $$;
      create constraint trigger doomed_dies after insert on doomed
        deferrable initially deferred for each row execute function die();`);
    let runs = 0;
    const dying = withTransaction(database.pool, async (client) => {
      runs += 1;
      await client.query("insert into doomed values (1)");
    });
    await expect(dying).rejects.toMatchObject({ code: "FULA_COMMIT_UNKNOWN", kind: "unavailable" });
    expect(runs).toBe(1);
  });

  test("stops between two attempts when the signal aborts", async () => {
    const controller = new AbortController();
    let runs = 0;
    const stopping = withTransaction(
      database.pool,
      async (client) => {
        runs += 1;
        controller.abort(new Error("stop"));
        await client.query("do $$ begin raise exception 'busy' using errcode = '40001'; end $$");
      },
      { signal: controller.signal },
    );
    await expect(stopping).rejects.toThrow("stop");
    expect(runs).toBe(1);
  });
});
