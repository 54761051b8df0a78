import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { openSession } from "../../../src/lib/postgres/session.ts";
import { endStuckSessions } from "../../../src/lib/postgres/stuck-sessions.ts";
import { FaultProxy } from "../../support/fault-proxy.ts";
import { freshDatabase } from "../../support/postgres.ts";
import { until } from "../../support/until.ts";

const SILENT_MS = 50;

test("a session whose client was swallowed in the midst of a statement is ended, and its locks with it", async () => {
  await using database = await freshDatabase();
  await database.pool.query("create table counters (id int primary key, n int); insert into counters values (1, 0)");
  let isSwallowing = false;
  await using proxy = new FaultProxy(database.options.host, database.options.port, ({ type }) =>
    isSwallowing && type === "S" ? "swallow" : "pass",
  );
  const through = { ...database.options, host: "127.0.0.1", port: await proxy.listen() };
  await using dead = await openSession({ ...through, node: "master-1", part: "cron" }, systemClock);
  isSwallowing = true;
  // Nobody ever answers it.
  dead.query({ name: "count", text: "update counters set n = n + $1", values: [1] }).catch(() => {});
  await until("it holds the row", async () => {
    const { rows } = await database.pool.query(
      "select from pg_stat_activity where pid = $1 and state = 'active' and wait_event = 'ClientRead'",
      [dead.pid],
    );
    return rows.length === 1;
  });
  const ended = await until("it is ended", async () => (await endStuckSessions(database.pool, SILENT_MS))[0]);
  expect(ended).toMatchObject({ pid: dead.pid, applicationName: "fula-master/cron@master-1" });
  // What it did has not been committed, and nobody waits for it any more.
  await database.pool.query("set lock_timeout = 60000; update counters set n = n + 10");
  expect((await database.pool.query("select n from counters")).rows).toEqual([{ n: 10 }]);
});

test("sessions that copy rows in, idle ones and those at work are left alone", async () => {
  await using database = await freshDatabase();
  await database.pool.query("create table lines (line text)");
  await using idle = await openSession({ ...database.options, node: "master-1", part: "cron" }, systemClock);
  await using atWork = await openSession({ ...database.options, node: "master-2", part: "cron" }, systemClock);
  const sleeping = atWork.client.query("select pg_sleep(0.3)");
  await using copying = await openSession({ ...database.options, node: "master-3", part: "cron" }, systemClock);
  // Never ended by a CopyDone: it waits for its rows.
  const copy = copying.client.query("copy lines from stdin").catch(() => "refused");
  await until("it waits", async () => {
    const { rows } = await database.pool.query(
      "select from pg_stat_activity where pid = $1 and clock_timestamp() - state_change > interval '100 ms'",
      [idle.pid],
    );
    return rows.length === 1;
  });
  expect(await endStuckSessions(database.pool, SILENT_MS)).toEqual([]);
  await sleeping;
  expect(idle.lost.aborted).toBe(false);
  await copy;
});
