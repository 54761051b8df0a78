import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { migrateDown, migrateUp, planMigrateDown } from "../../../src/lib/postgres/migrator.ts";
import { migrationFolder } from "../../support/migration-folder.ts";
import { emptyDatabase, type TestDatabase } from "../../support/postgres.ts";

const FILES = {
  "001_a.sql": "create table a (n integer);",
  "001_a.down.sql": "drop table a;",
  "001_a.guard.sql": "lock table a in share row exclusive mode;\nselect 'a: rows' as what, count(*) as rows from a;",
  "002_b.sql": "create table b ();",
  "002_b.down.sql": "drop table b;",
  "003_c.sql": "-- no-transaction\ncreate index concurrently if not exists a_n on a (n);",
  "003_c.down.sql": "-- no-transaction\ndrop index concurrently if exists a_n;",
};

let database: TestDatabase;

beforeEach(async () => {
  database = await emptyDatabase();
});
afterEach(async () => {
  await database.drop();
});

async function versions(): Promise<readonly number[]> {
  const { rows } = await database.pool.query<{ version: number }>("select version from schema_migrations order by 1");
  return rows.map(({ version }) => version);
}

describe("migrate down", () => {
  test("reverts the newest, with or without a transaction, and up applies it again", async () => {
    const { dir } = migrationFolder(FILES);
    await migrateUp(database.pool, { dir });
    expect(await migrateDown(database.pool, { dir })).toMatchObject({
      reverted: [{ version: 3, name: "c" }],
      version: 2,
    });
    expect((await database.pool.query("select to_regclass('a_n') as index")).rows).toEqual([{ index: null }]);
    expect(await migrateDown(database.pool, { dir })).toMatchObject({ reverted: [{ version: 2 }], version: 1 });
    expect((await migrateUp(database.pool, { dir })).applied.map(({ version }) => version)).toEqual([2, 3]);
  });

  test("refuses to lose rows, names what and how many, and reverts nothing at all: exit code 3", async () => {
    const { dir } = migrationFolder(FILES);
    await migrateUp(database.pool, { dir });
    await database.pool.query("insert into a values (1), (2)");
    await expect(migrateDown(database.pool, { dir, to: 0 })).rejects.toMatchObject({
      code: "FULA_MIGRATION_LOSES_DATA",
      kind: "refused",
      message: "Going down would lose a: rows: 2 (001_a). Nothing was changed.",
      details: { losses: [{ migration: "001_a", what: "a: rows", rows: "2" }] },
    });
    expect(await versions()).toEqual([1, 2, 3]);
  });

  test("with --force goes on and reports what was lost", async () => {
    const { dir } = migrationFolder(FILES);
    await migrateUp(database.pool, { dir });
    await database.pool.query("insert into a values (1)");
    const report = await migrateDown(database.pool, { dir, to: 0, force: true });
    expect(report).toMatchObject({ version: null, losses: [{ migration: "001_a", what: "a: rows", rows: "1" }] });
    expect(report.reverted.map(({ version }) => version)).toEqual([3, 2, 1]);
    expect(await versions()).toEqual([]);
  });

  test("a dry run shows steps and losses, and changes and locks nothing", async () => {
    const { dir } = migrationFolder(FILES);
    await migrateUp(database.pool, { dir });
    const writer = await database.pool.connect();
    await writer.query("begin");
    await writer.query("insert into a values (1)");
    await database.pool.query("insert into a values (2)");
    const plan = await planMigrateDown(database.pool, { dir, to: 0 });
    await writer.query("rollback");
    writer.release();
    expect(plan).toMatchObject({ dryRun: true, version: null, losses: [{ rows: "1" }] });
    expect(await versions()).toEqual([1, 2, 3]);
  });

  test("rows that come between the plan and the drop are seen: the guard is asked again under its lock", async () => {
    const { dir } = migrationFolder(FILES);
    await migrateUp(database.pool, { dir, to: 1 });
    const writer = await database.pool.connect();
    await writer.query("begin");
    await writer.query("insert into a values (1)");
    const reverting = migrateDown(database.pool, {
      dir,
      // The plan saw no row. Now the writer commits while the guard waits for its lock.
      report: (event) => {
        if (event.event === "migration.started") void writer.query("commit");
      },
    });
    await expect(reverting).rejects.toMatchObject({ code: "FULA_MIGRATION_LOSES_DATA" });
    writer.release();
    expect((await database.pool.query("select n from a")).rows).toEqual([{ n: 1 }]);
    expect(await versions()).toEqual([1]);
  });

  test("refuses before anything where one of them has no down file", async () => {
    const folder = migrationFolder(FILES);
    folder.remove("002_b.down.sql");
    await migrateUp(database.pool, { dir: folder.dir });
    await expect(migrateDown(database.pool, { dir: folder.dir, to: 0 })).rejects.toMatchObject({
      code: "FULA_MIGRATION_IRREVERSIBLE",
      kind: "refused",
    });
    expect(await versions()).toEqual([1, 2, 3]);
  });

  test("a down file that fails leaves its migration in effect and names what was reverted before it", async () => {
    const folder = migrationFolder(FILES);
    folder.write({ "002_b.down.sql": "drop table b;\nselect 1/0;" });
    await migrateUp(database.pool, { dir: folder.dir });
    await expect(migrateDown(database.pool, { dir: folder.dir, to: 0 })).rejects.toMatchObject({
      code: "FULA_MIGRATION_FAILED",
      message: expect.stringContaining("002_b failed at 002_b.down.sql:2"),
      details: { reverted: ["003_c"] },
    });
    expect(await versions()).toEqual([1, 2]);
  });
});
