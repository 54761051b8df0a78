import { beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { fenceCte, fenceValues } from "../../../src/lib/postgres/fence.ts";
import type { Pool } from "../../../src/lib/postgres/pool.ts";
import { type Cron, type CronOptions, startCron } from "../../../src/lib/server/cron.ts";
import type { CronTask } from "../../../src/lib/server/cron-task.ts";
import { leaveHourEnd } from "../../support/hours.ts";
import { freshDatabase, type TestDatabase } from "../../support/postgres.ts";
import { TcpProxy } from "../../support/tcp-proxy.ts";
import { until } from "../../support/until.ts";

async function start(
  database: TestDatabase,
  node: string,
  run: (pool: Pool, ...args: Parameters<CronTask["run"]>) => Promise<boolean>,
  more: Partial<CronOptions> = {},
): Promise<Cron> {
  return await startCron({
    connection: database.options,
    node,
    ttlMs: 15_000,
    hasLease: true,
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
    tasks: (pool) => [
      {
        name: "deduction",
        intervalMs: 3_600_000,
        atEachHour: true,
        atOnce: true,
        triesAgain: true,
        run: async (fence, signal) => await run(pool, fence, signal),
      },
    ],
    ...more,
  });
}

async function waitFor(what: string, check: () => boolean): Promise<void> {
  await until(what, async () => await Promise.resolve(check()));
}

describe("the cron family", () => {
  // At a full hour it runs once more.
  beforeEach(async () => {
    await leaveHourEnd();
  });

  test("runs on the holder of the lease alone, and on its successor when it ends, each run under its epoch", async () => {
    await using database = await freshDatabase();
    const runs: string[] = [];
    const run =
      (node: string) =>
      async (pool: Pool, ...[fence]: Parameters<CronTask["run"]>): Promise<boolean> => {
        const { rowCount } = await pool.query(`with ${fenceCte(1)} select from fence`, [...fenceValues(fence)]);
        runs.push(`${node} ${fence?.epoch} ${rowCount}`);
        return true;
      };
    const first = await start(database, "master-1", run("master-1"));
    await waitFor("the first master ran", () => runs.length === 1);
    await using second = await start(database, "master-2", run("master-2"));
    await waitFor("the second one stands by", () => second.lease().holder === "master-1");
    await first[Symbol.asyncDispose]();
    await waitFor("the second master ran", () => runs.length === 2);
    expect(runs).toEqual(["master-1 1 1", "master-2 2 1"]);
  });

  test("that is ended in the middle of a batch finishes the statement, begins no other, and gives the lease back", async () => {
    await using database = await freshDatabase();
    await database.pool.query("create table batches (id bigserial)");
    let begun = 0;
    const cron = await start(database, "master-1", async (pool, fence, signal) => {
      while (!signal.aborted) {
        begun += 1;
        await pool.query(`with ${fenceCte(1)} insert into batches select from fence, pg_sleep(0.1)`, [
          ...fenceValues(fence),
        ]);
      }
      signal.throwIfAborted();
      return true;
    });
    await waitFor("it is in the middle", () => begun >= 3);
    await cron[Symbol.asyncDispose]();
    const { rows } = await database.pool.query(
      "select count(*)::int as batches, (select holder from cron_lease) as holder from batches",
    );
    expect(rows).toEqual([{ batches: begun, holder: null }]);
    // A process of the server outlives its connection for a moment.
    await until("no session of it is left", async () => {
      const left = await database.pool.query(
        "select from pg_stat_activity where datname = current_database() and application_name like '%@master-1'",
      );
      return left.rowCount === 0;
    });
  });

  test("without a lease runs on every master, and fences nothing", async () => {
    await using database = await freshDatabase();
    const runs: string[] = [];
    const run =
      (node: string) =>
      async (_: Pool, ...[fence]: Parameters<CronTask["run"]>): Promise<boolean> => {
        runs.push(`${node} ${fence === null ? "no fence" : "a fence"}`);
        return await Promise.resolve(true);
      };
    await using _first = await start(database, "master-1", run("master-1"), { hasLease: false });
    await using _second = await start(database, "master-2", run("master-2"), { hasLease: false });
    await waitFor("both ran", () => runs.length === 2);
    expect(runs.toSorted()).toEqual(["master-1 no fence", "master-2 no fence"]);
  });

  test("whose client is gone in the middle of a statement is given up by the server long before the statement would end", async () => {
    await using database = await freshDatabase();
    const proxy = new TcpProxy(database.options.host, database.options.port);
    const port = await proxy.listen(0);
    const working = async (): Promise<number> => {
      const { rows } = await database.pool.query<{ count: number }>(
        "select count(*)::int as count from pg_stat_activity where application_name = 'fula-master/cron@master-1' and query like '%pg_sleep(600)%'",
      );
      return rows[0]?.count ?? 0;
    };
    const cron = await start(
      database,
      "master-1",
      async (pool) => {
        await pool.query("select pg_sleep(600)");
        return true;
      },
      { connection: { ...database.options, port } },
    );
    await until("the statement runs", async () => (await working()) === 1);
    await proxy.end();
    await until("the server has given it up", async () => (await working()) === 0);
    await cron[Symbol.asyncDispose]();
  });
});
