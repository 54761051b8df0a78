import { createServer } from "node:net";
import { once } from "node:events";
import { types } from "pg";
import { describe, expect, onTestFinished, test } from "vitest";
import { createPool, type Pool, type PoolOptions } from "../../../src/lib/postgres/pool.ts";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { withTransaction } from "../../../src/lib/postgres/transaction.ts";
import { findFreePort } from "../../support/free-port.ts";
import { asSuperuser, emptyDatabase, testPostgres } from "../../support/postgres.ts";
import { until } from "../../support/until.ts";

function poolWith(options: PoolOptions): Pool {
  const pool = createPool(options);
  onTestFinished(async () => {
    if (!pool.ended) await pool.end();
  });
  return pool;
}

async function failureOf(pool: Pool): Promise<unknown> {
  return await withTransaction(pool, async (client) => await client.query("select 1")).then(
    () => null,
    (error: unknown) => error,
  );
}

describe("the pool", () => {
  test("names itself in pg_stat_activity", async () => {
    await using database = await emptyDatabase();
    const { rows } = await database.pool.query("select current_setting('application_name') as name");
    expect(rows).toEqual([{ name: "fula-master/test@test" }]);
  });

  test("gives bigint and numeric as strings, even where somebody asked pg for numbers", async () => {
    await using database = await emptyDatabase();
    const int8 = types.getTypeParser(types.builtins.INT8);
    types.setTypeParser(types.builtins.INT8, Number);
    onTestFinished(() => {
      types.setTypeParser(types.builtins.INT8, int8);
    });
    const { rows } = await database.pool.query(
      "select 9007199254740993::bigint as big, 0.1::numeric(38,18) as money, 1 as n",
    );
    expect(rows).toEqual([{ big: "9007199254740993", money: "0.100000000000000000", n: 1 }]);
  });

  test("encrypts as it is told, and verify-full takes no server that nobody vouches for", async () => {
    await using database = await emptyDatabase();
    const { tlsCaFile } = testPostgres();
    if (tlsCaFile === null) throw new Error("this PostgreSQL was built without TLS");
    const isEncrypted = async (options: Partial<PoolOptions>): Promise<unknown> => {
      const pool = poolWith({ ...database.options, host: "localhost", ...options });
      const { rows } = await pool.query("select ssl from pg_stat_ssl where pid = pg_backend_pid()");
      return rows[0]?.ssl;
    };
    expect(await isEncrypted({})).toBe(false);
    expect(await isEncrypted({ tls: "require" })).toBe(true);
    expect(await isEncrypted({ tls: "verify-full", tlsCaFile })).toBe(true);
    await expect(isEncrypted({ tls: "verify-full" })).rejects.toThrow(/certificate/);
    await expect(isEncrypted({ tls: "verify-full", tlsCaFile, host: "127.0.0.1" })).rejects.toThrow(/altnames|IP/);
    expect(() => createPool({ ...database.options, tls: "require", tlsCaFile: "/nowhere/ca.pem" })).toThrow(
      expect.objectContaining({ code: "FULA_CONFIG_READ" }),
    );
  });

  test("cancels a statement that takes longer than its limit", async () => {
    await using database = await emptyDatabase();
    const pool = poolWith({ ...database.options, statementTimeoutMs: 50 });
    await expect(pool.query("select pg_sleep(10)")).rejects.toMatchObject({ code: "57014" });
  });

  test("outlives connections that drop, idle or checked out, and logs each", async () => {
    await using database = await emptyDatabase();
    const lost: string[] = [];
    const log = { ...silentLog, warn: (event: string) => lost.push(event) };
    const pool = poolWith({ ...database.options, part: "victim", log });
    const busy = await pool.connect();
    const idle = await pool.connect();
    idle.release();
    await asSuperuser("select pg_terminate_backend(pid) from pg_stat_activity where application_name like '%victim%'");
    // One that is checked out may be told of twice, before the idle one is heard of at all.
    await until("both losses are noticed", () => Promise.resolve(lost.length >= 2 && pool.idleCount === 0));
    expect(new Set(lost)).toEqual(new Set(["postgres.connection.lost"]));
    await expect(busy.query("select 1")).rejects.toThrow(Error);
    busy.release(true);
    expect((await pool.query("select 1 as one")).rows).toEqual([{ one: 1 }]);
  });
});

describe("a database that cannot be used", () => {
  test("a closed port is unreachable: exit code 4", async () => {
    const port = await findFreePort();
    const pool = poolWith({
      host: "127.0.0.1",
      port,
      database: "d",
      user: "u",
      password: "hunter2",
      part: "t",
      node: "n",
    });
    expect(await failureOf(pool)).toMatchObject({
      code: "FULA_DATABASE_UNREACHABLE",
      kind: "unavailable",
      message: `PostgreSQL does not answer: d at 127.0.0.1:${port} (ECONNREFUSED).`,
    });
  });

  test("a server that accepts and says nothing is unreachable after the connect timeout", async () => {
    const server = createServer(() => {}).listen(0, "127.0.0.1");
    onTestFinished(() => {
      server.close();
    });
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const options = { host: "127.0.0.1", port, database: "d", user: "u", part: "t", node: "n", connectTimeoutMs: 100 };
    expect(await failureOf(poolWith(options))).toMatchObject({ code: "FULA_DATABASE_UNREACHABLE" });
  });

  test("a wrong password is a setting to correct, and is not repeated: exit code 2", async () => {
    await using database = await emptyDatabase();
    const error = await failureOf(poolWith({ ...database.options, password: "hunter2" }));
    expect(error).toMatchObject({ code: "FULA_DATABASE_LOGIN", kind: "usage" });
    expect(JSON.stringify(error) + String(error)).not.toContain("hunter2");
  });

  test("a login that fails on this side is hung up: else nobody could drop a database while the server waits for it", async () => {
    const message = (kind: number, text: string): Buffer => {
      const head = Buffer.from("R\0\0\0\0\0\0\0\0");
      head.writeInt32BE(8 + text.length, 1);
      head.writeInt32BE(kind, 5);
      return Buffer.concat([head, Buffer.from(text)]);
    };
    const closed = Promise.withResolvers<void>();
    // Asks for a password as PostgreSQL does, and then waits for it without end.
    const server = createServer((socket) => {
      socket.on("close", closed.resolve);
      socket.once("data", () => {
        socket.write(message(10, "SCRAM-SHA-256\0\0"));
        socket.once("data", () => socket.write(message(11, "r=nonce,s=c2FsdA==,i=4096")));
      });
    }).listen(0, "127.0.0.1");
    onTestFinished(() => {
      server.close();
    });
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const pool = poolWith({ host: "127.0.0.1", port, database: "d", user: "u", part: "t", node: "n" });
    expect(await failureOf(pool)).toMatchObject({ code: "FULA_DATABASE_LOGIN" });
    await closed.promise;
  });

  test("no password, and no such database, are settings to correct", async () => {
    const { host, port, owner } = testPostgres();
    const common = { host, port, user: owner.user, part: "t", node: "n" };
    expect(await failureOf(poolWith({ ...common, database: "postgres" }))).toMatchObject({
      code: "FULA_DATABASE_LOGIN",
    });
    expect(await failureOf(poolWith({ ...common, database: "no_such_one", password: owner.password }))).toMatchObject({
      code: "FULA_DATABASE_LOGIN",
      hint: expect.stringContaining("createdb no_such_one"),
    });
  });
});
