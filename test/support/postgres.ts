import { randomBytes } from "node:crypto";
import { Client } from "pg";
import { inject } from "vitest";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { sqlStateOf } from "../../src/lib/postgres/database-errors.ts";
import { createPool, type Pool, type PoolOptions } from "../../src/lib/postgres/pool.ts";
import type { TestPostgres } from "./postgres-server.ts";
import { until } from "./until.ts";

declare module "vitest" {
  interface ProvidedContext {
    readonly postgres: TestPostgres;
  }
}

/** One database of its own for a test; drop it (or declare it with `await using`) when the test is over. */
export interface TestDatabase extends AsyncDisposable {
  readonly name: string;
  /** `postgresql://user:password@host:port/name` */
  readonly url: string;
  readonly options: PoolOptions & { readonly password: string };
  /** Connected as the owner of the database, who is no superuser: what works here works on a managed server. */
  readonly pool: Pool;
  /** Closes the pool and removes the database, whoever is still connected. */
  drop(): Promise<void>;
}

const HELD_CLIENT_GRACE_MS = 1_000;
/** Of the tests' own pools; a master's give a connection a few seconds, which a busy machine may need for a login. */
const CONNECT_TIMEOUT_MS = 30_000;

/** The server that the whole run shares. */
export function testPostgres(): TestPostgres {
  return inject("postgres");
}

/** Runs one statement as superuser in the maintenance database. */
export async function asSuperuser(sql: string, database = "postgres"): Promise<void> {
  const { host, port, superuser } = testPostgres();
  const { user, password } = superuser;
  const place = { host, port, database, user, password };
  const client = new Client({ ...place, connectionTimeoutMillis: CONNECT_TIMEOUT_MS });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

/** SQLSTATE object_in_use: the server gives sessions that it has told to end five seconds for that, which a busy one exceeds. */
const IN_USE = "55006";

/** Runs a statement that needs a database without sessions, as soon as the last of them is gone. */
async function onceUnused(sql: string): Promise<void> {
  await until("the database is used by nobody", async () => {
    try {
      await asSuperuser(sql);
      return true;
    } catch (error) {
      if (sqlStateOf(error) !== IN_USE) throw error;
      return false;
    }
  });
}

async function createDatabase(template: string): Promise<TestDatabase> {
  const { host, port, owner } = testPostgres();
  const name = `test_${randomBytes(8).toString("hex")}`;
  await onceUnused(`create database ${name} template ${template} owner ${owner.user}`);
  const options = {
    host,
    port,
    database: name,
    user: owner.user,
    password: owner.password,
    part: "test",
    node: "test",
  };
  const pool = createPool({ ...options, connectTimeoutMs: CONNECT_TIMEOUT_MS });
  let dropped = false;
  const drop = async (): Promise<void> => {
    if (dropped) return;
    dropped = true;
    // A client that a failed test still holds would keep `end` waiting for ever; dropping the database cuts it off.
    const ended = pool.ended ? Promise.resolve() : pool.end();
    await onceUnused(`drop database ${name} with (force)`);
    await Promise.race([ended, systemClock.sleep(HELD_CLIENT_GRACE_MS)]);
  };
  return {
    name,
    url: `postgresql://${owner.user}:${owner.password}@${host}:${port}/${name}`,
    options,
    pool,
    drop,
    [Symbol.asyncDispose]: drop,
  };
}

/** A database with every migration applied. */
export async function freshDatabase(): Promise<TestDatabase> {
  return await createDatabase(testPostgres().template);
}

/** A database with everything that another one has; nobody may be connected with that one. */
export async function copyOf(name: string): Promise<TestDatabase> {
  return await createDatabase(name);
}

/** A database with nothing in it. */
export async function emptyDatabase(): Promise<TestDatabase> {
  return await createDatabase("template0");
}
