import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { registerNode } from "../../../src/lib/membership/federation-nodes.ts";
import { makeRegistration } from "../../support/federation.ts";
import { treeOf } from "../../support/file-tree.ts";
import { findFreePort } from "../../support/free-port.ts";
import { emptyDatabase, type TestDatabase } from "../../support/postgres.ts";
import { makeTestBox, type TestBox } from "../../support/test-box.ts";

let box: TestBox;
let database: TestDatabase;

beforeEach(async () => {
  box = await makeTestBox();
  database = await emptyDatabase();
});

afterEach(async () => {
  await box[Symbol.asyncDispose]();
  await database.drop();
});

function joinArgs(url: string): readonly string[] {
  return [...box.joinArgs.map((arg) => (arg === "embedded" ? "external" : arg)), "--no-start", "--postgres-url", url];
}

test("a ledger in a server that runs already is used, and its password is kept in .env alone", async () => {
  const { exitCode, stdout, stderr } = await box.run([...joinArgs(database.url), "--json"]);
  expect(stderr).not.toContain(database.options.password);
  expect(exitCode).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    plan: { runtime: "external", runtimeReason: "the settings name an external PostgreSQL server" },
    summary: { warnings: [{ id: "billing-off" }] },
  });
  expect(stdout).not.toContain(database.options.password);
  const { config, secrets } = await box.load();
  expect(config).toMatchObject({
    runtime: "external",
    postgres: { mode: "external", database: database.name },
    blocks: { mode: "local" },
    cluster: { mode: "local" },
  });
  expect(secrets.postgresPassword?.reveal()).toBe(database.options.password);
  expect(await readFile(join(box.baseDir, "fula-master.yaml"), "utf8")).not.toContain(database.options.password);
  const { rows } = await database.pool.query("select count(*)::int as n from schema_migrations");
  expect(rows[0].n).toBeGreaterThan(10);
});

test("a second join finds everything so already and changes nothing", async () => {
  expect(await box.run(joinArgs(database.url))).toMatchObject({ exitCode: 0 });
  const before = await treeOf(box.root);
  const { stdout } = await box.run([...joinArgs(database.url), "--json"]);
  expect(JSON.parse(stdout)).toMatchObject({ outcome: "already", changed: [] });
  expect(await treeOf(box.root)).toEqual(before);
});

test("a database of the existing fleet is pointed to migrate adopt, before anything is written", async () => {
  await database.pool.query("create table users (id serial primary key, username text)");
  await database.pool.query("create table pins (id serial primary key, cid text)");
  const before = await treeOf(box.root);
  const { exitCode, stderr } = await box.run(joinArgs(database.url));
  expect(exitCode).toBe(3);
  expect(stderr).toMatch(/FULA_(ADOPT_NEEDED|DATABASE_FOREIGN)/);
  expect(await treeOf(box.root)).toEqual(before);
});

test("a server that does not answer, and one that refuses the password, stop join before anything is written", async () => {
  const before = await treeOf(box.root);
  const silent = await box.run(joinArgs(`postgres://u:hunter2@127.0.0.1:${await findFreePort()}/x`));
  expect(silent).toMatchObject({ exitCode: 4, stderr: expect.stringContaining("FULA_DATABASE_UNREACHABLE") });
  const refused = await box.run(joinArgs(database.url.replace(database.options.password, "hunter2")));
  expect(refused).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("FULA_DATABASE_LOGIN") });
  expect(`${silent.stderr}${refused.stderr}`).not.toContain("hunter2");
  expect(await treeOf(box.root)).toEqual(before);
});

test("a box whose own PostgreSQL is the ledger of another master may not leave, and to have left is no leave to purge it", async () => {
  expect(await box.run(joinArgs(database.url))).toMatchObject({ exitCode: 0 });
  const { host, port } = database.options;
  // As if the server were the container of this box, which no engine is needed for to ask it.
  const env = {
    PATH: process.env["PATH"],
    FULA_MASTER_POSTGRES_MODE: "docker",
    FULA_MASTER_POSTGRES_HOST: host,
    FULA_MASTER_POSTGRES_PORT: String(port),
  };
  const leave = async (...args: readonly string[]) =>
    await box.run(["leave", "--yes", "--schedule-root", box.scheduleRoot, ...args], { env });
  const clusterId = (await box.load()).config.node.clusterId ?? "";
  const other = makeRegistration({ name: "master-2", clusterId });
  await registerNode(database.pool, other, { clock: systemClock });
  const refused = await leave("--dry-run");
  expect(refused).toMatchObject({ exitCode: 3, stderr: expect.stringMatching(/FULA_LEAVE_LEDGER.*master-2/) });
  expect(await box.run(["leave", "--yes", "--schedule-root", box.scheduleRoot])).toMatchObject({ exitCode: 0 });
  const purge = await leave("--purge");
  expect(purge).toMatchObject({ exitCode: 3, stderr: expect.stringMatching(/FULA_LEAVE_LEDGER.*master-2/) });
});
