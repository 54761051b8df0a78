import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { type CliRun, type CliTestOptions, runCliForTest } from "../../support/cli.ts";
import { makeServingBox, type ServingBox } from "../../support/serving.ts";

const ALICE = "ff8d9819fc0e12bf0d24892e45987e249a28dce836a85cad60e28eaaa8c6d976";
const made = z.strictObject({
  dryRun: z.boolean(),
  keyId: z.string().nullable(),
  secret: z.string().nullable(),
  userId: z.string(),
  wallet: z.string().nullable(),
  scopes: z.array(z.string()),
  label: z.string(),
  bearerOnly: z.boolean(),
  createdAt: z.string().nullable(),
  expiresAt: z.string().nullable(),
  endpoint: z.string(),
  region: z.string(),
});
const listed = z.strictObject({
  keys: z.array(
    z.strictObject({
      keyId: z.string(),
      userId: z.string(),
      wallet: z.string().nullable(),
      scopes: z.array(z.string()),
      label: z.string(),
      bearerOnly: z.boolean(),
      state: z.enum(["active", "expired", "revoked"]),
      createdAt: z.string(),
      createdBy: z.string(),
      expiresAt: z.string().nullable(),
      lastUsedAt: z.string().nullable(),
      revokedAt: z.string().nullable(),
      revokedBy: z.string().nullable(),
    }),
  ),
});

let box: ServingBox;

beforeAll(async () => {
  box = await makeServingBox();
});

afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

async function run(argv: readonly string[], options: CliTestOptions = {}): Promise<CliRun> {
  return await runCliForTest(argv, { ...options, baseDir: box.baseDir });
}

async function create(...more: readonly string[]): Promise<z.infer<typeof made>> {
  const { stdout, exitCode, stderr } = await run(["key", "create", "--user", "Alice@example.com", "--json", ...more]);
  expect([exitCode, stderr]).toEqual([0, ""]);
  return made.parse(JSON.parse(stdout));
}

async function list(...more: readonly string[]): Promise<z.infer<typeof listed>["keys"]> {
  const { stdout } = await run(["key", "list", "--json", ...more]);
  return listed.parse(JSON.parse(stdout)).keys;
}

describe("key create", () => {
  test("makes a pair whose secret is shown once and stands nowhere in the clear", async () => {
    const key = await create("--label", "laptop");
    expect(key).toMatchObject({
      userId: ALICE,
      scopes: ["storage:read", "storage:write"],
      label: "laptop",
      region: "us-east-1",
    });
    expect(key.endpoint).toBe(`http://127.0.0.1:${box.ports.gateway}`);
    expect((await list()).find(({ keyId }) => keyId === key.keyId)).toMatchObject({
      label: "laptop",
      lastUsedAt: null,
    });
    const { rows } = await box.database.pool.query<{ row: string }>("select access_keys::text as row from access_keys");
    expect(JSON.stringify(rows)).not.toContain(Buffer.from(key.secret ?? "?").toString("hex"));
    expect(JSON.stringify(rows)).not.toContain(key.secret);
  });

  test("makes a key that can only read", async () => {
    expect((await create("--scope", "read")).scopes).toEqual(["storage:read"]);
  });

  test("makes a key that ends, after a time or on a day, and says when", async () => {
    expect((await create("--expires", "2199-01-31")).expiresAt).toBe("2199-01-31T00:00:00.000Z");
    const { createdAt, expiresAt } = await create("--expires", "90d");
    const days = (Date.parse(expiresAt ?? "") - Date.parse(createdAt ?? "")) / 86_400_000;
    expect(days).toBeCloseTo(90, 2);
  });

  test("keeps a hash alone of a secret that is never to check a signature", async () => {
    const { keyId } = await create("--bearer-only");
    const { rows } = await box.database.pool.query(
      "select sealed_secret, octet_length(secret_hash) as bytes from access_keys where key_id = $1",
      [keyId],
    );
    expect(rows).toEqual([{ sealed_secret: null, bytes: 32 }]);
    expect((await list()).find((key) => key.keyId === keyId)?.bearerOnly).toBe(true);
    const { stdout } = await run(["key", "create", "--user", ALICE, "--bearer-only"]);
    expect(stdout).toContain("Authorization: Bearer <access key id>.<secret access key>");
    // S3 clients would read the lines, sign with the key, and be refused.
    expect((await run(["key", "create", "--user", ALICE, "--bearer-only", "--env"])).exitCode).toBe(2);
  });

  test("makes a key of a wallet, which is listed under it", async () => {
    const wallet = `0x${"AB".repeat(20)}`;
    const { stdout } = await run(["key", "create", "--wallet", wallet, "--json"]);
    const key = made.parse(JSON.parse(stdout));
    expect(key.wallet).toBe(wallet.toLowerCase());
    expect((await list("--wallet", wallet)).map(({ keyId }) => keyId)).toEqual([key.keyId]);
    expect((await list("--user", key.userId)).map(({ keyId }) => keyId)).toEqual([]);
  });

  test("with --dry-run writes nothing", async () => {
    const before = (await list("--revoked")).length;
    expect(await create("--dry-run")).toMatchObject({ dryRun: true, keyId: null, secret: null, userId: ALICE });
    expect(await list("--revoked")).toHaveLength(before);
  });

  test("prints for people what a client has to be given", async () => {
    const { stdout } = await run(["key", "create", "--user", ALICE]);
    expect(stdout).toMatch(/^Access key id: +FULA[A-Z2-7]{16}\nSecret access key: +[A-Za-z0-9_-]{40}\nUser: +ff8d98/);
    expect(stdout).toContain("The secret is not shown again.");
  });

  test("prints for a shell what S3 clients read from the environment, and nothing else", async () => {
    const { stdout } = await run(["key", "create", "--user", ALICE, "--env"]);
    const script = `${stdout}\nprintf '%s ' "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" "$AWS_ENDPOINT_URL_S3" "$AWS_REGION"`;
    const printed = execFileSync("sh", ["-c", script], { encoding: "utf8", env: {} });
    expect(printed).toMatch(/^FULA[A-Z2-7]{16} [A-Za-z0-9_-]{40} http:\/\/127\.0\.0\.1:\d+ us-east-1 $/);
  });

  test.each([
    [["key", "create"], 2, "FULA_USAGE"],
    [["key", "create", "--user", "alice"], 2, "FULA_USER_INVALID"],
    [["key", "create", "--user", "a@b.c", "--scope", "admin"], 2, "FULA_USAGE"],
    [["key", "create", "--user", "a@b.c", "--label", "two\nlines"], 2, "FULA_USAGE"],
    [["key", "create", "--user", "a@b.c", "--wallet", `0x${"ab".repeat(20)}`], 2, "FULA_USAGE"],
    [["key", "create", "--wallet", "0xab"], 2, "FULA_WALLET_ADDRESS"],
    [["key", "create", "--user", "a@b.c", "--expires", "2020-01-01"], 2, "FULA_USAGE"],
    [["key", "create", "--user", "a@b.c", "--expires", "0s"], 2, "FULA_USAGE"],
    [["key", "create", "--user", "a@b.c", "--expires", "soon"], 2, "FULA_USAGE"],
  ])("refuses %j", async (argv, exitCode, code) => {
    const result = await run(argv);
    expect([result.exitCode, result.stderr]).toEqual([exitCode, expect.stringContaining(code)]);
  });
});

describe("key list", () => {
  test("shows only the user who was asked for", async () => {
    const { stdout } = await run(["key", "create", "--user", "bob@example.com", "--json"]);
    const bob = made.parse(JSON.parse(stdout));
    expect((await list("--user", "bob@example.com")).map(({ keyId }) => keyId)).toEqual([bob.keyId]);
    expect((await run(["key", "list"])).stdout).toContain(bob.keyId ?? "?");
  });

  test("says what to do where there is none", async () => {
    expect((await run(["key", "list", "--user", "nobody@example.com"])).stdout).toContain("fula-master key create");
  });
});

test.each([["create", "--user", ALICE], ["rotate"]])(
  "key %s under another ENCRYPTION_KEY makes nothing: no master could open it",
  async (...words) => {
    await create();
    const env = { ENCRYPTION_KEY: "ab".repeat(32) };
    const { exitCode, stderr } = await runCliForTest(["key", ...words], { baseDir: box.baseDir, env });
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining("FULA_ENCRYPTION_KEY_WRONG")]);
  },
);

test("key rotate mends a ledger none of whose signing keys opens, where access keys show that ENCRYPTION_KEY is right", async () => {
  await create();
  const { pool } = box.database;
  await run(["key", "rotate"]);
  await pool.query(
    "update signing_keys set sealed_secret = decode(repeat('00', 93), 'hex') where sealed_secret is not null",
  );
  expect((await run(["key", "session", "--user", ALICE, "--dry-run"])).stderr).toContain("FULA_ENCRYPTION_KEY_WRONG");
  expect((await run(["key", "rotate", "--overlap", "0s"])).exitCode).toBe(0);
  expect((await run(["key", "session", "--user", ALICE, "--dry-run"])).exitCode).toBe(0);
  await pool.query("delete from signing_keys");
});

describe("key revoke", () => {
  test("asks first, revokes with --yes, and says when it was so already", async () => {
    const { keyId } = await create();
    const id = keyId ?? "";
    expect((await run(["key", "revoke", id])).exitCode).toBe(3);
    expect((await run(["key", "revoke", id, "--dry-run"])).stdout).toContain("Would revoke");
    expect((await list()).map((key) => key.keyId)).toContain(id);
    expect((await run(["key", "revoke", id, "--yes"])).exitCode).toBe(0);
    expect((await list()).map((key) => key.keyId)).not.toContain(id);
    expect((await list("--revoked")).find((key) => key.keyId === id)?.revokedAt).toMatch(/Z$/);
    const again = await run(["key", "revoke", id, "--yes", "--json"]);
    expect([again.exitCode, JSON.parse(again.stdout)]).toMatchObject([0, { keyId: id, revoked: true, already: true }]);
  });

  test("of a key that there is not is an error", async () => {
    const { exitCode, stderr } = await run(["key", "revoke", "FULAAAAAAAAAAAAAAAAA", "--yes"]);
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining("FULA_KEY_NOT_FOUND")]);
  });
});

const rotated = z.strictObject({
  dryRun: z.boolean(),
  kid: z.string().nullable(),
  signsFrom: z.string().nullable(),
  othersVerifyUntil: z.string().nullable(),
  overlapSeconds: z.number(),
  retireEnv: z.boolean(),
});
const signingKeys = z.strictObject({
  keys: z.array(
    z.strictObject({
      kid: z.string(),
      from: z.enum(["ledger", "settings"]),
      state: z.enum(["next", "signs", "verifies", "over"]),
      createdAt: z.string().nullable(),
      createdBy: z.string().nullable(),
      signsFrom: z.string().nullable(),
      verifiesUntil: z.string().nullable(),
    }),
  ),
});
const issued = z.strictObject({
  dryRun: z.boolean(),
  token: z.string().nullable(),
  kid: z.string(),
  subject: z.string(),
  scope: z.string(),
  expiresAt: z.string(),
});

async function signing(): Promise<readonly (readonly [string, string])[]> {
  const { stdout } = await run(["key", "signing", "--json"]);
  return signingKeys.parse(JSON.parse(stdout)).keys.map(({ kid, state }) => [kid, state]);
}

describe("keys that sign session tokens", () => {
  test("begin with JWT_SECRET; a rotation's key signs later, and what was there verifies on", async () => {
    expect(await signing()).toEqual([["env", "signs"]]);
    expect((await run(["key", "rotate", "--dry-run"])).stdout).toContain("Would make a key");
    expect(await signing()).toEqual([["env", "signs"]]);
    const { stdout } = await run(["key", "rotate", "--overlap", "2h", "--json"]);
    const { kid, signsFrom, othersVerifyUntil } = rotated.parse(JSON.parse(stdout));
    expect(Date.parse(othersVerifyUntil ?? "") - Date.parse(signsFrom ?? "")).toBe(7_200_000);
    expect(await signing()).toEqual([
      [kid, "next"],
      ["env", "signs"],
    ]);
    // Its time has come.
    await box.database.pool.query("update signing_keys set signs_from = now() where kid = $1", [kid]);
    expect(await signing()).toEqual([
      [kid, "signs"],
      ["env", "verifies"],
    ]);
    const { rows } = await box.database.pool.query("select signing_keys::text as row from signing_keys");
    expect(rows).toHaveLength(1);
    const second = rotated.parse(JSON.parse((await run(["key", "rotate", "--overlap", "0s", "--json"])).stdout));
    expect((await signing()).map(([each]) => each)).toEqual([second.kid, kid, "env"]);
  });

  test("take JWT_SECRET out of use only where that is confirmed", async () => {
    expect((await run(["key", "rotate", "--retire-env"])).exitCode).toBe(3);
    const { exitCode } = await run(["key", "rotate", "--retire-env", "--overlap", "0s", "--yes"]);
    expect(exitCode).toBe(0);
    expect((await signing()).find(([kid]) => kid === "env")?.[1]).toBe("verifies");
    await box.database.pool.query("delete from signing_keys where kid = 'env'");
  });

  test("issue a token for somebody, alone on standard output, which the audit log knows of", async () => {
    const { stdout, exitCode } = await run(["key", "session", "--user", "alice@example.com", "--scope", "read"]);
    expect([exitCode, stdout]).toEqual([0, expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+\n$/)]);
    const dry = await run(["key", "session", "--user", ALICE, "--lifetime", "10m", "--dry-run", "--json"]);
    expect(issued.parse(JSON.parse(dry.stdout))).toMatchObject({ token: null, subject: ALICE });
    const { rows } = await box.database.pool.query(
      "select target_id, details::text as details from admin_audit_log where action = 'session.issue'",
    );
    expect(rows).toEqual([{ target_id: ALICE, details: expect.stringContaining("storage:read") }]);
    expect(JSON.stringify(rows)).not.toContain(stdout.trim().split(".")[2]);
  });

  test.each([
    [["key", "session"]],
    [["key", "session", "--user", ALICE, "--lifetime", "31d"]],
    [["key", "session", "--user", ALICE, "--lifetime", "0s"]],
    [["key", "session", "--user", ALICE, "--scope", "read,everything"]],
    [["key", "rotate", "--overlap", "long"]],
  ])("refuse %j", async (argv) => {
    const { exitCode, stderr } = await run(argv);
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining("FULA_USAGE")]);
  });
});
