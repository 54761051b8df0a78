import { chmod, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { LedgerEpochRecord } from "../../../src/lib/membership/ledger-records.ts";
import type { Session } from "../../../src/lib/postgres/session.ts";
import { pinName } from "../../../src/lib/recovery/pins.ts";
import { readSlots } from "../../../src/lib/recovery/postgres/slot-look.ts";
import { FLOOR_SLOT } from "../../../src/lib/recovery/postgres/slots.ts";
import { standbyRole, standbySlot } from "../../../src/lib/recovery/postgres/standby-names.ts";
import type { SyncKeeper } from "../../../src/lib/server/sync-keeper.ts";
import { openOwnServer } from "../../../src/lib/stack/own-server.ts";
import { postgresTlsFiles } from "../../../src/lib/stack/postgres-tls.ts";
import { addStandby, type StandbyAddReport } from "../../../src/lib/stack/standby-add.ts";
import { openStandbyBox } from "../../../src/lib/stack/standby-box.ts";
import { boxConnection } from "../../../src/lib/stack/standby-link.ts";
import { removeStandby, type StandbyRemoveReport } from "../../../src/lib/stack/standby-remove.ts";
import { readStandbyStatus, type StandbyStatus } from "../../../src/lib/stack/standby-status.ts";
import { connectionConfig } from "../../../src/lib/postgres/pool.ts";
import { makeStandbyPair, type StandbyPair, type StandbyTestBox } from "../../support/standby-boxes.ts";
import { until } from "../../support/until.ts";

let dir: string;
let pair: StandbyPair;
let keeper: SyncKeeper;
/** `standby.sync` of the primary's box, as it is by now. */
let mode: "preferred" | "off" = "preferred";
const WAIT_MS = 60_000;
const DEAD_RECOVERY = {
  node: "two",
  kind: "catchup",
  phase: "resync",
  owner: "two 1",
  pins: [],
  token: "0ab6ad9e-53d6-4e48-8c2c-7f0a3f1a0009",
  at: "2026-11-22T03:00:00Z",
} as const;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "fula-test-standby-"));
  await chmod(dir, 0o755);
  pair = await makeStandbyPair(dir);
  await pair.ledger.pool.query("create table written_by_a_test (line text)");
  keeper = await pair.first.keep((loaded) => ({
    ...loaded,
    config: { ...loaded.config, standby: { ...loaded.config.standby, sync: mode } },
  }));
});

afterAll(async () => {
  await keeper[Symbol.asyncDispose]();
  await pair.ledger.close();
  for (const box of pair.boxes()) await stopServer(box);
  await rm(dir, { recursive: true, force: true });
});

async function stopServer(box: StandbyTestBox): Promise<void> {
  const server = await openOwnServer(await box.load(), box.context()).catch(() => null);
  await server?.site.stop("immediate");
}

async function add(box: StandbyTestBox, stopBefore: string | null = null): Promise<StandbyAddReport> {
  const end = new AbortController();
  return await addStandby(box.context(end.signal), async (tasks) => {
    for (const task of tasks) {
      if (task.title === stopBefore) end.abort(new Error("stopped by the test"));
      if ((await task.skip()) === null) await task.run(() => {});
    }
  });
}

async function remove(box: StandbyTestBox, node: string | null = null): Promise<StandbyRemoveReport> {
  return await removeStandby(box.context(), { node, force: false, dryRun: false, confirm: async () => {} });
}

async function status(box: StandbyTestBox): Promise<StandbyStatus> {
  await using opened = await openStandbyBox(box.context());
  return await readStandbyStatus(opened);
}

async function epoch(): Promise<LedgerEpochRecord | null> {
  return (await pair.first.store().get("epoch")).value;
}

/** Writes into the ledger as a master does. */
async function write(text: string): Promise<void> {
  await pair.ledger.pool.query("insert into written_by_a_test values ($1)", [text]);
}

async function syncNames(): Promise<string> {
  const { rows } = await pair.ledger.pool.query<{ names: string }>(
    "select current_setting('synchronous_standby_names') as names",
  );
  return rows[0]?.names ?? "";
}

test("a second master gets a standby that streams by TLS, and commits wait for it", async () => {
  await expect(add(pair.second, "Copy")).rejects.toMatchObject({ code: "FULA_INTERRUPTED" });
  expect(await addStandby(pair.second.context(), null)).toMatchObject({ outcome: "planned" });

  expect(await add(pair.second)).toMatchObject({ outcome: "added", node: "two", kind: "embedded" });

  expect(await epoch()).toMatchObject({ number: 1, phase: "open", primary: "one", syncSet: ["two"], syncNeeded: 1 });
  const { rows } = await pair.ledger.pool.query("select count(*)::int as n from ledger_epochs");
  expect(rows).toEqual([{ n: 1 }]);
  expect(await addStandby(pair.second.context(), null)).toMatchObject({ outcome: "already", changed: [] });
});

test("what a failover would lose is told, by the primary's box in bytes", async () => {
  const seen = await until("the standby has everything", async () => {
    const now = await status(pair.first);
    return now.standbys[0]?.lagBytes === 0 && now.standbys[0].replication === "streaming" ? now : null;
  });
  expect(seen).toMatchObject({
    own: { role: "primary", error: null },
    standbys: [
      { node: "two", state: "standby", replication: "streaming", isSync: true, slot: { walStatus: "reserved" } },
    ],
    wouldLoseBytes: 0,
    problems: [],
  });
  const own = await until("the standby receives", async () => {
    const now = await status(pair.second);
    return now.own?.isReceiving === true ? now : null;
  });
  expect(own).toMatchObject({
    own: { role: "standby", isReceiving: true },
    standbys: [{ node: "two", replication: null, isSync: true }],
    problems: [],
  });
});

test("whom commits wait for follows the setting while serve runs", async () => {
  const waitsFor = async (names: readonly string[]): Promise<boolean> => {
    return (await epoch())?.syncSet.join() === names.join() && ((await syncNames()) === "") === (names.length === 0);
  };
  mode = "off";
  await until("commits wait for nobody", async () => await waitsFor([]), WAIT_MS);
  mode = "preferred";
  await until("commits wait for the standby again", async () => await waitsFor(["two"]), WAIT_MS);
});

test("the role of a box opens what it needs, and no row of the ledger", async () => {
  const { address } = { address: `127.0.0.1:${pair.first.port}` };
  const client = new Client(connectionConfig(boxConnection(await pair.second.load(), { address }, "test")));
  await client.connect();
  try {
    await expect(client.query("select * from user_credits")).rejects.toMatchObject({ code: "42501" });
    await expect(client.query("create table mine (id int)")).rejects.toMatchObject({ code: "42501" });
    expect((await client.query("select count(*)::int as n from ledger_epochs")).rows).toEqual([{ n: 1 }]);
  } finally {
    await client.end();
  }
  // Neither the role without its certificate, nor another box's role with this one's.
  const tls = postgresTlsFiles(join(pair.second.baseDir, "keys"));
  const loaded = await pair.second.load();
  const { tlsCertificate: _, ...bare } = boxConnection(loaded, { address }, "test");
  await expect(new Client(connectionConfig({ ...bare, tlsCaFile: tls.ca })).connect()).rejects.toThrow(/certificate/);
  const other = { ...boxConnection(loaded, { address }, "test"), user: standbyRole("one") };
  await expect(new Client(connectionConfig(other)).connect()).rejects.toThrow(/password/);
});

test("both servers keep the end of their log, and let go of what nobody takes any more", async () => {
  const server = await openOwnServer(await pair.second.load(), pair.second.context());
  const primary = await openOwnServer(await pair.first.load(), pair.first.context());
  await using session = await server.connect();
  await using there = await primary.connect();
  const made = { name: "make", text: "select pg_create_physical_replication_slot($1, true)" };
  // As the second has them that was the primary once; and as a recovery leaves them behind that was killed.
  for (const slot of [standbySlot("one"), pinName(7n, "wal")]) await session.query({ ...made, values: [slot] });
  const store = pair.second.store();
  const record = { ...DEAD_RECOVERY, epoch: { number: 1, uuid: (await epoch())?.uuid ?? "" } };
  const { revision } = await store.get("session", "two");
  const dead = BigInt((await store.put("session", record, revision, "two")) ?? 0);
  await there.query({ ...made, values: [pinName(dead, "base")] });

  await using _ = await pair.second.keep();

  const names = async (from: Session): Promise<string> => (await readSlots(from)).map(({ name }) => name).join();
  await until("the standby has its floor alone", async () => (await names(session)) === FLOOR_SLOT, WAIT_MS);
  const both = [FLOOR_SLOT, standbySlot("two")].join();
  await until("the primary has one, too, and no pin", async () => (await names(there)) === both, WAIT_MS);
  expect((await store.get("session", "two")).value).toBeNull();
});

test("a standby that is gone is given up, first in the record, and comes back by itself", async () => {
  const server = await openOwnServer(await pair.second.load(), pair.second.context());
  await server.site.stop("immediate");

  // It hangs until the standby is given up, and is done then.
  await write("while the standby is away");

  expect(await epoch()).toMatchObject({ syncSet: [], syncNeeded: 0 });
  await until("PostgreSQL waits for nobody", async () => ((await syncNames()) === "" ? true : null), WAIT_MS);
  const now = await until("it is seen to be away", async () => {
    const seen = await status(pair.first);
    return seen.standbys[0]?.replication === "absent" ? seen : null;
  });
  expect(now.problems.map(({ message }) => message)).toEqual([
    "two does not stream (absent)",
    "commits wait for no standby: a failover may lose the last ones",
  ]);

  await server.site.start();
  await until("the standby is counted in", async () => ((await epoch())?.syncSet.length === 1 ? true : null), WAIT_MS);
  await until("PostgreSQL waits for it", async () => (await syncNames()) === 'ANY 1 ("two")', WAIT_MS);
});

test("a third master's standby grows in beside the second's, and one of them is enough for a commit", async () => {
  const third = await pair.add("three");
  expect(await add(third)).toMatchObject({ outcome: "added" });
  expect(await epoch()).toMatchObject({ syncSet: ["three", "two"], syncNeeded: 1 });
  await until("one of them is enough", async () => ((await syncNames()) === 'ANY 1 ("three", "two")' ? true : null));
  await write("with two standbys");
});

test("a standby that is removed leaves neither slot nor role, and its server stops", async () => {
  const third = pair.boxes()[2];
  if (third === undefined) throw new Error("there is no third box");
  expect(await remove(third)).toMatchObject({ outcome: "removed", node: "three", stopped: true });

  expect(await epoch()).toMatchObject({ syncSet: ["two"] });
  const { rows } = await pair.ledger.pool.query(
    "select (select count(*)::int from pg_replication_slots where slot_name = 'fula_three') as slots, (select count(*)::int from pg_roles where rolname = 'fula_three') as roles",
  );
  expect(rows).toEqual([{ slots: 0, roles: 0 }]);
  expect(await remove(third)).toMatchObject({ outcome: "already" });
  await expect(remove(pair.first, "one")).rejects.toMatchObject({ code: "FULA_STANDBY_NEEDED" });
});

test("what a box has from before it asked again is not followed: it is kept aside, and the ledger copied anew", async () => {
  const third = pair.boxes()[2];
  if (third === undefined) throw new Error("there is no third box");
  const report = await add(third);
  expect(report).toMatchObject({ outcome: "added", node: "three" });
  expect(report.changed).toContain("copy");
  const kept = (await readdir(join(third.baseDir, "state/postgres"))).filter((name) => name.startsWith("data.old."));
  expect(kept).toEqual([expect.stringMatching(/^data\.old\.\d+$/), expect.stringMatching(/^data\.old\.\d+\.keep$/)]);
});

test("a box that had the primary once gives its server up like any other, and finds the ledger where it is now", async () => {
  await keeper[Symbol.asyncDispose]();
  const store = pair.first.store();
  const { revision, value } = await store.get("epoch");
  if (value === null) throw new Error("the ledger has no epoch");
  const address = `127.0.0.1:${pair.second.port}`;
  await store.put("epoch", { ...value, number: 2, primary: "two", address }, revision);
  await store.remove("box", (await store.get("box", "one")).revision, "one");

  expect(await remove(pair.first)).toMatchObject({ outcome: "removed", node: "one", stopped: true });

  const loaded = await pair.first.load();
  expect(loaded.config.postgres).toMatchObject({ mode: "external", host: "127.0.0.1", port: pair.second.port });
  expect(loaded.config.postgres.tls).toBe("verify-full");
  expect(await remove(pair.first)).toMatchObject({ outcome: "already" });
});
