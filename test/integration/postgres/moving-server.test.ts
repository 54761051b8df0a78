import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { isConnectionLoss, targetOf } from "../../../src/lib/postgres/database-errors.ts";
import { MovingServer, type ServerPlace } from "../../../src/lib/postgres/moving-server.ts";
import { createPool, type Pool, type PoolOptions } from "../../../src/lib/postgres/pool.ts";
import { openSession } from "../../../src/lib/postgres/session.ts";
import { withTransaction } from "../../../src/lib/postgres/transaction.ts";
import { openPostgresRig, type PostgresRig, type RigServer } from "../../support/postgres-pair.ts";
import { until } from "../../support/until.ts";

const ONE = "1:0ab6ad9e-53d6-4e48-8c2c-7f0a3f1a0001";
const TWO = "2:0ab6ad9e-53d6-4e48-8c2c-7f0a3f1a0002";

let rig: PostgresRig;
let first: RigServer;
let second: RigServer;
beforeAll(async () => {
  rig = await openPostgresRig();
  [first, second] = await Promise.all([rig.primary("first"), rig.primary("second")]);
  for (const server of [first, second]) {
    await server.sql("create table server (name text)");
    await server.sql("insert into server values ($1)", [server.name]);
  }
});
afterAll(async () => {
  await rig[Symbol.asyncDispose]();
});

let opened: AsyncDisposableStack;
let follow: MovingServer;
let pool: Pool;
beforeEach(() => {
  opened = new AsyncDisposableStack();
  follow = new MovingServer(placeOf(first, ONE));
  pool = createPool(options());
  opened.defer(async () => {
    await pool.end();
  });
  return async () => {
    await opened.disposeAsync();
  };
});

function placeOf(server: RigServer, ledgerEpoch: string): ServerPlace {
  return { host: "127.0.0.1", port: server.port, tls: "disable", tlsCaFile: null, ledgerEpoch };
}

function options(): PoolOptions {
  const nowhere = { host: "nowhere.invalid", port: 1 };
  return { ...nowhere, database: "postgres", user: "postgres", part: "test", node: "fula-1", follow };
}

/** Which server answers, and which epoch the session says that it means. */
async function whereAmI(ask: Pick<Pool, "query">): Promise<object | undefined> {
  const { rows } = await ask.query<object>(
    "select name, current_setting('fula.ledger_epoch', true) as epoch from server",
  );
  return rows[0];
}

describe("when the server moves, a pool", () => {
  test("goes where it is, with its epoch, and says so", async () => {
    await expect(whereAmI(pool)).resolves.toEqual({ name: "first", epoch: ONE });
    follow.move(placeOf(second, TWO));
    await expect(whereAmI(pool)).resolves.toEqual({ name: "second", epoch: TWO });
    expect(targetOf(pool).port).toBe(second.port);
  });

  test("cuts every connection, whether somebody uses it or not", async () => {
    const client = await pool.connect();
    const idle = await pool.connect();
    idle.release();
    const running = client.query("select pg_sleep(600)").catch((error: unknown) => error);
    follow.move(placeOf(second, TWO));
    expect(isConnectionLoss(await running)).toBe(true);
    await expect(client.query("select 1")).rejects.toThrow();
    client.release();
    await expect(whereAmI(pool)).resolves.toMatchObject({ name: "second" });
    expect(pool.totalCount).toBe(1);
    // The one that sleeps does not notice.
    await until("nobody else is connected to the first", async () => {
      const rows = await first.sql(
        "select from pg_stat_activity where application_name like 'fula-master/test@%' and state <> 'active'",
      );
      return rows.length === 0;
    });
  });

  test("never uses a connection that was being made to where it was", async () => {
    const asking = Array.from({ length: 20 }, async () => await whereAmI(pool).catch((error: unknown) => error));
    await systemClock.sleep(0);
    follow.move(placeOf(second, TWO));
    for (const answer of await Promise.all(asking)) {
      if (answer instanceof Error) expect(isConnectionLoss(answer)).toBe(true);
      else expect(answer).toEqual({ name: "second", epoch: TWO });
    }
  });

  test("means another epoch of the same server from then on", async () => {
    await expect(whereAmI(pool)).resolves.toEqual({ name: "first", epoch: ONE });
    follow.move(placeOf(first, TWO));
    await expect(whereAmI(pool)).resolves.toEqual({ name: "first", epoch: TWO });
  });

  test("runs a transaction again that had not come to its commit", async () => {
    let runs = 0;
    const where = withTransaction(pool, async (client) => {
      runs += 1;
      if (runs === 1) {
        await client.query("select 1");
        follow.move(placeOf(second, TWO));
      }
      return (await client.query<object>("select name from server")).rows[0];
    });
    await expect(where).resolves.toEqual({ name: "second" });
    expect(runs).toBe(2);
  });

  test("that has ended is left alone", async () => {
    const ended = createPool(options());
    await whereAmI(ended);
    await ended.end();
    follow.move(placeOf(second, TWO));
    await expect(whereAmI(pool)).resolves.toMatchObject({ name: "second" });
  });
});

describe("when the server moves, a session", () => {
  test("is lost, and a new one goes where it is", async () => {
    await using session = await openSession(options(), systemClock);
    await expect(whereAmI(session.client)).resolves.toEqual({ name: "first", epoch: ONE });
    follow.move(placeOf(second, TWO));
    expect(session.lost.aborted).toBe(true);
    await using next = await openSession(options(), systemClock);
    await expect(whereAmI(next.client)).resolves.toEqual({ name: "second", epoch: TWO });
  });

  test("that is being opened is not opened", async () => {
    const opening = openSession(options(), systemClock);
    await systemClock.sleep(0);
    follow.move(placeOf(second, TWO));
    await expect(opening).rejects.toMatchObject({ code: "FULA_DATABASE_UNREACHABLE" });
  });
});
