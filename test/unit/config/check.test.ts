import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readBoxFacts } from "../../../src/lib/config/box-facts.ts";
import { checkConfig } from "../../../src/lib/config/check.ts";
import { readConfig } from "../../../src/lib/config/load.ts";
import { boxWith } from "../../support/config.ts";

type Box = ReturnType<typeof boxWith>;

async function check(box: Box): Promise<readonly string[]> {
  const reading = await readConfig(box);
  const problems = checkConfig(reading, await readBoxFacts(reading.paths));
  return problems.map(({ severity, subject, message }) =>
    `${severity} ${subject}: ${message}`.replaceAll(box.baseDir, "<base>"),
  );
}

const SOUND = `runtime: embedded\nsweep:\n  replMin: 1\nbilling:\n  vaultAddress: "0x${"1".repeat(40)}"\n`;
const SECRETS = "POSTGRES_PASSWORD=0123456789\nSYSTEM_KEY=0123456789ab\n".concat(
  ["JWT_SECRET", "SESSION_SECRET", "ENCRYPTION_KEY"].map((name) => `${name}=${"ab".repeat(32)}\n`).join(""),
);

describe("config check", () => {
  test("finds nothing in a sound configuration", async () => {
    expect(await check(boxWith({ yaml: SOUND, env: SECRETS }))).toEqual([]);
  });

  test.each<[string, { yaml?: string; env?: string }, Record<string, string>, RegExp]>([
    [
      "no vault",
      { yaml: "sweep:\n  replMin: 1\n" },
      {},
      /^warning billing\.vaultAddress: Billing is off: VAULT_ADDRESS is not set/,
    ],
    [
      "an empty vault, which the fleet's installer writes",
      { yaml: "sweep:\n  replMin: 1\n", env: `${SECRETS}VAULT_ADDRESS=\n` },
      {},
      /Billing is off: VAULT_ADDRESS is not set/,
    ],
    [
      "the zero address",
      { yaml: SOUND },
      { VAULT_ADDRESS: `0x${"0".repeat(40)}` },
      /Billing is off: VAULT_ADDRESS is the zero address/,
    ],
    [
      "both servers on one port",
      { yaml: `${SOUND}server:\n  port: 9000\n` },
      {},
      /^error gateway\.port: server\.port \(<base>\/fula-master\.yaml:7\) and gateway\.port \(default\) are both 9000/,
    ],
    [
      "the embedded database on a server's port",
      { yaml: `${SOUND}postgres:\n  port: 9010\n` },
      {},
      /^error postgres\.port: server\.port .* and postgres\.port .* are both 9010/,
    ],
    [
      "a gateway that others reach",
      { yaml: `${SOUND}gateway:\n  host: 0.0.0.0\n` },
      {},
      /^warning gateway\.host: gateway\.host is 0\.0\.0\.0, which others can reach/,
    ],
    ["metrics that others reach", { yaml: `${SOUND}server:\n  host: 10.0.0.1\n` }, {}, /^warning server\.host/],
    [
      "a pool that the embedded server cannot serve",
      { yaml: `${SOUND}postgres:\n  poolMax: 51\n` },
      {},
      /^warning postgres\.poolMax: postgres\.poolMax is 51, but the embedded server takes 60/,
    ],
    [
      "roots that are forgotten before what they refer to may go",
      { yaml: `${SOUND}buckets:\n  historyAge: 30m\n` },
      {},
      /^error buckets\.historyAge: buckets\.historyAge is shorter than buckets\.graceTime/,
    ],
    [
      "a list of what was revoked that is too old before it is read again",
      { yaml: `${SOUND}identity:\n  denyListMaxAge: 4s\n` },
      {},
      /^error identity\.denyListMaxAge: identity\.denyListMaxAge is not longer than two pauses/,
    ],
    [
      "buckets without an arbiter",
      { yaml: SOUND },
      { FULA_BUCKET_ROOT_CAS: "false" },
      /^warning buckets\.cas: buckets\.cas \(FULA_BUCKET_ROOT_CAS\) is off: nobody arbitrates/,
    ],
    [
      "more copies than one box can hold",
      { yaml: SOUND.replace("replMin: 1", "replMin: 2") },
      {},
      /^warning sweep\.replMin: sweep\.replMin is 2, but cluster\.mode is local/,
    ],
    [
      "idempotency off",
      { yaml: SOUND },
      { BILLING_IDEMPOTENCY: "false" },
      /^warning billing\.idempotency: .* billed twice/,
    ],
    ["the lease off", { yaml: SOUND }, { CRON_LEADER_LEASE: "false" }, /^warning billing\.cronLeaderLease/],
    [
      "an address without effect",
      { yaml: SOUND },
      { POSTGRES_HOST: "db" },
      /^warning postgres\.host: postgres\.host from environment POSTGRES_HOST has no effect: postgres\.mode is embedded/,
    ],
    [
      "a missing secret of a joined box",
      { yaml: SOUND, env: SECRETS.replace(/JWT_SECRET.*\n/, "") },
      {},
      /^warning JWT_SECRET: JWT_SECRET is not set/,
    ],
    [
      "a short secret",
      { yaml: SOUND, env: SECRETS.replace(/SYSTEM_KEY=.*/, "SYSTEM_KEY=short") },
      {},
      /^warning SYSTEM_KEY: SYSTEM_KEY has 5 characters; at least 12/,
    ],
    [
      "a name twice in .env",
      { yaml: SOUND, env: `SYSTEM_KEY=x\n${SECRETS}` },
      {},
      /^warning SYSTEM_KEY: <base>\/\.env:1 sets SYSTEM_KEY, but line 3/,
    ],
    [
      "a value without quotes that a shell would expand",
      { yaml: SOUND, env: SECRETS.replace("POSTGRES_PASSWORD=0123456789", "POSTGRES_PASSWORD=012$3456`789") },
      {},
      /^warning POSTGRES_PASSWORD: <base>\/\.env:1 gives POSTGRES_PASSWORD without quotes/,
    ],
    [
      "a last line without an end",
      { yaml: SOUND.trimEnd() },
      {},
      /^warning <base>\/fula-master\.yaml: .* does not end with a line break; was it cut off/,
    ],
  ])("tells of %s", async (_, files, environment, expected) => {
    const found = await check(boxWith(files, environment));
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(expected);
  });

  test("knows that a server on every address takes the port of every other", async () => {
    const found = await check(boxWith({ yaml: `${SOUND}server:\n  port: 9000\n  host: "::"\n` }));
    expect(found).toEqual([
      expect.stringMatching(/^error gateway\.port/),
      expect.stringMatching(/^warning server\.host/),
    ]);
  });

  test("no message shows a secret", async () => {
    const box = boxWith(
      { yaml: SOUND, env: SECRETS.replace("=0123456789\n", "=hun$ter22\n") },
      { SYSTEM_KEY: "hunter" },
    );
    expect((await check(box)).join("\n")).not.toMatch(/hun/);
  });

  test.each([
    ["a .env that the group can read", 0o640, /^error <base>\/\.env: .* mode 0640 lets others at it; expected 0600/],
    ["a .env that all can read", 0o604, /^error <base>\/\.env/],
  ])("is an error for %s", async (_, mode, expected) => {
    const box = boxWith({ yaml: SOUND, env: SECRETS });
    chmodSync(box.envFile, mode);
    expect(await check(box)).toEqual([expect.stringMatching(expected)]);
  });

  test("is an error for a signing key that others can read, and for a directory that others can change", async () => {
    const box = boxWith({ yaml: SOUND, env: SECRETS });
    mkdirSync(join(box.baseDir, "keys"));
    chmodSync(join(box.baseDir, "keys"), 0o770);
    writeFileSync(join(box.baseDir, "keys", "snapshot-ed25519.pem"), "x");
    chmodSync(join(box.baseDir, "keys", "snapshot-ed25519.pem"), 0o644);
    expect(await check(box)).toEqual([
      expect.stringContaining("<base>/keys has the mode 0770"),
      expect.stringContaining("snapshot-ed25519.pem holds secrets"),
    ]);
  });

  test("leaves the base directory its group, which an embedded database that runs as another user needs", async () => {
    const box = boxWith({ yaml: SOUND, env: SECRETS });
    chmodSync(box.baseDir, 0o710);
    expect(await check(box)).toEqual([]);
  });

  test("tells everything at once, errors first, also where the file cannot be read", async () => {
    const box = boxWith(
      { yaml: "server:\n\tport: 1\n", env: "JWT_SECRET: x\n" },
      { FULA_MASTER_X: "1", REPL_MIN: "0" },
    );
    const found = await check(box);
    expect(found.filter((each) => each.startsWith("error")).length).toBe(4);
    expect(found.findIndex((each) => each.startsWith("warning"))).toBe(4);
  });
});
