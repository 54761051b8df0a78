import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { PROJECT_ROOT } from "../../../src/lib/kernel/project.ts";
import { openSqliteStore } from "../../../src/lib/membership/sqlite/sqlite-store.ts";
import type { MembershipStore } from "../../../src/lib/membership/store.ts";
import { endpointOf, newMember, newOperator, newPool, outcomesOf, sealedTo } from "../../support/membership.ts";
import { tempDir } from "../../support/temp-dir.ts";
import { until } from "../../support/until.ts";

/** For what has to wait until the time is up. */
const TIMEOUT_MS = 100;
/** For what only has to wait its turn: whoever is before it may wait for a busy disk. */
const PATIENT_MS = 60_000;
/** What a busy machine may take on top of the time limit. */
const MARGIN_MS = 20_000;

async function open(path: string, create = false, timeoutMs = PATIENT_MS): Promise<MembershipStore> {
  const store = await openSqliteStore(path, { clock: systemClock, timeoutMs, create });
  onTestFinished(async () => {
    await store.close();
  });
  return store;
}

async function newFile(timeoutMs = PATIENT_MS): Promise<{ readonly path: string; readonly store: MembershipStore }> {
  const path = join(tempDir(), "state", "control-plane.sqlite");
  const store = await open(path, true, timeoutMs);
  await store.addOperator(newOperator("system", "admin"));
  return { path, store };
}

function raw(path: string): DatabaseSync {
  const db = new DatabaseSync(path);
  onTestFinished(() => {
    if (db.isOpen) db.close();
  });
  return db;
}

/** Everything that can be asked of it is refused with this code, and nobody may act. */
async function expectShut(store: MembershipStore, code: string): Promise<void> {
  const outcomes = await outcomesOf([
    store.listPools(),
    store.hasAdmin(),
    store.listOperators(),
    store.createPool(newPool("p")),
    store.exportSnapshot(),
  ]);
  expect(outcomes).toEqual([code, code, code, code, code]);
  expect(await store.isAuthorized("system", "operator")).toMatchObject({ allowed: false, reason: "unreachable" });
}

describe("the file of a control plane", () => {
  test("is nobody else's to read, nor is its directory, and leaves nothing beside it", async () => {
    const { path, store } = await newFile();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(join(path, "..")).mode & 0o777).toBe(0o700);
    for (const each of readdirSync(join(path, ".."))) {
      expect(statSync(join(path, "..", each)).mode & 0o777).toBe(0o600);
    }
    const db = raw(path);
    expect(db.prepare("pragma journal_mode").get()).toEqual({ journal_mode: "wal" });
    db.close();
    await store.close();
    expect(readdirSync(join(path, ".."))).toEqual(["control-plane.sqlite"]);
  });

  test("that others may read is closed to them when it is opened", async () => {
    const { path, store } = await newFile();
    await store.close();
    chmodSync(path, 0o644);
    await open(path);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test("is made only where that is asked for, and never over one that is there", async () => {
    const path = join(tempDir(), "control-plane.sqlite");
    await expect(open(path)).rejects.toMatchObject({ code: "FULA_CONTROL_PLANE_UNREADABLE" });
    expect(existsSync(path)).toBe(false);
    const stores = await Promise.all(Array.from({ length: 8 }, async () => await open(path, true)));
    await stores[0]?.addOperator(newOperator("system", "admin"));
    for (const store of stores) expect(await store.listOperators()).toHaveLength(1);
    await open(path, true);
    expect(await stores[7]?.listOperators()).toHaveLength(1);
  });

  test("is not made where the log of a lost one lies", async () => {
    const { path, store } = await newFile();
    const log = readFileSync(`${path}-wal`);
    await store.close();
    rmSync(path);
    writeFileSync(`${path}-wal`, log);
    await expect(open(path, true)).rejects.toMatchObject({ code: "FULA_CONTROL_PLANE_UNREADABLE" });
    expect(existsSync(path)).toBe(false);
  });

  test.each([
    ["nothing", ""],
    ["text", "who belongs: everybody\n".repeat(400)],
  ])("with %s in it is refused and left as it is", async (_what, content) => {
    const path = join(tempDir(), "control-plane.sqlite");
    writeFileSync(path, content);
    for (const create of [false, true]) {
      await expect(open(path, create)).rejects.toMatchObject({ code: "FULA_CONTROL_PLANE_UNREADABLE" });
    }
    expect(readFileSync(path, "utf8")).toBe(content);
  });

  test("of another program is refused and left as it is", async () => {
    const path = join(tempDir(), "control-plane.sqlite");
    const db = raw(path);
    db.exec("create table operators (id text)");
    db.close();
    const before = readFileSync(path);
    await expect(open(path)).rejects.toMatchObject({ code: "FULA_CONTROL_PLANE_UNREADABLE" });
    expect(readFileSync(path)).toEqual(before);
  });

  test("of a newer version is refused and left as it is", async () => {
    const { path, store } = await newFile();
    await store.close();
    const db = raw(path);
    db.exec("pragma user_version = 99");
    db.close();
    const before = readFileSync(path);
    await expect(open(path)).rejects.toMatchObject({ code: "FULA_STATE_NEWER" });
    expect(readFileSync(path)).toEqual(before);
  });

  test("that was cut short lets nobody in", async () => {
    const { path, store } = await newFile();
    await store.close();
    truncateSync(path, 4_096);
    const outcome = await open(path).then(
      async (opened) => await expectShut(opened, "FULA_CONTROL_PLANE_UNREADABLE"),
      (error: unknown) => {
        expect(error).toMatchObject({ code: "FULA_CONTROL_PLANE_UNREADABLE" });
      },
    );
    expect(outcome).toBeUndefined();
  });

  test("with pages overwritten lets nobody in whom it does not hold whole", async () => {
    const { path, store } = await newFile();
    await store.close();
    const bytes = readFileSync(path);
    bytes.fill(0x5a, 4_096);
    writeFileSync(path, bytes);
    const damaged = await open(path);
    expect(await outcomesOf([damaged.listOperators(), damaged.hasAdmin(), damaged.listPools()])).toEqual([
      "FULA_CONTROL_PLANE_UNREADABLE",
      "FULA_CONTROL_PLANE_UNREADABLE",
      "FULA_CONTROL_PLANE_UNREADABLE",
    ]);
    expect(await damaged.isAuthorized("system", "operator")).toMatchObject({ reason: "unreachable" });
  });

  test.each([
    ["a role that there is not", "update operators set role = 'Admin'"],
    ["a status that there is not", "update operators set status = ''"],
    ["a time that is none", "update operators set created_at = 'today'"],
  ])("with %s in a row lets nobody in by it", async (_what, sql) => {
    const { path, store } = await newFile();
    raw(path).exec(`pragma ignore_check_constraints = on; ${sql}`);
    expect(await outcomesOf([store.listOperators()])).toEqual(["FULA_CONTROL_PLANE_UNREADABLE"]);
    expect((await store.isAuthorized("system", "operator")).allowed).toBe(false);
  });

  test("that was closed answers nothing, and closing it twice is no error", async () => {
    const { store } = await newFile();
    await store.close();
    await store.close();
    await expectShut(store, "FULA_CONTROL_PLANE_UNREACHABLE");
  });

  test("that was taken away while it was open answers nothing any more", async () => {
    const { path, store } = await newFile();
    rmSync(path);
    await expectShut(store, "FULA_CONTROL_PLANE_UNREADABLE");
  });

  test("in whose place another was put is not answered from memory", async () => {
    const { path, store } = await newFile();
    const other = await newFile();
    await other.store.addOperator(newOperator(`0x${"1".repeat(40)}`, "admin"));
    await other.store.changeOperator("system", { status: "revoked" });
    await other.store.close();
    copyFileSync(other.path, `${path}.new`);
    renameSync(`${path}.new`, path);
    await expectShut(store, "FULA_CONTROL_PLANE_UNREADABLE");
  });
});

describe("several processes on one control plane", () => {
  test("whoever is kept out too long hears so in time; who only reads goes on", async () => {
    const { path, store } = await newFile(TIMEOUT_MS);
    const db = raw(path);
    db.exec("begin immediate");
    const startedMs = systemClock.monotonicMs();
    expect(await outcomesOf([store.createPool(newPool("p"))])).toEqual(["FULA_CONTROL_PLANE_UNREACHABLE"]);
    const tookMs = systemClock.monotonicMs() - startedMs;
    expect(tookMs).toBeGreaterThanOrEqual(TIMEOUT_MS / 2);
    expect(tookMs).toBeLessThan(TIMEOUT_MS + MARGIN_MS);
    expect((await store.isAuthorized("system", "admin")).allowed).toBe(true);
    db.exec("rollback");
    await store.createPool(newPool("p"));
  });

  test("where not even reading is possible, nobody may act, and that is said in time", async () => {
    const { path, store } = await newFile();
    await store.close();
    const db = raw(path);
    db.exec("pragma locking_mode = exclusive; begin immediate; commit");
    const startedMs = systemClock.monotonicMs();
    await expect(open(path, false, TIMEOUT_MS)).rejects.toMatchObject({ code: "FULA_CONTROL_PLANE_UNREACHABLE" });
    expect(systemClock.monotonicMs() - startedMs).toBeLessThan(TIMEOUT_MS + MARGIN_MS);
  });

  test("a write waits for another to end, and this process goes on meanwhile", async () => {
    const { path, store } = await newFile();
    const db = raw(path);
    db.exec("begin immediate");
    const order: string[] = [];
    const writing = store.createPool(newPool("p")).then(() => order.push("written"));
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    order.push("others run");
    db.exec("rollback");
    await writing;
    expect(order).toEqual(["others run", "written"]);
  });

  test("a change that fails in its middle leaves nothing of it", async () => {
    const { path, store } = await newFile();
    await store.createPool(newPool("p"));
    await store.addMember(newMember("p", "fula-1"), []);
    raw(path).exec(`create trigger broken before insert on sealed_keys begin select raise(abort, 'no room'); end`);
    const before = await store.exportSnapshot();
    await expect(store.rekey({ pool: "p", expectedEpoch: 0, sealed: sealedTo(["fula-1"]) })).rejects.toThrow("no room");
    expect(await store.exportSnapshot()).toEqual(before);
    raw(path).exec("drop trigger broken");
    await store.rekey({ pool: "p", expectedEpoch: 0, sealed: sealedTo(["fula-1"]) });
    expect((await store.getSealedKey("p", endpointOf("fula-1"))).epoch).toBe(1);
  });

  test("lose nothing that was acknowledged, even where they are killed in the middle of it", async () => {
    const path = join(tempDir(), "control-plane.sqlite");
    await open(path, true);
    const acknowledged = new Set<number>();
    const children = [1, 2].map((each) => {
      const script = join(PROJECT_ROOT, "test/support/children/control-plane-writer.ts");
      const child = spawn(process.execPath, [script, path, String(each * 100_000), "50000"], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      onTestFinished(() => {
        child.kill("SIGKILL");
      });
      let rest = "";
      child.stdout.setEncoding("utf8").on("data", (text: string) => {
        const lines = (rest + text).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) acknowledged.add(Number(line));
      });
      return child;
    });
    await until("both have written", async () =>
      [1, 2].every((each) => [...acknowledged].filter((number) => Math.floor(number / 100_000) === each).length > 3),
    );
    await Promise.all(
      children.map(async (child) => {
        child.kill("SIGKILL");
        await once(child, "close");
      }),
    );
    const store = await open(path);
    const there = new Set((await store.listOperators()).map(({ id }) => Number.parseInt(id.slice(2), 16)));
    expect([...acknowledged].filter((number) => !there.has(number))).toEqual([]);
    // One of each may have been written and not yet said.
    expect(there.size - acknowledged.size).toBeLessThanOrEqual(2);
  });
});
