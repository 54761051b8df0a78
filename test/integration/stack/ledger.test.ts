import { mkdtemp, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type LoadedConfig, loadConfig } from "../../../src/lib/config/load.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { ensureDir } from "../../../src/lib/kernel/files.ts";
import { inspectEmbeddedPostgres, stopUnusedPostgres } from "../../../src/lib/runtime/embedded-postgres.ts";
import { writeInstallation } from "../../../src/lib/stack/installation.ts";
import { openLedger, withLedger } from "../../../src/lib/stack/ledger.ts";
import { findFreePort } from "../../support/free-port.ts";
import { removeTree } from "../../support/postgres-child.ts";

const deps = { clock: systemClock };
let baseDir: string;

beforeEach(async () => {
  baseDir = await mkdtemp(join(tmpdir(), "fula-ledger-"));
});
afterEach(async () => {
  await stopUnusedPostgres((await load()).paths, systemClock);
  expect(await running()).toBeNull();
  await removeTree(baseDir);
});

async function load(env: Readonly<Record<string, string>> = {}): Promise<LoadedConfig> {
  return loadConfig({ globals: { baseDir }, env: { POSTGRES_PASSWORD: "a password", ...env }, cwd: "/" });
}

async function running(): Promise<unknown> {
  return (await inspectEmbeddedPostgres((await load()).paths)).running;
}

describe("an embedded ledger", () => {
  test("is started for the time of one call, and keeps its rows for the next", async () => {
    const loaded = await load();
    await withLedger(loaded, deps, async (pool) => {
      await pool.query("create table kept as select 5 as n");
    });
    expect(await running()).toBeNull();
    expect(await withLedger(loaded, deps, async (pool) => (await pool.query("select n from kept")).rows)).toEqual([
      { n: 5 },
    ]);
  });

  test("that serve keeps open is shared by a call and survives it", async () => {
    const loaded = await load();
    await using serve = await openLedger(loaded, { ...deps, part: "serve", supervise: true });
    expect(serve.serverState()).toMatchObject({ status: "running" });
    const name = await withLedger(loaded, { ...deps, part: "migrate" }, async (pool) => {
      const { rows } = await pool.query("select current_setting('application_name') as name");
      return rows;
    });
    expect(name).toEqual([{ name: expect.stringContaining("migrate") }]);
    expect((await serve.pool.query("select 1 as one")).rows).toEqual([{ one: 1 }]);
  });

  test("that serve keeps open lets nobody wait for long who is paused in the middle of a change", async () => {
    await using serve = await openLedger(await load(), { ...deps, part: "serve", supervise: true });
    const { rows } = await serve.pool.query("show idle_in_transaction_session_timeout");
    expect(rows).toEqual([{ idle_in_transaction_session_timeout: "10s" }]);
  });

  test("gives the callback's error on and is stopped all the same", async () => {
    const failing = withLedger(await load(), deps, async () => {
      await Promise.resolve();
      throw new Error("what the callback says");
    });
    await expect(failing).rejects.toThrow("what the callback says");
    expect(await running()).toBeNull();
  });

  test("does not exist before join made a password, and nothing is written", async () => {
    await expect(withLedger(await load({ POSTGRES_PASSWORD: "" }), deps, async () => {})).rejects.toMatchObject({
      code: "FULA_NOT_JOINED",
    });
    expect(await readdir(baseDir)).toEqual([]);
  });

  test("that was made once and is gone is not replaced by an empty one", async () => {
    const { paths } = await load();
    await ensureDir(paths.stateDir);
    await writeInstallation(paths.stateDir, {
      format: 1,
      clusterId: "0b9a5f0e-0000-4000-8000-000000000001",
      createdAt: "2026-11-20T00:00:00Z",
      createdBy: "0.1.0",
      changedBy: "0.1.0",
      made: ["ledger"],
    });
    await expect(withLedger(await load(), deps, async () => {})).rejects.toMatchObject({ code: "FULA_STATE_LOST" });
  });

  test("an aborted run gets no ledger and leaves no server", async () => {
    const signal = AbortSignal.abort(new Error("Ctrl-C"));
    await expect(withLedger(await load(), { ...deps, signal }, async () => {})).rejects.toThrow("Ctrl-C");
    expect(await running()).toBeNull();
  });
});

describe("an external ledger", () => {
  test("that runs is connected to, and left running", async () => {
    await using embedded = await openLedger(await load(), deps);
    const external = await load({ FULA_MASTER_POSTGRES_MODE: "external", POSTGRES_PORT: String(embedded.port) });
    await using ledger = await openLedger(external, deps);
    expect(ledger).toMatchObject({ host: "127.0.0.1", port: embedded.port });
    expect(ledger.serverState()).toBeNull();
    await ledger.close();
    expect((await embedded.pool.query("select 1 as one")).rows).toEqual([{ one: 1 }]);
  });

  test("that this box was given a standby of meanwhile is followed there when that becomes the primary", async () => {
    await using embedded = await openLedger(await load(), deps);
    const external = { FULA_MASTER_POSTGRES_MODE: "external", POSTGRES_PORT: String(embedded.port) };
    await using ledger = await openLedger(await load(external), deps);
    const port = await findFreePort();
    const now = await load({
      ...external,
      FULA_MASTER_STANDBY_SERVER: "embedded",
      FULA_MASTER_POSTGRES_ANNOUNCE: `192.0.2.7:${port}`,
    });
    const uuid = "0b9a5f0e-0000-4000-8000-000000000002";
    ledger.goTo({ number: 2, uuid, primary: now.config.node.name, address: `192.0.2.7:${port}` }, now);
    expect(ledger.connection.follow?.place).toMatchObject({ host: "127.0.0.1", port, ledgerEpoch: `2:${uuid}` });
  });

  test("that does not answer is FULA_DATABASE_UNREACHABLE, with its address", async () => {
    const port = await findFreePort();
    const loaded = await load({ FULA_MASTER_POSTGRES_MODE: "external", POSTGRES_PORT: String(port) });
    await expect(withLedger(loaded, deps, async () => {})).rejects.toMatchObject({
      code: "FULA_DATABASE_UNREACHABLE",
      message: expect.stringContaining(`127.0.0.1:${port}`),
    });
  });

  test("that refuses the password is not called unreachable", async () => {
    await using embedded = await openLedger(await load(), deps);
    const env = {
      FULA_MASTER_POSTGRES_MODE: "external",
      POSTGRES_PORT: String(embedded.port),
      POSTGRES_PASSWORD: "not it",
    };
    await expect(withLedger(await load(env), deps, async () => {})).rejects.toMatchObject({
      code: "FULA_DATABASE_LOGIN",
    });
  });
});
