import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { MigrationEvent } from "../../../src/lib/postgres/migration-run.ts";
import { migrateUp, planMigrations } from "../../../src/lib/postgres/migrator.ts";
import { migrationStatus } from "../../../src/lib/postgres/migration-status.ts";
import { createPool } from "../../../src/lib/postgres/pool.ts";
import { migrationFolder } from "../../support/migration-folder.ts";
import { asSuperuser, emptyDatabase, type TestDatabase } from "../../support/postgres.ts";
import { until } from "../../support/until.ts";

const FILES = {
  "001_rows.sql": "create table rows (n integer);\ninsert into rows select generate_series(1, 100);",
  "002_key.sql": "-- no-transaction\ncreate unique index concurrently if not exists rows_key on rows (n);",
  "003_more.sql": "create table more ();",
};

let database: TestDatabase;

beforeEach(async () => {
  database = await emptyDatabase();
});
afterEach(async () => {
  await database.drop();
});

async function indexState(): Promise<string> {
  const { rows } = await database.pool.query<{ valid: boolean }>(
    "select indisvalid as valid from pg_index where indexrelid = to_regclass('rows_key')",
  );
  const [row] = rows;
  return row === undefined ? "missing" : row.valid ? "valid" : "invalid";
}

/** Leaves what an interrupted build leaves: the index is there, INVALID, and IF NOT EXISTS takes it for done. */
async function leaveInvalidIndex(): Promise<void> {
  await database.pool.query("insert into rows values (1)");
  await expect(database.pool.query("create unique index concurrently rows_key on rows (n)")).rejects.toMatchObject({
    code: "23505",
  });
  await database.pool.query("delete from rows where ctid = (select max(ctid) from rows where n = 1)");
  expect(await indexState()).toBe("invalid");
}

/** Kills the installer's connection, as a crash of its box would. */
async function killInstaller(): Promise<void> {
  await asSuperuser(
    `select pg_terminate_backend(pid, 60000) from pg_stat_activity
      where datname = '${database.name}' and application_name = 'fula-master/installer@test'`,
  );
}

describe("an index build that was interrupted (defect 11)", () => {
  test("is found INVALID, dropped and built again, before its migration counts as applied", async () => {
    const { dir } = migrationFolder(FILES);
    await migrateUp(database.pool, { dir, to: 1 });
    await leaveInvalidIndex();
    const told: MigrationEvent[] = [];
    await migrateUp(database.pool, { dir, report: (event) => told.push(event) });
    expect(await indexState()).toBe("valid");
    expect(told).toContainEqual({ event: "index.dropped", id: "002_key", index: "rows_key" });
  });

  test("control: without that, IF NOT EXISTS skips the INVALID index and reports success", async () => {
    const { dir } = migrationFolder(FILES);
    await migrateUp(database.pool, { dir, to: 1 });
    await leaveInvalidIndex();
    await database.pool.query("create unique index concurrently if not exists rows_key on rows (n)");
    expect(await indexState()).toBe("invalid");
  });

  test.each(["invalid", "missing"] as const)(
    "is seen by status and mended by up when it is %s though its row says applied",
    async (state) => {
      const { dir } = migrationFolder(FILES);
      await migrateUp(database.pool, { dir });
      await database.pool.query("drop index rows_key");
      if (state === "invalid") await leaveInvalidIndex();
      const broken = [{ index: "rows_key", migration: "002_key", state }];
      expect(await migrationStatus(database.pool, { dir })).toMatchObject({ upToDate: false, brokenIndexes: broken });
      expect(await planMigrations(database.pool, { dir })).toMatchObject({ applied: [], mended: broken });
      expect(await indexState()).toBe(state);
      expect(await migrateUp(database.pool, { dir })).toMatchObject({ applied: [], mended: broken });
      expect(await indexState()).toBe("valid");
      expect(await migrationStatus(database.pool, { dir })).toMatchObject({ upToDate: true, brokenIndexes: [] });
    },
  );

  test("an index that a later migration drops is not missed", async () => {
    const { dir } = migrationFolder({ ...FILES, "004_drop.sql": "drop index rows_key;" });
    await migrateUp(database.pool, { dir });
    expect(await migrationStatus(database.pool, { dir })).toMatchObject({ upToDate: true, brokenIndexes: [] });
  });

  test("one that another session is building right now is left to it", async () => {
    const { dir } = migrationFolder(FILES);
    await migrateUp(database.pool, { dir, to: 1 });
    const writer = await database.pool.connect();
    await writer.query("begin");
    await writer.query("insert into rows values (1000)");
    const building = database.pool.query("create unique index concurrently rows_key on rows (n)");
    await until("the build has begun", async () => {
      const { rowCount } = await database.pool.query(
        "select from pg_stat_progress_create_index where datname = current_database()",
      );
      return rowCount === 1 && (await indexState()) === "invalid";
    });
    await expect(migrateUp(database.pool, { dir })).rejects.toMatchObject({
      code: "FULA_INDEX_BUSY",
      kind: "unavailable",
    });
    await writer.query("commit");
    writer.release();
    await building;
    await migrateUp(database.pool, { dir });
    expect(await indexState()).toBe("valid");
  });
});

describe("an installer whose connection is cut", () => {
  test("in the middle of an index build leaves it INVALID and unrecorded; the next run mends it and goes on", async () => {
    const { dir } = migrationFolder(FILES);
    await migrateUp(database.pool, { dir, to: 1 });
    const writer = await database.pool.connect();
    await writer.query("begin");
    await writer.query("insert into rows values (1000)");
    const pool = createPool({ ...database.options, part: "installer" });
    const installing = migrateUp(pool, { dir });
    const outcome = expect(installing).rejects.toMatchObject({
      code: "FULA_DATABASE_UNREACHABLE",
      message: "The connection was lost in the middle of 002_key. Nothing was applied before it.",
    });
    await until("the build waits for the writer", async () => (await indexState()) === "invalid");
    await killInstaller();
    await outcome;
    await pool.end();
    await writer.query("rollback");
    writer.release();
    expect(await indexState()).toBe("invalid");
    expect(await migrationStatus(database.pool, { dir })).toMatchObject({ version: 1, upToDate: false });

    const { applied } = await migrateUp(database.pool, { dir });
    expect(applied.map(({ version }) => version)).toEqual([2, 3]);
    expect(await indexState()).toBe("valid");
  });

  test("in the middle of a transaction leaves nothing of it; the next run applies it", async () => {
    const { dir } = migrationFolder({ ...FILES, "003_more.sql": "create table more ();\nselect pg_sleep(60);" });
    const pool = createPool({ ...database.options, part: "installer" });
    const installing = migrateUp(pool, { dir });
    const outcome = expect(installing).rejects.toMatchObject({
      code: "FULA_DATABASE_UNREACHABLE",
      message: "The connection was lost in the middle of 003_more. Before it, 001_rows, 002_key was applied.",
      details: { applied: ["001_rows", "002_key"], interrupted: "003_more" },
    });
    await until("the migration sleeps", async () => {
      const { rowCount } = await database.pool.query(
        "select from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()",
      );
      return rowCount === 1;
    });
    await killInstaller();
    await outcome;
    await pool.end();
    const { rows } = await database.pool.query(
      "select to_regclass('more') as more, max(version) as version from schema_migrations",
    );
    expect(rows).toEqual([{ more: null, version: 2 }]);
    const { dir: mended } = migrationFolder(FILES);
    expect((await migrateUp(database.pool, { dir: mended })).applied.map(({ version }) => version)).toEqual([3]);
  });

  test("a build tells what it waits for", async () => {
    const { dir } = migrationFolder(FILES);
    await migrateUp(database.pool, { dir, to: 1 });
    const writer = await database.pool.connect();
    await writer.query("begin");
    await writer.query("insert into rows values (1000)");
    const phases: string[] = [];
    const told = Promise.withResolvers<void>();
    const building = migrateUp(database.pool, {
      dir,
      report: (event) => {
        if (event.event !== "index.building") return;
        phases.push(event.phase);
        // On a busy machine the first look may come before it waits.
        if (event.phase.startsWith("waiting for writers")) told.resolve();
      },
    });
    await told.promise;
    await writer.query("commit");
    writer.release();
    await building;
    const waited = /^waiting for writers before build: fula-master\/test@test \(pid \d+\)$/;
    expect(phases).toContainEqual(expect.stringMatching(waited));
  });
});
