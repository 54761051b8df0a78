import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { type CliRun, runCliForTest } from "../../support/cli.ts";
import { boxWith } from "../../support/config.ts";
import { tempDir } from "../../support/temp-dir.ts";
import { CLUSTER_ID, partsOf, TestWallet, tokenOf } from "../../support/wallet-tokens.ts";

const alice = new TestWallet(0x42);
const NOW = Date.UTC(2026, 10, 20, 3);
const KEY_HEX = "42".repeat(32);
const inspected = z.strictObject({
  kind: z.enum(["wallet", "jwt", "access-key", "unknown"]),
  problem: z.string().nullable(),
  says: z.record(z.string(), z.unknown()),
  issuedAt: z.string().nullable(),
  expiresAt: z.string().nullable(),
  time: z.enum(["not-yet", "good", "expired"]).nullable(),
  digest: z.string().nullable(),
  signature: z.string().nullable(),
});
const signed = z.strictObject({
  token: z.string(),
  version: z.number(),
  wallet: z.string(),
  audience: z.string().nullable(),
  scope: z.string().nullable(),
  chainId: z.number().nullable(),
  nonce: z.string().nullable(),
  issuedAt: z.string(),
  expiresAt: z.string(),
  digest: z.string(),
});

/** Alice's key as a file of hers. */
function keyFile(): string {
  const path = join(tempDir(), "wallet.key");
  writeFileSync(path, `0x${KEY_HEX}\n`, { mode: 0o600 });
  return path;
}

async function inspect(token: string): Promise<z.infer<typeof inspected>> {
  const { stdout } = await runCliForTest(["auth", "inspect", "-", "--json"], { stdin: `${token}\n` });
  return inspected.parse(JSON.parse(stdout));
}

describe("auth inspect", () => {
  test("says what a wallet token says, its times in UTC, whose signature it has, and not the signature", async () => {
    const token = alice.second(NOW);
    const { stdout, stderr, exitCode } = await runCliForTest(["auth", "inspect", "-"], { stdin: token });
    expect([exitCode, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(/^Issued: +2026-11-20T03:00:00Z/m);
    expect(stdout).toMatch(new RegExp(`^Signature: +65 bytes, of ${alice.address}$`, "m"));
    expect(stdout).toContain(`federation:${CLUSTER_ID}`);
    expect(stdout).not.toContain(token.split(".")[2]);
    expect(stdout).not.toContain(Buffer.from(partsOf(token).signature).toString("hex"));
  });

  test("gives one digest for all spellings of a token", async () => {
    const { payload, signature } = partsOf(alice.first(NOW));
    const shouted = payload.replace(alice.address.slice(2), alice.address.slice(2).toUpperCase());
    const first = await inspect(alice.first(NOW));
    expect(first).toMatchObject({ kind: "wallet", problem: null, says: { version: 1, wallet: alice.address } });
    expect((await inspect(tokenOf("fula-eip712", shouted, signature))).digest).toBe(first.digest);
  });

  test("says of a token that another wallet signed that it did", async () => {
    const token = tokenOf(
      "fula-eip712",
      partsOf(alice.first(NOW)).payload,
      partsOf(new TestWallet(9).first(NOW)).signature,
    );
    expect((await inspect(token)).signature).toBe("65 bytes, but another wallet than the one it names signed it");
  });

  test("shows what is wrong with a malformed one, and what it says all the same", async () => {
    const token = tokenOf("fula-eip712", '{"wallet": "\u001b[31mred \u009b31m"}', new Uint8Array(65));
    const { stdout, exitCode } = await runCliForTest(["auth", "inspect", "-"], { stdin: token });
    expect(exitCode).toBe(1);
    expect(stdout).toContain("its payload is not plain JSON from character 1 on");
    expect(stdout).toContain(String.raw`\u001b[31mred \u009b31m`);
  });

  test("reads a JSON Web Token without its secrets being known", async () => {
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
    const token = `${part({ alg: "HS256", kid: "k1" })}.${part({ sub: "alice@example.com", scope: "storage:read", exp: 1, pin: "1234" })}.c2ln`;
    expect(await inspect(token)).toMatchObject({
      kind: "jwt",
      problem: null,
      says: { alg: "HS256", kid: "k1", sub: "alice@example.com", scope: "storage:read", exp: 1 },
      expiresAt: "1970-01-01T00:00:01Z",
      time: "expired",
      signature: null,
    });
    const { stdout } = await runCliForTest(["auth", "inspect", "-"], { stdin: token });
    expect(stdout).not.toContain("1234");
  });

  test("names an access key, and never its secret", async () => {
    const { stdout } = await runCliForTest(["auth", "inspect", "-"], {
      stdin: "FULAABCDEFGH234567AB.secret-of-the-key",
    });
    expect(stdout).toMatch(/keyId: +FULAABCDEFGH234567AB/);
    expect(stdout).not.toContain("secret-of-the-key");
  });

  test("reads the token from a file, too", async () => {
    const file = join(tempDir(), "token");
    writeFileSync(file, `Bearer ${alice.first(NOW)}\n`);
    const { stdout, exitCode } = await runCliForTest(["auth", "inspect", "--token-file", file]);
    expect([exitCode, stdout]).toEqual([0, expect.stringContaining(alice.address) as unknown]);
    const missing = await runCliForTest(["auth", "inspect", "--token-file", `${file}.other`]);
    expect([missing.exitCode, missing.stdout]).toEqual([2, ""]);
  });

  test.each([
    ["anything", "abc"],
    ["two parts", "a.b"],
    ["three parts that are no JSON Web Token", "a.b.c"],
  ])("fails for %s", async (_what, text) => {
    const { exitCode } = await runCliForTest(["auth", "inspect", "-"], { stdin: text });
    expect(exitCode).toBe(1);
  });

  test("warns of a token that stands on the command line", async () => {
    const { stderr, exitCode } = await runCliForTest(["auth", "inspect", alice.first(NOW)]);
    expect(exitCode).toBe(0);
    expect(stderr).toMatch(/seen by every user of this box/);
  });

  test.each([[["auth", "inspect"]], [["auth", "inspect", "abc", "--token-file", "x"]], [["auth", "inspect", ""]]])(
    "takes one token: %j is bad usage",
    async (argv) => {
      expect((await runCliForTest(argv)).exitCode).toBe(2);
    },
  );
});

describe("auth sign", () => {
  async function sign(...more: readonly string[]): Promise<CliRun> {
    return await runCliForTest(["auth", "sign", "--key-file", keyFile(), ...more]);
  }

  test("prints the token alone, which inspect knows as the wallet's", async () => {
    const { stdout, stderr, exitCode } = await sign(
      "--audience",
      `federation:${CLUSTER_ID}`,
      "--scope",
      "storage:read",
    );
    expect([exitCode, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(/^fula-eip712v2\.\S+\n$/);
    expect(await inspect(stdout)).toMatchObject({
      says: { version: 2, wallet: alice.address, scope: "storage:read", chainId: 1 },
      time: "good",
      signature: `65 bytes, of ${alice.address}`,
    });
  });

  test("says with --json what it signed, and gives every token another nonce", async () => {
    const both = [
      await sign("--audience", "federation:x", "--json"),
      await sign("--audience", "federation:x", "--json"),
    ];
    const [one, two] = both.map(({ stdout }) => signed.parse(JSON.parse(stdout)));
    expect(one).toMatchObject({ version: 2, wallet: alice.address, audience: "federation:x", scope: "storage:*" });
    expect(one?.nonce).not.toBe(two?.nonce);
    expect(await inspect(one?.token ?? "")).toMatchObject({ digest: one?.digest });
  });

  test("makes the fleet's token with --v1, with a key from standard input", async () => {
    const { stdout } = await runCliForTest(["auth", "sign", "--key-file", "-", "--v1", "--lifetime", "24h"], {
      stdin: KEY_HEX,
    });
    const { says } = await inspect(stdout);
    expect(says).toMatchObject({ version: 1, wallet: alice.address });
    expect(Number(says["exp"]) - Number(says["iat"])).toBe(86_400);
  });

  test("means this box's own federation where no audience is given", async () => {
    const { baseDir } = boxWith({ yaml: `node:\n  clusterId: ${CLUSTER_ID}\n` });
    const { stdout } = await runCliForTest(["auth", "sign", "--key-file", keyFile()], { baseDir });
    expect((await inspect(stdout)).says).toMatchObject({ audience: `federation:${CLUSTER_ID}` });
    const nowhere = await runCliForTest(["auth", "sign", "--key-file", keyFile()], { baseDir: boxWith({}).baseDir });
    expect([nowhere.exitCode, nowhere.stdout]).toEqual([2, ""]);
    expect(nowhere.stderr).toMatch(/no federation/);
  });

  test.each([
    ["a lifetime above 24 h", ["--audience", "federation:x", "--lifetime", "25h"]],
    ["no lifetime", ["--audience", "federation:x", "--lifetime", "0s"]],
    ["an audience that nobody has", ["--audience", "everybody"]],
    ["a scope that nobody knows", ["--audience", "federation:x", "--scope", "storage:all"]],
    ["a chain that is no number", ["--audience", "federation:x", "--chain", "base"]],
    ["a scope for the first version", ["--v1", "--scope", "storage:read"]],
  ])("refuses %s", async (_what, more) => {
    const { exitCode, stdout } = await sign(...more);
    expect([exitCode, stdout]).toEqual([2, ""]);
  });

  test.each([
    ["no hex", "zz".repeat(32)],
    ["31 bytes", "42".repeat(31)],
    ["zero", "00".repeat(32)],
    ["the order of the curve", "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"],
  ])("refuses a key that is %s, without printing it", async (_what, text) => {
    const { exitCode, stderr } = await runCliForTest(["auth", "sign", "--key-file", "-", "--v1"], { stdin: text });
    expect(exitCode).toBe(2);
    expect(stderr).toContain("FULA_WALLET_KEY");
    expect(stderr).not.toContain(text.slice(0, 16));
  });

  test("refuses a key file that others can read", async () => {
    const open = join(tempDir(), "open.key");
    writeFileSync(open, KEY_HEX);
    chmodSync(open, 0o640);
    const { exitCode, stderr } = await runCliForTest(["auth", "sign", "--key-file", open, "--v1"]);
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/is open to others \(mode 640\)/);
  });
});
