import { statSync } from "node:fs";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { ensureBoxKey } from "../../../src/lib/membership/sealed/box-key.ts";
import { type CliRun, runCliForTest } from "../../support/cli.ts";
import { boxWith } from "../../support/config.ts";
import { CLUSTER_ID } from "../../support/federation.ts";
import { markJoined } from "../../support/joined.ts";
import { tempDir } from "../../support/temp-dir.ts";

const WALLET = "0x52908400098527886E0F7030069857D2E4169EE7";

let baseDir: string;

async function membership(...args: readonly string[]): Promise<CliRun> {
  return await runCliForTest(["membership", ...args], { baseDir });
}

async function json<T>(...args: readonly string[]): Promise<T> {
  const run = await membership(...args, "--json");
  expect(run).toMatchObject({ exitCode: 0 });
  const value: T = JSON.parse(run.stdout);
  return value;
}

beforeEach(() => {
  ({ baseDir } = boxWith({ yaml: `node:\n  name: master-1\n  role: master\n  clusterId: ${CLUSTER_ID}\n` }));
  markJoined(baseDir, CLUSTER_ID);
});

describe("operators", () => {
  test("one is listed by the spelling that all stores share, and not added twice in another", async () => {
    expect((await membership("operator", "add", WALLET, "--name", "Alice")).stdout).toBe(
      `Added Alice (${WALLET.toLowerCase()}) as operator.\n`,
    );
    const again = await membership("operator", "add", WALLET.toLowerCase());
    expect(again).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("FULA_MEMBERSHIP_EXISTS") });
    const listed = await json<{ operators: { id: string }[] }>("operator", "list");
    expect(listed.operators.map(({ id }) => id)).toContain(WALLET.toLowerCase());
  });

  test("an e-mail address becomes the id of its user, under the older name of the command, too", async () => {
    await membership("user", "add", "Alice@example.com");
    const { allowed, id } = await json<{ allowed: boolean; id: string }>("user", "check", "alice@example.com");
    expect({ allowed, id }).toEqual({ allowed: true, id: expect.stringMatching(/^user:[0-9a-f]{64}$/) });
  });

  test("whoever is revoked is refused with the reason, and may again once he is restored", async () => {
    await membership("operator", "add", WALLET);
    expect((await membership("operator", "revoke", WALLET, "--yes")).exitCode).toBe(0);
    const refused = await membership("operator", "check", WALLET);
    expect(refused).toMatchObject({ exitCode: 1, stdout: expect.stringContaining("revoked") });
    await membership("operator", "restore", WALLET);
    expect((await membership("operator", "check", WALLET)).exitCode).toBe(0);
    expect((await membership("operator", "check", WALLET, "--role", "admin")).exitCode).toBe(1);
    await membership("operator", "role", WALLET, "admin");
    expect((await membership("operator", "check", WALLET, "--role", "admin")).exitCode).toBe(0);
  });

  test("the last admin stays", async () => {
    const { operators } = await json<{ operators: { id: string; role: string }[] }>("operator", "list");
    const boxKey = operators.find(({ role }) => role === "admin")?.id ?? "";
    const revoked = await membership("operator", "revoke", boxKey, "--yes");
    expect(revoked).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("FULA_MEMBERSHIP_LAST_ADMIN") });
  });

  test("nobody is revoked without being asked", async () => {
    await membership("operator", "add", WALLET);
    expect((await membership("operator", "revoke", WALLET)).stderr).toContain("FULA_CONFIRMATION_REQUIRED");
    expect((await membership("operator", "check", WALLET)).exitCode).toBe(0);
  });

  test("a dry run changes nothing", async () => {
    expect((await membership("operator", "add", WALLET, "--dry-run")).stdout).toContain("Would add");
    expect((await membership("operator", "check", WALLET)).exitCode).toBe(1);
    await membership("operator", "add", WALLET);
    expect(await json("operator", "revoke", WALLET, "--dry-run")).toMatchObject({
      changed: false,
      operator: { status: "revoked" },
    });
    expect((await membership("operator", "check", WALLET)).exitCode).toBe(0);
  });

  test("what is no operator's id is refused with an example", async () => {
    const run = await membership("operator", "add", "alice");
    expect(run).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("0x52908400098527886e0f") });
  });
});

async function makeBoxKey(): Promise<string> {
  return (await ensureBoxKey(join(baseDir, "keys/box-x25519.pem"))).endpoint;
}

describe("pools, members and keys", () => {
  const other = async (): Promise<string> => (await ensureBoxKey(join(tempDir(), "box-x25519.pem"))).endpoint;

  test("a pool has this box as its owner, and a secret that opens here", async () => {
    const endpoint = await makeBoxKey();
    expect((await membership("pool", "create", "backups", "--name", "Backups")).exitCode).toBe(0);
    expect(await json("pool", "show", "backups")).toMatchObject({
      pool: { id: "backups", name: "Backups", epoch: 1, owner: endpoint },
      members: [{ endpoint, name: "master-1", role: "owner" }],
    });
    expect((await membership("key", "open", "backups")).stdout).toMatch(/^[0-9a-f]{64}\n$/);
    expect((await membership("pool", "create", "backups")).stderr).toContain("FULA_MEMBERSHIP_EXISTS");
    expect((await membership("pool", "list")).stdout).toMatch(/backups +Backups +1 +1 /);
  });

  test("a dry run makes no pool, and one that the federation stands on is not deleted", async () => {
    await makeBoxKey();
    expect((await membership("pool", "create", "backups", "--dry-run")).stdout).toContain("Would make");
    expect((await membership("pool", "show", "backups")).stderr).toContain("FULA_MEMBERSHIP_NOT_FOUND");
    expect((await membership("pool", "delete", "masters", "--yes")).stderr).toContain("FULA_POOL_NEEDED");
    await membership("pool", "create", "backups");
    expect((await membership("pool", "delete", "backups", "--yes")).exitCode).toBe(0);
    expect((await json<{ pools: [] }>("pool", "list")).pools).toEqual([]);
  });

  test("who is taken out does not get the new secret, and the others do", async () => {
    await makeBoxKey();
    const endpoint = await other();
    await membership("pool", "create", "backups");
    expect((await membership("member", "add", "backups", endpoint, "--name", "backup-1")).exitCode).toBe(0);
    const first = (await membership("key", "open", "backups")).stdout;
    expect((await membership("key", "list", "backups")).stdout).toMatch(/1 +backup-1, master-1/);
    expect((await membership("member", "remove", "backups", "backup-1")).stderr).toContain("CONFIRMATION");
    expect((await membership("member", "remove", "backups", "backup-1", "--dry-run")).stdout).toContain("epoch 2");
    expect((await membership("member", "remove", "backups", "backup-1", "--yes")).exitCode).toBe(0);
    expect((await membership("member", "list", "backups")).stdout).not.toContain("backup-1");
    expect((await membership("key", "open", "backups")).stdout).not.toBe(first);
    expect((await membership("key", "open", "backups", "--epoch", "1")).stdout).toBe(first);
    expect((await json<{ epochs: object[] }>("key", "list", "backups")).epochs[0]).toEqual({
      epoch: 2,
      sealedTo: ["master-1"],
    });
  });

  test("a rekey gives every member a new secret, and asks", async () => {
    await makeBoxKey();
    await membership("pool", "create", "backups");
    const first = (await membership("key", "open", "backups")).stdout;
    expect((await membership("rekey", "backups")).stderr).toContain("FULA_CONFIRMATION_REQUIRED");
    expect(await json("rekey", "backups", "--dry-run")).toMatchObject({ epoch: 2, members: ["master-1"] });
    expect((await membership("key", "open", "backups")).stdout).toBe(first);
    expect((await membership("rekey", "backups", "--yes")).stdout).toContain("of epoch 2, sealed to master-1");
    expect((await membership("key", "open", "backups")).stdout).not.toBe(first);
  });

  test("a sealed key opens from a file without the control plane, and another box's does not", async () => {
    await makeBoxKey();
    await membership("pool", "create", "backups");
    await membership("member", "add", "backups", await other(), "--name", "backup-1");
    const files = { own: join(baseDir, "own.json"), other: join(baseDir, "other.json") };
    await writeFile(files.own, (await membership("key", "show", "backups", "--json")).stdout);
    await writeFile(files.other, (await membership("key", "show", "backups", "backup-1", "--json")).stdout);
    const secret = (await membership("key", "open", "backups")).stdout;
    await rm(join(baseDir, "state/control-plane.sqlite"));
    expect((await membership("key", "open", "backups")).exitCode).not.toBe(0);
    expect((await membership("key", "open", "backups", "--sealed-file", files.own)).stdout).toBe(secret);
    const refused = await membership("key", "open", "backups", "--sealed-file", files.other);
    expect(refused).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("FULA_SEALED_BOX") });
    expect(await membership("key", "open", "cluster", "--sealed-file", files.own)).toMatchObject({ exitCode: 2 });
  });

  test("a secret goes to a terminal with --reveal alone, and into a file that nobody else may read", async () => {
    await makeBoxKey();
    await membership("pool", "create", "backups");
    const secret = (await membership("key", "open", "backups")).stdout;
    const terminal = { baseDir, terminalColumns: 80 };
    const hidden = await runCliForTest(["membership", "key", "open", "backups"], terminal);
    expect(hidden).toMatchObject({ exitCode: 2, stdout: "" });
    const shown = await runCliForTest(["membership", "key", "open", "backups", "--reveal"], terminal);
    expect(shown.stdout).toBe(secret);
    const file = join(baseDir, "secret");
    const written = await membership("key", "open", "backups", "--output", file, "--json");
    expect(written.stdout).not.toContain(secret.trim());
    expect(await readFile(file, "utf8")).toBe(secret);
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });
});

describe("export and import", () => {
  test("a file brings everything back that was lost since, and only where that is said", async () => {
    const file = join(baseDir, "control-plane.json");
    await membership("operator", "add", WALLET);
    const exported = await membership("export", "--output", file);
    expect(exported.stdout).toContain("3 operators");
    expect(statSync(file).mode & 0o777).toBe(0o600);
    await membership("operator", "add", "alice@example.com");
    const refused = await membership("import", file);
    expect(refused).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("FULA_MEMBERSHIP_OTHER_STATE") });
    expect((await membership("import", file, "--overwrite")).stderr).toContain("FULA_CONFIRMATION_REQUIRED");
    expect((await membership("operator", "check", "alice@example.com")).exitCode).toBe(0);
    const done = await json("import", file, "--overwrite", "--yes");
    expect(done).toMatchObject({ records: { operators: 3 }, losses: { count: 1 } });
    expect((await membership("operator", "check", "alice@example.com")).exitCode).toBe(1);
  });

  test("a new file gets the same state as the old one", async () => {
    const file = join(baseDir, "control-plane.json");
    const db = join(baseDir, "other.sqlite");
    await membership("operator", "add", WALLET);
    const { document } = await json<{ document: { sha256: string } }>("export", "--output", file);
    expect((await membership("import", file, "--db", db, "--dry-run")).exitCode).toBe(0);
    expect(() => statSync(db)).toThrow("ENOENT");
    expect((await membership("import", file, "--db", db)).stdout).toContain("is the same");
    expect(statSync(db).mode & 0o777).toBe(0o600);
    expect((await membership("export")).stdout).toContain(document.sha256);
    expect((await membership("import", file, "--db", db)).exitCode).toBe(0);
  });

  test("a file that was changed by hand is not imported", async () => {
    const file = join(baseDir, "control-plane.json");
    await membership("export", "--output", file);
    await writeFile(file, (await readFile(file, "utf8")).replace('"operator"', '"admin"'));
    const run = await membership("import", file);
    expect(run).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("digest") });
  });
});

test("the status of a file says where it is, who may act, and which pools there are", async () => {
  await makeBoxKey();
  await membership("pool", "create", "backups");
  const run = await membership("status");
  expect(run.stdout).toContain(`a file of this box: ${join(baseDir, "state/control-plane.sqlite")}`);
  expect(run.stdout).toMatch(/Operators: +2, 1 admin/);
  expect(run.stdout).toMatch(/backups +1 +1/);
  const { mode, address, pools } = await json<{ mode: string; address: string; pools: object[] }>("status");
  expect({ mode, address, pools }).toEqual({
    mode: "sqlite",
    address: join(baseDir, "state/control-plane.sqlite"),
    pools: [{ id: "backups", epoch: 1, members: 1 }],
  });
});
