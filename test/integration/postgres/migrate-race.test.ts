import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { MIGRATION_LOCK_KEY } from "../../../src/lib/postgres/migration-lock.ts";
import { migrateUp } from "../../../src/lib/postgres/migrator.ts";
import { createPool, type PoolOptions } from "../../../src/lib/postgres/pool.ts";
import { migrationFolder } from "../../support/migration-folder.ts";
import { emptyDatabase } from "../../support/postgres.ts";

const SOAK = process.env["SOAK"] === "1";
const ROUNDS = Array.from({ length: SOAK ? 100 : 10 }, (_, index) => index + 1);
const INSTALLER = join(import.meta.dirname, "..", "..", "support", "children", "migrate-up.ts");

// Not one of these bears being run twice, so an installer that ran beside another would fail or leave two rows.
const FILES = {
  "001_a.sql": "create table a (who integer);\ninsert into a values (1);",
  "002_b.sql": "-- no-transaction\ncreate unique index concurrently if not exists a_who on a (who);",
  "003_c.sql": "insert into a select max(who) + 1 from a;",
  "004_d.sql": "create table d ();\ninsert into a select max(who) + 1 from a;",
};

/** An installer in a process of its own that waits for its start. */
async function installer(options: PoolOptions, dir: string, delayMs: number): Promise<() => Promise<number[]>> {
  const child = spawn(process.execPath, [INSTALLER, JSON.stringify(options), dir, String(delayMs)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  let output = "";
  const ready = Promise.withResolvers<void>();
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
    if (output.startsWith("ready\n")) ready.resolve();
  });
  // Not at "exit": what it has written may still be on its way.
  const closed = once(child, "close");
  void closed.then(() => {
    ready.resolve();
  });
  await ready.promise;
  return async () => {
    child.stdin.end();
    const [exitCode] = await closed;
    expect(exitCode).toBe(0);
    const applied: number[] = JSON.parse(output.slice("ready\n".length));
    return applied;
  };
}

describe("two installers at once", () => {
  // The seed shifts the second one's start by some milliseconds, so that it arrives at another point of the first's run.
  test.each(ROUNDS)("apply each migration once (seed %i)", async (seed) => {
    await using database = await emptyDatabase();
    const { dir } = migrationFolder(FILES);
    const starts = await Promise.all([
      installer({ ...database.options, node: "fula-1" }, dir, 0),
      installer({ ...database.options, node: "fula-2" }, dir, (seed * 7) % 40),
    ]);
    const applied = await Promise.all(starts.map(async (start) => await start()));
    expect(applied.flat().toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4]);
    expect((await database.pool.query("select who from a order by who")).rows).toEqual([
      { who: 1 },
      { who: 2 },
      { who: 3 },
    ]);
    expect((await database.pool.query("select version from schema_migrations order by 1")).rows).toHaveLength(4);
  });

  test("the second one names the first while it waits, and gives up after its time: exit code 4", async () => {
    await using database = await emptyDatabase();
    const { dir } = migrationFolder(FILES);
    const first = createPool({ ...database.options, part: "migrate", node: "fula-1" });
    const client = await first.connect();
    await client.query("select pg_advisory_lock($1)", [MIGRATION_LOCK_KEY.toString()]);
    const { rows } = await client.query<{ pid: number }>("select pg_backend_pid() as pid");
    const waiting: string[] = [];
    const second = migrateUp(database.pool, {
      dir,
      lockWaitMs: 300,
      report: (event) => {
        if (event.event === "lock.waiting") waiting.push(event.holder);
      },
    });
    const holder = `fula-master/migrate@fula-1 (pid ${rows[0]?.pid}, 127.0.0.1)`;
    await expect(second).rejects.toMatchObject({
      code: "FULA_MIGRATION_LOCKED",
      kind: "unavailable",
      message: expect.stringContaining(`${holder} holds the migration lock`),
      hint: expect.stringContaining(`pg_terminate_backend(${rows[0]?.pid})`),
    });
    expect(waiting).toContain(holder);
    client.release(true);
    await first.end();
  });

  test("a dead installer's lock is free at once", async () => {
    await using database = await emptyDatabase();
    const { dir } = migrationFolder(FILES);
    const child = spawn(
      process.execPath,
      [
        "--input-type=module",
        "--eval",
        `import { Client } from "pg";
         const client = new Client(${JSON.stringify(database.options)});
         await client.connect();
         await client.query("select pg_advisory_lock(${MIGRATION_LOCK_KEY})");
         console.log("held");
         setInterval(() => {}, 1000);`,
      ],
      { stdio: ["ignore", "pipe", "inherit"], cwd: join(import.meta.dirname, "..", "..", "..") },
    );
    await once(child.stdout, "data");
    child.kill("SIGKILL");
    await once(child, "exit");
    expect((await migrateUp(database.pool, { dir })).applied).toHaveLength(4);
  });
});
