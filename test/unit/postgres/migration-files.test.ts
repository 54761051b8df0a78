import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { loadMigrations, migrationId } from "../../../src/lib/postgres/migration-files.ts";
import { tempDir } from "../../support/temp-dir.ts";

function folder(files: Readonly<Record<string, string>>): string {
  const dir = tempDir();
  for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text);
  return dir;
}

describe("loading migrations", () => {
  test("puts the files of a number together, in the order of the numbers", async () => {
    const dir = folder({
      "010_b.sql": "-- no-transaction\n-- breaking\nselect 10;",
      "010_b.down.sql": "select -10;",
      "002_a.sql": "-- baseline\nselect 2;",
      "002_a.probe.sql": "select 'x' as part, true as present;",
      "002_a.guard.sql": "select 'y' as what, 0::bigint as rows;",
      "README.md": "not SQL",
    });
    const [first, second] = await loadMigrations(dir);
    expect(first).toMatchObject({ version: 2, name: "a", baseline: true, breaking: false, down: null });
    expect(first?.up.transactional).toBe(true);
    expect(first?.probe?.statements).toHaveLength(1);
    expect(first?.guard?.statements).toHaveLength(1);
    expect(second).toMatchObject({ version: 10, name: "b", baseline: false, breaking: true, probe: null, guard: null });
    expect(second?.up.transactional).toBe(false);
    expect(second?.down?.transactional).toBe(true);
  });

  test("a checkout with CRLF has the same checksums, an edited file another", async () => {
    const of = async (sql: string): Promise<string | undefined> =>
      (await loadMigrations(folder({ "001_a.sql": sql })))[0]?.checksum;
    expect(await of("select 1;\r\nselect 2;\r\n")).toBe(await of("select 1;\nselect 2;\n"));
    expect(await of("select 1;\nselect 3;\n")).not.toBe(await of("select 1;\nselect 2;\n"));
  });

  test.each<readonly [string, Readonly<Record<string, string>>, RegExp]>([
    ["two with one number", { "001_a.sql": "select 1", "001_b.sql": "select 1" }, /number 001: a and b/],
    ["a down file alone", { "001_a.down.sql": "select 1" }, /001_a\.sql is missing/],
    ["a name that is no migration's", { "1_a.sql": "select 1" }, /1_a\.sql is not named/],
    ["a misspelt role", { "001_a.undo.sql": "select 1" }, /001_a\.undo\.sql is not named/],
    [
      "its own transaction",
      { "001_a.sql": "select 1;\nbegin;\nselect 2;\ncommit;" },
      /001_a\.sql:2 controls transactions/,
    ],
    [
      "its own transaction in the down file",
      { "001_a.sql": "select 1", "001_a.down.sql": "commit" },
      /001_a\.down\.sql:1/,
    ],
  ])("refuses %s", async (_name, files, message) => {
    await expect(loadMigrations(folder(files))).rejects.toMatchObject({
      code: "FULA_MIGRATION_FILES",
      message: expect.stringMatching(message),
    });
  });

  test("refuses a folder that is not there", async () => {
    await expect(loadMigrations(join(tempDir(), "gone"))).rejects.toMatchObject({ code: "FULA_MIGRATION_FILES" });
  });
});

describe("the migrations of this build", () => {
  test("keep the numbers 018, 019 and 020 of the fleet", async () => {
    const ids = (await loadMigrations()).map(migrationId);
    expect(ids).toContain("018_hourly_dedup_index");
    expect(ids).toContain("019_wallet_address_nullable");
    expect(ids).toContain("020_bucket_roots");
  });

  test("each have a down file, and no literal password or database name", async () => {
    const migrations = await loadMigrations();
    expect(migrations.filter(({ down }) => down === null).map(migrationId)).toEqual([]);
    const sql = migrations.flatMap(({ up }) => up.statements.map(({ text }) => text)).join("\n");
    expect(sql).not.toMatch(/password\s+'/i);
    expect(sql).not.toMatch(/CHANGE_ME|pinning_service/);
  });

  test("up to 017 are what adopt starts from, and each of them can be probed", async () => {
    const upTo017 = (await loadMigrations()).filter(({ version }) => version >= 1 && version <= 17);
    expect(upTo017.filter(({ baseline, probe }) => !baseline || probe === null).map(migrationId)).toEqual([]);
  });

  test("that run outside a transaction bear being run again", async () => {
    const statements = (await loadMigrations())
      .filter(({ up }) => !up.transactional)
      .flatMap(({ up }) => up.statements.map(({ text }) => text));
    expect(statements.length).toBeGreaterThan(0);
    for (const text of statements)
      expect(text).toMatch(/^(?:do \$check\$|create unique index concurrently if not exists)/);
  });
});
