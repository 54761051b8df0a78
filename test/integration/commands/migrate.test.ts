import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type CliRun, runCliForTest } from "../../support/cli.ts";
import { DOUBLE_CHARGE, fleetDatabase } from "../../support/fleet.ts";
import { emptyDatabase, freshDatabase, type TestDatabase, testPostgres } from "../../support/postgres.ts";
import { tempDir } from "../../support/temp-dir.ts";

/** Runs `migrate …` on a database; the password goes the way that does not show in the list of processes. */
async function migrate(database: TestDatabase, ...words: readonly string[]): Promise<CliRun & { baseDir: string }> {
  const baseDir = join(tempDir(), "base");
  const { host, port, user, password } = database.options;
  const url = `postgresql://${user}@${host}:${port}/${database.name}`;
  const env = { HOME: baseDir, PATH: testPostgres().binDir, PGPASSWORD: password };
  const run = await runCliForTest(["migrate", ...words, "--postgres-url", url], { env, baseDir });
  expect(run.stdout + run.stderr).not.toContain(password);
  return { ...run, baseDir };
}

describe("migrate up and status", () => {
  test("an empty database is brought up; a second run says already so", async () => {
    await using database = await emptyDatabase();
    const before = await migrate(database, "status");
    expect(before).toMatchObject({ exitCode: 1, stdout: expect.stringMatching(/018 +hourly_dedup_index +pending/) });
    const plan = await migrate(database, "up", "--dry-run", "--json");
    expect(plan.exitCode).toBe(0);
    expect(JSON.parse(plan.stdout)).toMatchObject({ dryRun: true, mended: [], blockers: [], newer: [] });
    const up = await migrate(database, "up");
    expect(up).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("applied 018_hourly_dedup_index (") });
    expect(up.stderr).toContain("applying 001_pinning\n");
    expect(await migrate(database, "up")).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/^Already up to date\. The database is at \d{3}\.\n$/),
    });
    const after = await migrate(database, "status", "--json");
    expect(after.exitCode).toBe(0);
    expect(JSON.parse(after.stdout)).toMatchObject({
      database: "managed",
      upToDate: true,
      brokenIndexes: [],
      target: { database: database.name },
      migrations: expect.arrayContaining([expect.objectContaining({ version: 18, standing: "applied" })]),
    });
  });

  test("status names a broken index and how it is mended", async () => {
    await using database = await freshDatabase();
    await database.pool.query("drop index idx_credit_history_hourly_dedup");
    expect(await migrate(database, "status")).toMatchObject({
      exitCode: 1,
      stdout: expect.stringContaining(
        "index idx_credit_history_hourly_dedup of 018_hourly_dedup_index is missing: fula-master migrate up rebuilds it",
      ),
    });
    expect(await migrate(database, "up", "-q")).toMatchObject({
      exitCode: 0,
      stderr: "",
      stdout: expect.stringContaining("rebuilt index idx_credit_history_hourly_dedup, which was missing"),
    });
  });

  test.each<readonly [readonly string[], string]>([
    [["up", "--to", "099"], "There is no migration 099."],
    [["up", "--to", "latest"], "--to latest is no migration."],
    [["up", "--lock-wait", "soon"], "--lock-wait soon is no duration."],
  ])("%j is a usage error: exit code 2", async (words, message) => {
    await using database = await emptyDatabase();
    expect(await migrate(database, ...words)).toMatchObject({ exitCode: 2, stderr: expect.stringContaining(message) });
  });

  test("a wrong password exits with 2, a server that is gone with 4, and a bad URL with 2", async () => {
    await using database = await emptyDatabase();
    const { host, port, user } = database.options;
    const at = async (url: string): Promise<CliRun> =>
      await runCliForTest(["migrate", "status", "--json", "--postgres-url", url], {
        env: {},
        baseDir: join(tempDir(), "b"),
      });
    const wrong = await at(`postgresql://${user}:hunter2@${host}:${port}/${database.name}`);
    expect([wrong.exitCode, JSON.parse(wrong.stderr).error.code]).toEqual([2, "FULA_DATABASE_LOGIN"]);
    expect(wrong.stderr).not.toContain("hunter2");
    const gone = await at(`postgresql://${user}:hunter2@${host}:1/${database.name}`);
    expect([gone.exitCode, JSON.parse(gone.stderr).error.code]).toEqual([4, "FULA_DATABASE_UNREACHABLE"]);
    expect(gone.stderr).not.toContain("hunter2");
    const bad = await at("mysql://hunter2@h/d");
    expect([bad.exitCode, JSON.parse(bad.stderr).error.code]).toEqual([2, "FULA_DATABASE_URL"]);
    expect(bad.stderr).not.toContain("hunter2");
  });
});

describe("migrate down", () => {
  test("shows what it would do, asks, and refuses to lose data before it asks", async () => {
    await using database = await freshDatabase();
    expect(await migrate(database, "down")).toMatchObject({
      exitCode: 3,
      stderr: expect.stringMatching(/^would revert .*FULA_CONFIRMATION_REQUIRED: Revert these migrations\?/s),
    });
    await database.pool.query("insert into bucket_roots (owner_id, bucket, root_cid) values ('o', 'b', 'c')");
    const dry = await migrate(database, "down", "--to", "019", "--dry-run", "--json");
    expect(dry.exitCode).toBe(0);
    expect(JSON.parse(dry.stdout)).toMatchObject({
      dryRun: true,
      losses: [{ migration: "020_bucket_roots", what: "bucket_roots: roots of buckets", rows: "1" }],
    });
    expect(await migrate(database, "down", "--to", "019", "--yes")).toMatchObject({
      exitCode: 3,
      stdout: "",
      stderr: expect.stringContaining(
        "FULA_MIGRATION_LOSES_DATA: Going down would lose bucket_roots: roots of buckets: 1",
      ),
    });
    expect(await migrate(database, "down", "--to", "019", "--yes", "--force")).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining(
        "lost bucket_roots: roots of buckets: 1 (020_bucket_roots)\nThe database is at 019.\n",
      ),
    });
  });
});

describe("migrate adopt", () => {
  test("shows the plan, asks, backs up under the base directory and reports", async () => {
    await using database = await fleetDatabase();
    expect(await migrate(database, "up")).toMatchObject({
      exitCode: 3,
      stderr: expect.stringContaining("FULA_ADOPT_NEEDED"),
    });
    const dry = await migrate(database, "adopt", "--dry-run");
    expect(dry).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining("would record 017_referrals: found in effect"),
    });
    expect(existsSync(dry.baseDir)).toBe(false);
    expect(await migrate(database, "adopt")).toMatchObject({
      exitCode: 3,
      stderr: expect.stringContaining("Adopt this database?"),
    });
    const adopted = await migrate(database, "adopt", "--yes", "--json");
    expect(adopted.exitCode).toBe(0);
    const report = JSON.parse(adopted.stdout);
    expect(report).toMatchObject({ dryRun: false, alreadyOurs: false, blockers: [] });
    expect(report.backup.path.startsWith(join(adopted.baseDir, "backups", "pre-adopt-"))).toBe(true);
    expect(readdirSync(join(adopted.baseDir, "backups"))).toHaveLength(1);
    expect(await migrate(database, "adopt", "--yes")).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/^Already adopted\./),
    });
  });

  test("a dry run lists the duplicates that stand in the way and exits with 1; the run itself refuses with 3", async () => {
    await using database = await fleetDatabase(DOUBLE_CHARGE);
    expect(await migrate(database, "adopt", "--dry-run")).toMatchObject({
      exitCode: 1,
      stdout: expect.stringMatching(
        /018_hourly_dedup_index would refuse: Migration 018 aborted: 1 user\(s\).*\n {2}Duplicates: .*\n {2}Try: /,
      ),
    });
    expect(await migrate(database, "adopt", "--yes", "--no-backup")).toMatchObject({
      exitCode: 3,
      stdout: "",
      stderr: expect.stringContaining("FULA_MIGRATION_ABORTED: Migration 018 aborted"),
    });
  });
});
