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
  scopes: z.array(z.string()),
  label: z.string(),
  createdAt: z.string().nullable(),
  endpoint: z.string(),
  region: z.string(),
});
const listed = z.strictObject({
  keys: z.array(
    z.strictObject({
      keyId: z.string(),
      userId: z.string(),
      scopes: z.array(z.string()),
      label: z.string(),
      createdAt: z.string(),
      lastUsedAt: z.string().nullable(),
      revokedAt: z.string().nullable(),
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
