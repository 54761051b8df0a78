import { execFile } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, onTestFinished, test } from "vitest";
import { adopt, type BackupOptions, planAdopt } from "../../../src/lib/postgres/adopt.ts";
import { findDumpTools, takeBackup } from "../../../src/lib/postgres/backup.ts";
import { createPool } from "../../../src/lib/postgres/pool.ts";
import { describeCatalog, readContents } from "../../support/catalog.ts";
import { FakeClock } from "../../support/clock.ts";
import { fleetDatabase } from "../../support/fleet.ts";
import { emptyDatabase, testPostgres } from "../../support/postgres.ts";
import { tempDir } from "../../support/temp-dir.ts";

const run = promisify(execFile);

/** A folder with a `pg_dump` and `pg_restore` that do what a test says. */
function fakeTools(major: number, dump = "echo data", restore = "echo '1; 0 0 TABLE public users'"): string {
  const dir = tempDir();
  writeFileSync(
    join(dir, "pg_dump"),
    `#!/bin/sh\n[ "$1" = --version ] && { echo "pg_dump (PostgreSQL) ${major}.1"; exit; }\n${dump}\n`,
  );
  writeFileSync(join(dir, "pg_restore"), `#!/bin/sh\n${restore}\n`);
  for (const name of ["pg_dump", "pg_restore"]) chmodSync(join(dir, name), 0o755);
  return dir;
}

function backupIn(dir: string, ...binDirs: readonly string[]): BackupOptions {
  return { dir, binDirs, path: "", releaseRoots: [] };
}

describe("finding pg_dump", () => {
  test("takes the nearest release that can read the server, wherever it is", async () => {
    const [old, exact, newer] = [fakeTools(14), fakeTools(16), fakeTools(18)];
    const releaseRoots: readonly string[] = [];
    const find = async (major: number, binDirs: readonly string[], path = ""): Promise<string | undefined> =>
      (await findDumpTools(major, { binDirs, path, releaseRoots }))?.pgDump;
    expect(await find(16, [old, newer, exact])).toBe(join(exact, "pg_dump"));
    expect(await find(17, [old, newer, exact])).toBe(join(newer, "pg_dump"));
    expect(await find(15, [], `${old}:${exact}`)).toBe(join(exact, "pg_dump"));
    expect(await find(19, [old, newer, exact])).toBeUndefined();
    const root = tempDir();
    mkdirSync(join(root, "18"));
    await run("cp", ["-r", newer, join(root, "18", "bin")]);
    expect(await findDumpTools(18, { binDirs: [], path: "", releaseRoots: [root] })).toMatchObject({ major: 18 });
  });

  test("a program that is no pg_dump, or stands without pg_restore, is passed over", async () => {
    const dir = fakeTools(18);
    writeFileSync(join(dir, "pg_dump"), "#!/bin/sh\necho hello\n");
    expect(await findDumpTools(15, backupIn("", dir))).toBeNull();
  });
});

describe("the backup before an adoption", () => {
  test("is taken by the real pg_dump, private, and restores to the same database", async () => {
    await using database = await fleetDatabase();
    const dir = join(tempDir(), "backups");
    const before = [await describeCatalog(database.pool), await readContents(database.pool)];
    const options = {
      backup: { dir, binDirs: [testPostgres().binDir], path: process.env["PATH"] ?? "" },
      clock: new FakeClock(),
    };
    const report = await adopt(database.pool, options);
    const path = join(dir, "pre-adopt-20261120T030000Z.dump");
    expect(report.backup).toMatchObject({ path, bytes: statSync(path).size });
    expect(report.backup?.entries).toBeGreaterThan(100);
    expect([statSync(path).mode & 0o777, statSync(dir).mode & 0o777]).toEqual([0o600, 0o700]);
    expect(readdirSync(dir)).toHaveLength(1);

    await using restored = await emptyDatabase();
    const { host, port, user, password } = restored.options;
    const tools = await findDumpTools(15, options.backup);
    await run(tools?.pgRestore ?? "pg_restore", ["--no-owner", "--exit-on-error", "--dbname", restored.name, path], {
      env: { PGHOST: host, PGPORT: String(port), PGUSER: user, PGPASSWORD: password },
    });
    expect([await describeCatalog(restored.pool), await readContents(restored.pool)]).toEqual(before);
  });

  test("checks the server's certificate as the pool does", async () => {
    await using database = await fleetDatabase();
    const tlsCaFile = join(tempDir(), "ca.pem");
    copyFileSync(testPostgres().tlsCaFile ?? "", tlsCaFile);
    const tools = await findDumpTools(15, { binDirs: [testPostgres().binDir], path: "" });
    if (tools === null) throw new Error("there is no pg_dump");
    const pool = createPool({ ...database.options, host: "localhost", tls: "verify-full", tlsCaFile });
    onTestFinished(async () => await pool.end());
    const dump = async (): Promise<unknown> => await takeBackup(pool, join(tempDir(), "x.dump"), tools);
    expect(await dump()).toMatchObject({ bytes: expect.any(Number) });
    rmSync(tlsCaFile);
    await expect(dump()).rejects.toMatchObject({
      code: "FULA_BACKUP_FAILED",
      message: expect.stringContaining("root certificate"),
    });
  });

  test.each<readonly [string, string, string | undefined, RegExp]>([
    ["writes nothing", "exit 0", undefined, /pg_dump wrote nothing/],
    ["fails half-way", "echo part; echo 'disk is on fire' >&2; exit 1", undefined, /disk is on fire/],
    ["is killed", "kill -9 $$", undefined, /SIGKILL/],
    ["writes what pg_restore cannot read", "echo noise", "echo 'not an archive' >&2; exit 1", /not an archive/],
    ["writes an archive with nothing in it", "echo noise", "echo ';'", /table of contents is empty/],
  ])("that %s stops the adoption with nothing changed and no file left", async (_name, dump, restore, message) => {
    await using database = await fleetDatabase();
    const dir = tempDir();
    const backup = backupIn(dir, fakeTools(99, dump, restore));
    await expect(adopt(database.pool, { backup })).rejects.toMatchObject({
      code: "FULA_BACKUP_FAILED",
      kind: "refused",
      message: expect.stringMatching(message),
    });
    expect(readdirSync(dir)).toEqual([]);
    expect((await database.pool.query("select to_regclass('schema_migrations') as history")).rows).toEqual([
      { history: null },
    ]);
  });

  test("without a pg_dump that can read the server is refused, in a dry run too, unless there is to be none", async () => {
    await using database = await fleetDatabase();
    const options = { backup: backupIn(tempDir(), fakeTools(9)) };
    const refusal = { code: "FULA_BACKUP_TOOL", kind: "refused", hint: expect.stringContaining("--no-backup") };
    await expect(planAdopt(database.pool, options)).rejects.toMatchObject(refusal);
    await expect(adopt(database.pool, options)).rejects.toMatchObject(refusal);
    expect(await adopt(database.pool, { backup: null })).toMatchObject({ backup: null, alreadyOurs: false });
  });

  test("hands the password over in the environment, never in the arguments that every user can read", async () => {
    await using database = await fleetDatabase();
    const dir = tempDir();
    const tools = fakeTools(99, `echo "$@" > ${dir}/arguments; env > ${dir}/environment; echo data`);
    const found = await findDumpTools(99, backupIn(dir, tools));
    if (found === null) throw new Error("the fake tools were not found");
    await takeBackup(database.pool, join(dir, "x.dump"), found);
    const { password } = database.options;
    expect(readFileSync(join(dir, "arguments"), "utf8")).not.toContain(password);
    expect(readFileSync(join(dir, "environment"), "utf8")).toContain(`PGPASSWORD=${password}`);
    expect(existsSync(join(dir, "x.dump.partial"))).toBe(false);
  });
});
