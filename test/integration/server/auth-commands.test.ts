import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { resolveUserId } from "../../../src/lib/identity/user-id.ts";
import { signToken } from "../../support/api.ts";
import { type CliRun, type CliTestOptions, runCliForTest } from "../../support/cli.ts";
import { makeServingBox, type ServingBox } from "../../support/serving.ts";

const USER = "alice@example.com";
const WHY = ["--reason", "ticket 118", "--operator", "eve@m-1"];
let box: ServingBox;

beforeAll(async () => {
  box = await makeServingBox();
});
beforeEach(async () => {
  await box.database.pool.query("delete from credential_denials; delete from admin_audit_log");
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

async function run(argv: readonly string[], options: CliTestOptions = {}): Promise<CliRun> {
  return await runCliForTest(argv, { ...options, baseDir: box.baseDir });
}

// oxlint-disable-next-line typescript/no-explicit-any -- compared with what is expected
async function json(argv: readonly string[], options: CliTestOptions = {}): Promise<any> {
  const { exitCode, stdout, stderr } = await run([...argv, "--json"], options);
  expect([exitCode, stderr]).toEqual([0, ""]);
  return JSON.parse(stdout);
}

describe("auth deny", () => {
  test("denies a user's credentials until now, says so, and is in the list with who did it and why", async () => {
    const { exitCode, stdout } = await run(["auth", "deny", "--user", USER, ...WHY]);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^Denied what user [0-9a-f]{64} was given before \d{4}-.*Z\. Masters refuse it within 5 s/);
    expect(stdout).toContain("Until then no new one is good either");
    const { denials } = await json(["auth", "denials"]);
    expect(denials).toMatchObject([
      { kind: "user", subject: resolveUserId(USER), state: "denied", reason: "ticket 118", deniedBy: "eve@m-1" },
    ]);
    const again = await run(["auth", "deny", "--user", USER, "--before", "2026-01-01T00:00:00Z", ...WHY]);
    expect(again.stdout).toContain("Already so: what user ");
  });

  test("denies a token that was pasted, and never shows it", async () => {
    const token = await signToken("x".repeat(32), { sub: USER, exp: 4_000_000_000 });
    const report = await json(["auth", "deny", "--token-file", "-", ...WHY], { stdin: `${token}\n` });
    expect(report).toMatchObject({ kind: "digest", changed: true, denial: { expiresAt: "2096-10-02T07:06:40.000Z" } });
    expect(JSON.stringify(report)).not.toContain(token.slice(-20));
    const lifted = await json(["auth", "lift", "--digest", report.subject, ...WHY]);
    expect(lifted).toMatchObject({ changed: true, denial: { state: "lifted", liftedBy: "eve@m-1" } });
    expect((await json(["auth", "denials"])).denials).toEqual([]);
    expect((await json(["auth", "denials", "--all"])).denials).toMatchObject([{ state: "lifted" }]);
  });

  test("with --dry-run says what it would do and writes nothing", async () => {
    const { stdout } = await run(["auth", "deny", "--wallet", `0x${"AB".repeat(20)}`, "--dry-run", ...WHY]);
    expect(stdout).toBe(`Would deny the wallet 0x${"ab".repeat(20)}.\n`);
    expect((await json(["auth", "denials", "--all"])).denials).toEqual([]);
    expect((await json(["audit", "list"])).entries).toEqual([]);
  });

  test.each([
    ["nothing", []],
    ["two things", ["--user", USER, "--wallet", `0x${"ab".repeat(20)}`]],
    ["what is no wallet", ["--wallet", USER]],
    ["what is no key", ["--key", "AKIA"]],
    ["a time of one credential", ["--digest", "ab".repeat(32), "--before", "2026-01-01T00:00:00Z"]],
    ["a time that nobody means", ["--user", USER, "--before", "2999-01-01T00:00:00Z"]],
    ["a time without its zone", ["--user", USER, "--before", "2026-01-01"]],
    ["no file", ["--token-file", "/nonexistent"]],
  ])("refuses %s with exit code 2", async (_name, argv) => {
    expect((await run(["auth", "deny", ...argv, ...WHY])).exitCode).toBe(2);
  });

  test("refuses a key that nobody has: whoever misread its id would believe that the other one is refused", async () => {
    const { exitCode, stderr } = await run(["auth", "deny", "--key", `FULA${"A".repeat(16)}`, ...WHY]);
    expect([exitCode, stderr.split(":")[0]]).toEqual([1, "FULA_KEY_NOT_FOUND"]);
    expect((await json(["auth", "denials", "--all"])).denials).toEqual([]);
    const { keyId } = await json(["key", "create", "--user", USER]);
    expect(await json(["auth", "deny", "--key", keyId, ...WHY])).toMatchObject({ kind: "digest", changed: true });
  });

  test("says of an address that lacks a digit that it is no wallet's", async () => {
    const { exitCode, stderr } = await run(["auth", "deny", "--wallet", `0x${"a".repeat(39)}`, ...WHY]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain("is no address of a wallet");
  });

  test("needs a reason, and lift something that is denied", async () => {
    expect((await run(["auth", "deny", "--user", USER])).exitCode).toBe(2);
    const { exitCode, stderr } = await run(["auth", "lift", "--user", USER, ...WHY]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain("FULA_DENIAL_NOT_FOUND");
  });
});

describe("auth verify", () => {
  test("on a schema that is behind says so, and judges nothing by half of it", async () => {
    const { pool } = box.database;
    const newest = "(select max(version) from schema_migrations)";
    const { rows } = await pool.query<object>(`delete from schema_migrations where version = ${newest} returning *`);
    try {
      const { exitCode, stdout, stderr } = await run(["auth", "verify", "-"], { stdin: "nobody's" });
      expect([exitCode, stdout]).toEqual([3, ""]);
      expect(stderr).toContain("FULA_SCHEMA_BEHIND");
      expect(stderr).toContain("fula-master migrate up");
    } finally {
      await pool.query(
        "insert into schema_migrations select * from jsonb_populate_record(null::schema_migrations, $1::jsonb)",
        [JSON.stringify(rows[0])],
      );
    }
  });
});

describe("audit list", () => {
  test("has what was done, by whom, and why: the newest first, and what is asked for", async () => {
    const key = await json(["key", "create", "--user", USER]);
    await run(["key", "revoke", key.keyId, "--yes"]);
    await run(["auth", "deny", "--user", USER, ...WHY]);
    const { entries } = await json(["audit", "list", "--since", "1h"]);
    expect(entries.map(({ action }: { action: string }) => action)).toEqual([
      "credential.deny",
      "key.revoke",
      "key.create",
    ]);
    expect(entries[0]).toMatchObject({
      actor: "eve@m-1",
      target: resolveUserId(USER),
      details: { kind: "user", reason: "ticket 118" },
    });
    const keys = await json(["audit", "list", "--action", "key.*", "--target", key.keyId, "--limit", "1"]);
    expect(keys.entries).toMatchObject([{ action: "key.revoke", target: key.keyId }]);
    expect((await json(["audit", "list", "--actor", "eve*"])).entries).toHaveLength(1);
    expect((await json(["audit", "list", "--actor", "e%"])).entries).toEqual([]);
    expect((await json(["audit", "list", "--since", "2999-01-01"])).entries).toEqual([]);
    const { stdout } = await run(["audit", "list", "--actor", "eve@m-1"]);
    expect(stdout).toContain("credential.deny");
    expect((await run(["audit", "list", "--since", "yesterday"])).exitCode).toBe(2);
  });
});
