import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { MigrationEvent } from "../../../src/lib/postgres/migration-run.ts";
import { migrateUp, planMigrations } from "../../../src/lib/postgres/migrator.ts";
import { migrationStatus } from "../../../src/lib/postgres/migration-status.ts";
import { createPool } from "../../../src/lib/postgres/pool.ts";
import { FakeClock } from "../../support/clock.ts";
import { migrationFolder } from "../../support/migration-folder.ts";
import { asSuperuser, emptyDatabase, type TestDatabase } from "../../support/postgres.ts";

let database: TestDatabase;

beforeEach(async () => {
  database = await emptyDatabase();
});
afterEach(async () => {
  await database.drop();
});

async function tables(): Promise<readonly string[]> {
  const { rows } = await database.pool.query<{ name: string }>(
    "select relname::text as name from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' order by 1",
  );
  return rows.map(({ name }) => name);
}

async function history(): Promise<readonly object[]> {
  const { rows } = await database.pool.query<object>(
    "select version, name, how, breaking, tool_version <> '' as versioned, length(checksum) as digits from schema_migrations order by version",
  );
  return rows;
}

describe("migrate up", () => {
  test("applies in order, records each with its checksum, and says so a second time", async () => {
    const { dir } = migrationFolder({
      "001_a.sql": "create table a (id integer);",
      "002_b.sql": "-- breaking\ninsert into a values (1);\ncreate table b as select * from a;",
    });
    const first = await migrateUp(database.pool, { dir });
    expect(first).toMatchObject({ dryRun: false, version: 2, mended: [], newer: [] });
    expect(first.applied.map(({ version }) => version)).toEqual([1, 2]);
    expect(await history()).toEqual([
      { version: 1, name: "a", how: "applied", breaking: false, versioned: true, digits: 64 },
      { version: 2, name: "b", how: "applied", breaking: true, versioned: true, digits: 64 },
    ]);
    expect(await migrateUp(database.pool, { dir })).toMatchObject({ applied: [], version: 2 });
  });

  test("a migration that is new since is applied on the next run", async () => {
    const folder = migrationFolder({ "001_a.sql": "create table a ();" });
    await migrateUp(database.pool, { dir: folder.dir });
    folder.write({ "002_b.sql": "create table b ();" });
    expect((await migrateUp(database.pool, { dir: folder.dir })).applied.map(({ version }) => version)).toEqual([2]);
  });

  test("stops at --to", async () => {
    const { dir } = migrationFolder({ "001_a.sql": "create table a ();", "002_b.sql": "create table b ();" });
    expect(await migrateUp(database.pool, { dir, to: 1 })).toMatchObject({ version: 1 });
    expect(await tables()).toEqual(["a", "schema_migrations"]);
  });

  test("halts at the first error, keeps what was applied, and names file, line and reason", async () => {
    const { dir } = migrationFolder({
      "001_a.sql": "create table a ();",
      "002_b.sql": "-- why\ncreate table b (\n  id integer,\n  x nosuchtype\n);",
      "003_c.sql": "create table c ();",
    });
    await expect(migrateUp(database.pool, { dir })).rejects.toMatchObject({
      code: "FULA_MIGRATION_FAILED",
      kind: "failed",
      message:
        '002_b failed at 002_b.sql:4 (create table b (): type "nosuchtype" does not exist [42704]. Before it, 001_a was applied.',
      details: { applied: ["001_a"], failed: "002_b", line: 4, sqlState: "42704" },
    });
    expect(await tables()).toEqual(["a", "schema_migrations"]);
  });

  test("a failed migration leaves nothing of itself, and the next run goes on with it", async () => {
    const folder = migrationFolder({ "001_a.sql": "create table a ();\ncreate table b ();\nselect 1/0;" });
    await expect(migrateUp(database.pool, { dir: folder.dir })).rejects.toMatchObject({
      message: expect.stringContaining("001_a.sql:3"),
    });
    expect(await tables()).toEqual(["schema_migrations"]);
    folder.write({ "001_a.sql": "create table a ();" });
    expect((await migrateUp(database.pool, { dir: folder.dir })).applied).toHaveLength(1);
  });

  test("an exception that a migration raises is a refusal in its own words: exit code 3", async () => {
    const { dir } = migrationFolder({
      "001_a.sql":
        "do $$ begin raise exception 'Migration 001 aborted: 2 duplicates.' using detail = 'x, y', hint = 'merge them'; end $$;",
    });
    await expect(migrateUp(database.pool, { dir })).rejects.toMatchObject({
      code: "FULA_MIGRATION_ABORTED",
      kind: "refused",
      message: "Migration 001 aborted: 2 duplicates. x, y Nothing was applied before it.",
      hint: "merge them",
    });
  });

  test("a file that was changed after it was applied is refused before anything runs", async () => {
    const folder = migrationFolder({ "001_a.sql": "create table a ();" });
    await migrateUp(database.pool, { dir: folder.dir });
    folder.write({ "001_a.sql": "create table a (id integer);", "002_b.sql": "create table b ();" });
    await expect(migrateUp(database.pool, { dir: folder.dir })).rejects.toMatchObject({
      code: "FULA_MIGRATION_CHANGED",
      kind: "refused",
    });
    expect(await tables()).toEqual(["a", "schema_migrations"]);
  });

  test("a missing file and a newer, breaking database are refused; a newer, compatible one is left alone", async () => {
    const folder = migrationFolder({
      "001_a.sql": "create table a ();",
      "002_b.sql": "create table b ();",
      "003_c.sql": "create table c ();",
    });
    await migrateUp(database.pool, { dir: folder.dir });
    folder.remove("003_c.sql");
    expect(await migrateUp(database.pool, { dir: folder.dir })).toMatchObject({ newer: ["003_c"], version: 3 });
    await database.pool.query("update schema_migrations set breaking = true where version = 3");
    await expect(migrateUp(database.pool, { dir: folder.dir })).rejects.toMatchObject({ code: "FULA_SCHEMA_NEWER" });
    folder.write({ "003_c.sql": "create table c ();" });
    folder.remove("002_b.sql");
    await expect(migrateUp(database.pool, { dir: folder.dir })).rejects.toMatchObject({
      code: "FULA_MIGRATION_MISSING",
    });
  });

  test("a dry run shows the plan and writes nothing, not even its own table", async () => {
    const { dir } = migrationFolder({ "001_a.sql": "create table a ();", "002_b.sql": "create table b ();" });
    const plan = await planMigrations(database.pool, { dir });
    expect(plan).toMatchObject({ dryRun: true, version: 2, blockers: [] });
    expect(plan.applied.map(({ name }) => name)).toEqual(["a", "b"]);
    expect(await tables()).toEqual([]);
  });

  test("a dry run runs the checks of what is pending, and leaves out those that need what is not there yet", async () => {
    const { dir } = migrationFolder({
      "001_a.sql": "create table a ();",
      "002_b.sql": "do $check$ begin perform from a; end $check$;",
      "003_c.sql": "do $check$ begin raise exception 'aborted: 3' using detail = 'three'; end $check$;",
    });
    expect((await planMigrations(database.pool, { dir })).blockers).toEqual([
      { migration: "003_c", message: "aborted: 3", detail: "three", hint: null },
    ]);
  });

  test("waits for a lock briefly, gives the others room, tries again, and tells", async () => {
    const { dir } = migrationFolder({
      "001_a.sql": "create table a (id integer);",
      "002_b.sql": "alter table a add x integer;",
    });
    await migrateUp(database.pool, { dir, to: 1 });
    const other = await database.pool.connect();
    await other.query("begin");
    await other.query("select * from a");
    const clock = new FakeClock();
    const told: MigrationEvent[] = [];
    const report = async (event: MigrationEvent): Promise<void> => {
      told.push(event);
      if (event.event === "migration.retried") await other.query("commit");
    };
    const { applied } = await migrateUp(database.pool, { dir, clock, report: (event) => void report(event) });
    other.release();
    expect(applied).toHaveLength(1);
    expect(told.filter(({ event }) => event === "migration.retried")).toMatchObject([{ delayMs: 1_000 }]);
    // What it asks the clock for afterwards bounds how long it takes to let go of the lock.
    expect(clock.sleptMs[0]).toBe(1_000);
  });

  test("an interrupt cancels the running statement, rolls back, and says what was applied", async () => {
    const { dir } = migrationFolder({
      "001_a.sql": "create table a ();",
      "002_b.sql": "create table b ();\nselect pg_sleep(60);",
    });
    const controller = new AbortController();
    const running = migrateUp(database.pool, {
      dir,
      signal: controller.signal,
      report: (event) => {
        if (event.event === "migration.started" && event.id === "002_b")
          setImmediate(() => controller.abort(new Error("^C")));
      },
    });
    await expect(running).rejects.toMatchObject({ code: "FULA_INTERRUPTED", details: { applied: ["001_a"] } });
    expect(await tables()).toEqual(["a", "schema_migrations"]);
  });

  test("a role that may not create tables is told so, not called a bug", async () => {
    const { dir } = migrationFolder({ "001_a.sql": "create table a ();" });
    await database.pool.query("revoke create on schema public from public");
    await asSuperuser(
      "alter schema public owner to postgres; revoke all on schema public from fula_test; revoke create on schema public from public; grant usage on schema public to fula_test",
      database.name,
    );
    await expect(migrateUp(database.pool, { dir })).rejects.toMatchObject({ code: "FULA_DATABASE_PERMISSION" });
  });

  test("a standby, or a database set to read only, is refused", async () => {
    const { dir } = migrationFolder({ "001_a.sql": "create table a ();" });
    await database.pool.query(`alter database ${database.name} set default_transaction_read_only = on`);
    await database.pool.query(
      // Its owner may not end what the server itself does there.
      "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'",
    );
    const pool = createPool(database.options);
    await expect(migrateUp(pool, { dir })).rejects.toMatchObject({ code: "FULA_DATABASE_READ_ONLY", kind: "refused" });
    await pool.end();
  });

  test("a schema_migrations of another tool is refused", async () => {
    await database.pool.query("create table schema_migrations (version varchar primary key)");
    const { dir } = migrationFolder({ "001_a.sql": "create table a ();" });
    await expect(migrateUp(database.pool, { dir })).rejects.toMatchObject({ code: "FULA_DATABASE_FOREIGN" });
  });

  test("a database with other tables, in whatever schema, is refused", async () => {
    const { dir } = migrationFolder({ "001_a.sql": "create table a ();" });
    await database.pool.query("create schema shop");
    await database.pool.query("create table shop.orders ()");
    await expect(migrateUp(database.pool, { dir })).rejects.toMatchObject({
      code: "FULA_DATABASE_FOREIGN",
      message: expect.stringContaining("shop.orders"),
    });
  });

  test("status reads every standing, and writes nothing", async () => {
    const folder = migrationFolder({ "001_a.sql": "create table a ();", "002_b.sql": "create table b ();" });
    expect(await migrationStatus(database.pool, { dir: folder.dir })).toMatchObject({
      database: "empty",
      upToDate: false,
      version: null,
    });
    expect(await tables()).toEqual([]);
    await migrateUp(database.pool, { dir: folder.dir, to: 1 });
    expect(await migrationStatus(database.pool, { dir: folder.dir })).toMatchObject({
      database: "managed",
      upToDate: false,
      version: 1,
      migrations: [
        { version: 1, name: "a", standing: "applied", toolVersion: expect.any(String) },
        { version: 2, name: "b", standing: "pending", appliedAt: null, durationMs: null, toolVersion: null },
      ],
    });
    await migrateUp(database.pool, { dir: folder.dir });
    expect(await migrationStatus(database.pool, { dir: folder.dir })).toMatchObject({ upToDate: true, version: 2 });
  });
});
