import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, statSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect, nkeyAuthenticator } from "@nats-io/transport-node";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import type { MembershipSnapshot } from "../../../src/lib/membership/records.ts";
import { openSqliteStore } from "../../../src/lib/membership/sqlite/sqlite-store.ts";
import type { MembershipStore } from "../../../src/lib/membership/store.ts";
import { type CliRun, runCliForTest } from "../../support/cli.ts";
import { boxWith } from "../../support/config.ts";
import { CLUSTER_ID } from "../../support/federation.ts";
import { markJoined } from "../../support/joined.ts";
import { openTestKv } from "../../support/kv-stores.ts";
import { makeState } from "../../support/membership-state.ts";
import { type NatsServers, startNatsServers } from "../../support/nats-servers.ts";
import { startNatsWriteProxy } from "../../support/nats-write-proxy.ts";

const CHILD = join(import.meta.dirname, "../../support/children/run-fula-master.ts");
const SOAK = process.env["SOAK"] === "1";
const STATE = makeState({ pools: 3, members: 4, epochs: 2 });

let nats: NatsServers;
let prefixes = 0;
let box: Box;

interface Box {
  readonly baseDir: string;
  readonly db: string;
  readonly prefix: string;
}

/** A master with a control plane in a file, and on the server nothing yet. */
async function makeBox(): Promise<Box> {
  prefixes += 1;
  const prefix = `T${prefixes}`;
  const yaml = `node:\n  name: master-1\n  role: master\n  clusterId: ${CLUSTER_ID}\ncontrolPlane:\n  prefix: ${prefix}\n  timeout: 10s\n  bootstrapTimeout: 10s\n`;
  const { baseDir } = boxWith({ yaml });
  markJoined(baseDir, CLUSTER_ID);
  await writeFile(join(baseDir, "user.nk"), nats.user.seed, { mode: 0o600 });
  const made = { baseDir, db: join(baseDir, "state/control-plane.sqlite"), prefix };
  // The first command writes down who may act; the rest of the state is put beside them.
  expect(await membership(made, "operator", "list")).toMatchObject({ exitCode: 0 });
  await using store = await openFile(made.db);
  const seeded = await store.exportSnapshot();
  const others = STATE.operators.filter(({ id }) => id !== "system");
  await store.importSnapshot({ ...STATE, operators: [...seeded.operators, ...others].toSorted(byId) });
  return made;
}

function byId(left: { readonly id: string }, right: { readonly id: string }): number {
  return left.id < right.id ? -1 : 1;
}

async function openFile(path: string): Promise<MembershipStore> {
  return await openSqliteStore(path, { clock: systemClock, timeoutMs: 20_000 });
}

async function stateOfFile(path: string): Promise<MembershipSnapshot> {
  await using store = await openFile(path);
  return await store.exportSnapshot();
}

async function stateOfServers({ prefix }: Box): Promise<MembershipSnapshot> {
  await using store = await openTestKv(nats, { prefix, replicas: 1 });
  return await store.exportSnapshot();
}

async function streamsOnServers({ prefix }: Box): Promise<readonly string[]> {
  const authenticator = nkeyAuthenticator(new TextEncoder().encode(nats.user.seed));
  const connection = await connect({ servers: [...nats.urls], authenticator });
  try {
    const names: string[] = [];
    for await (const name of (await jetstreamManager(connection)).streams.names()) names.push(name);
    return names.filter((name) => name.startsWith(`KV_${prefix}_`));
  } finally {
    await connection.close();
  }
}

async function membership({ baseDir }: Pick<Box, "baseDir">, ...args: readonly string[]): Promise<CliRun> {
  return await runCliForTest(["membership", ...args], { baseDir });
}

function migrateArgs({ baseDir }: Box, url: string): readonly string[] {
  return ["migrate-to-kv", "--nats-url", url, "--nkey-file", join(baseDir, "user.nk"), "--replicas", "1"];
}

async function migrate(of: Box, ...args: readonly string[]): Promise<CliRun> {
  return await membership(of, ...migrateArgs(of, nats.urls[0] ?? ""), ...args);
}

function backupsOf({ baseDir }: Box): readonly string[] {
  return readdirSync(join(baseDir, "state")).filter((name) => name.endsWith(".backup"));
}

beforeAll(async () => {
  nats = await startNatsServers(1);
});
afterAll(async () => {
  await nats[Symbol.asyncDispose]();
});
beforeEach(async () => {
  box = await makeBox();
});

describe("from a file to servers", () => {
  test("every record arrives, with epochs and revocations, and the box works on the servers from then on", async () => {
    const before = await stateOfFile(box.db);
    const run = await migrate(box, "--json");
    expect(run).toMatchObject({ exitCode: 0 });
    expect(JSON.parse(run.stdout)).toMatchObject({ switched: true, losses: { count: 0 }, records: { pools: 3 } });
    expect(await stateOfServers(box)).toEqual(before);
    expect((await membership(box, "pool", "list")).stdout).toContain("pool-2");
    expect(await readFile(join(box.baseDir, "fula-master.yaml"), "utf8")).toContain("mode: nats");
    const [backup = ""] = backupsOf(box);
    const path = join(box.baseDir, "state", backup);
    expect(await stateOfFile(path)).toEqual(before);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test("whoever has the file still open is answered no more", async () => {
    await using serve = await openFile(box.db);
    expect(await serve.hasAdmin()).toBe(true);
    await migrate(box, "--no-backup");
    expect(backupsOf(box)).toEqual([]);
    await expect(serve.listPools()).rejects.toMatchObject({ code: "FULA_CONTROL_PLANE_MOVED" });
    expect(await serve.isAuthorized("system", "operator")).toMatchObject({ allowed: false });
  });

  test("a second run gives the same state, and one after a change on the servers is refused", async () => {
    expect((await migrate(box)).exitCode).toBe(0);
    const after = await stateOfServers(box);
    expect((await migrate(box)).exitCode).toBe(0);
    expect(await stateOfServers(box)).toEqual(after);
    expect((await membership(box, "operator", "revoke", "system", "--yes")).exitCode).toBe(0);
    const refused = await migrate(box);
    expect(refused).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("FULA_MEMBERSHIP_OTHER_STATE") });
    expect(refused.stderr).toContain("operator system would be set back");
    expect((await stateOfServers(box)).operators.find(({ id }) => id === "system")?.status).toBe("revoked");
    expect((await migrate(box, "--overwrite")).stdout).toContain("set back");
    expect(await stateOfServers(box)).toEqual(after);
  });

  test("another federation's state is not written over", async () => {
    await using store = await openTestKv(nats, { prefix: box.prefix, replicas: 1 });
    const other = makeState({ pools: 1, members: 1, epochs: 1 });
    await store.importSnapshot({ ...other, pools: other.pools.map((pool) => ({ ...pool, name: "Theirs" })) });
    const refused = await migrate(box);
    expect(refused).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("FULA_MEMBERSHIP_OTHER_STATE") });
    expect((await store.listPools()).map(({ name }) => name)).toEqual(["Theirs"]);
    expect((await membership(box, "pool", "list")).stdout).toContain("pool-2");
  });

  test("a dry run copies nothing and changes no setting", async () => {
    const run = await migrate(box, "--dry-run");
    expect(run).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("Would copy 3 pools, 12 members") });
    expect(await streamsOnServers(box)).toEqual([]);
    expect(await readFile(join(box.baseDir, "fula-master.yaml"), "utf8")).not.toContain("mode: nats");
    expect((await migrate(box)).exitCode).toBe(0);
    await membership(box, "operator", "revoke", "system", "--yes");
    expect((await migrate(box, "--dry-run")).stderr).toContain("operator system would be set back");
    expect((await migrate(box, "--dry-run", "--overwrite")).stdout).toContain("operator system would be set back");
  });

  test("servers that do not answer leave everything as it was", async () => {
    const before = await stateOfFile(box.db);
    await using proxy = await startNatsWriteProxy(nats.servers[0]?.clientPort ?? 0, 3);
    const run = await membership(box, ...migrateArgs(box, proxy.url));
    expect(run).toMatchObject({ exitCode: 4, stderr: expect.stringContaining("FULA_CONTROL_PLANE_UNREACHABLE") });
    expect(await stateOfFile(box.db)).toEqual(before);
    expect((await membership(box, "pool", "list")).exitCode).toBe(0);
    expect((await migrate(box)).exitCode).toBe(0);
    expect(await stateOfServers(box)).toEqual(before);
  });
});

describe("a migration that is killed at a record", () => {
  async function writesOfAll(): Promise<number> {
    const other = await makeBox();
    await using proxy = await startNatsWriteProxy(nats.servers[0]?.clientPort ?? 0);
    expect((await membership(other, ...migrateArgs(other, proxy.url))).exitCode).toBe(0);
    return proxy.writes;
  }

  test("is finished by running it again", { timeout: SOAK ? 600_000 : 240_000 }, async () => {
    const writes = await writesOfAll();
    expect(writes).toBeGreaterThan(20);
    const points = SOAK ? Array.from({ length: writes }, (_, at) => at) : [Math.floor(writes / 2), writes - 1];
    for (const point of points) {
      const killed = await makeBox();
      const before = await stateOfFile(killed.db);
      const ended = Promise.withResolvers<void>();
      await using proxy = await startNatsWriteProxy(nats.servers[0]?.clientPort ?? 0, point, ended.resolve);
      const args = ["membership", ...migrateArgs(killed, proxy.url), "--base-dir", killed.baseDir];
      const child = spawn(process.execPath, [CHILD, ...args], { stdio: "ignore" });
      const exited = once(child, "exit");
      await Promise.race([ended.promise, exited]);
      child.kill("SIGKILL");
      await exited;
      expect({ point, signal: child.signalCode, writes: proxy.writes }).toEqual({
        point,
        signal: "SIGKILL",
        writes: point,
      });
      expect(await stateOfFile(killed.db)).toEqual(before);
      expect(await migrate(killed)).toMatchObject({ exitCode: 0 });
      expect(await stateOfServers(killed)).toEqual(before);
    }
  });
});

test("the way back: what the servers have is brought into a file, which answers again", async () => {
  expect((await migrate(box)).exitCode).toBe(0);
  await membership(box, "operator", "revoke", "system", "--yes");
  const state = await stateOfServers(box);
  const file = join(box.baseDir, "control-plane.json");
  expect((await membership(box, "export", "--output", file)).exitCode).toBe(0);
  expect((await membership(box, "import", file, "--db", box.db)).exitCode).toBe(0);
  expect(await stateOfFile(box.db)).toEqual(state);
  expect(
    (await runCliForTest(["config", "set", "controlPlane.mode", "sqlite"], { baseDir: box.baseDir })).exitCode,
  ).toBe(0);
  expect((await membership(box, "operator", "check", "system")).stdout).toContain("revoked");
  expect((await membership(box, "pool", "list")).stdout).toContain("pool-2");
});
