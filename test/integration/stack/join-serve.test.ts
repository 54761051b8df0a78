import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readDaemonFile } from "../../../src/lib/stack/daemon-file.ts";
import { treeOf } from "../../support/file-tree.ts";
import { findFreePort } from "../../support/free-port.ts";
import { makeTestBox, type TestBox } from "../../support/test-box.ts";

let box: TestBox;

// One running master for all of these.
beforeAll(async () => {
  box = await makeTestBox();
  expect(await box.run(box.joinArgs)).toMatchObject({ exitCode: 0 });
});

afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

async function statusOf() {
  const run = await box.run(["status", "--json", "--schedule-root", box.scheduleRoot]);
  return { exitCode: run.exitCode, report: JSON.parse(run.stdout) };
}

/** The tree without the time of `state/`: SQLite makes a file there for as long as it reads the pinset. */
async function contentsOf(dir: string): Promise<readonly string[]> {
  return (await treeOf(dir)).filter((line) => !line.startsWith("base/state/ "));
}

async function servePid(): Promise<number | null> {
  const presence = await readDaemonFile((await box.load()).paths.servePidFile);
  return presence.status === "running" ? presence.record.pid : null;
}

describe("a master that runs", () => {
  test("is healthy from its first minute on", async () => {
    const { exitCode, report } = await statusOf();
    expect(report).toMatchObject({
      healthy: true,
      joined: true,
      node: { role: "master", runtime: "embedded" },
      serve: { state: "ok", problem: null, endpoints: { gateway: `http://127.0.0.1:${box.ports.gateway}` } },
      ledger: { state: "ok", mode: "embedded", pending: [] },
      pins: { state: "ok", count: 0 },
      disk: { state: "ok" },
      snapshot: { state: "ok", sequence: 1, pinCount: 0 },
      sweep: { state: "ok", outcome: null },
      schedules: { state: "ok" },
      key: { state: "ok" },
      warnings: [{ id: "billing-off" }],
    });
    expect(exitCode).toBe(0);
  });

  test("is left exactly as it is by a second join: no file, no process, no snapshot", async () => {
    const pid = await servePid();
    // What PostgreSQL and serve write by themselves.
    const own = [
      "base/state/postgres/data",
      "base/logs",
      "base/state/blocks",
      "base/state/pins.sqlite-wal",
      "base/state/pins.sqlite-shm",
      // What those who read it tell one another.
      "base/state/control-plane.sqlite-shm",
    ];
    const before = await treeOf(box.root, own);
    const { exitCode, stdout } = await box.run([...box.joinArgs, "--json"]);
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      outcome: "already",
      changed: [],
      summary: { lastSnapshot: { sequence: 1 } },
    });
    expect(await treeOf(box.root, own)).toEqual(before);
    expect(await servePid()).toBe(pid);
  });

  test("is restarted when one of its settings changes, and not otherwise", async () => {
    const pid = await servePid();
    const port = await findFreePort();
    const args = [...box.joinArgs, "--json", "--gateway-port", String(port)];
    expect(JSON.parse((await box.run(args)).stdout)).toMatchObject({ changed: ["settings", "serve"] });
    expect(await servePid()).not.toBe(pid);
    expect((await statusOf()).report).toMatchObject({
      healthy: true,
      serve: { endpoints: { gateway: `http://127.0.0.1:${port}` } },
    });
    expect(JSON.parse((await box.run(args)).stdout)).toMatchObject({ changed: [] });
  });
});

describe("a master that is down", () => {
  test("is unhealthy with the reason and the next thing to type, and is changed by no look at it", async () => {
    expect(await box.run(["stop"])).toMatchObject({ exitCode: 0 });
    const before = await contentsOf(box.root);
    const { exitCode, report } = await statusOf();
    expect(exitCode).toBe(1);
    expect(report).toMatchObject({
      healthy: false,
      serve: { state: "bad", pid: null, problem: expect.stringContaining("Try: fula-master start") },
      ledger: { state: "bad", problem: expect.stringContaining("does not run") },
      pins: { state: "ok", count: 0 },
      snapshot: { state: "ok" },
    });
    expect(await contentsOf(box.root)).toEqual(before);
  });

  test("is brought up again by join", async () => {
    expect(await servePid()).toBeNull();
    const { stdout } = await box.run([...box.joinArgs, "--json"]);
    expect(JSON.parse(stdout).changed).toContain("serve");
    expect((await statusOf()).exitCode).toBe(0);
  });

  test("what cannot be read is unhealthy, never ok", async () => {
    await rm(join(box.baseDir, "snapshots"), { recursive: true });
    await rm(join(box.baseDir, "keys"), { recursive: true });
    await rm(join(box.baseDir, "state/pins.sqlite"));
    const { exitCode, report } = await statusOf();
    expect(exitCode).toBe(1);
    expect(report).toMatchObject({
      snapshot: { state: "bad" },
      key: { state: "bad" },
      pins: { state: "bad", count: null, problem: expect.stringContaining("FULA_PINSET_MISSING") },
    });
  });
});

test("status of a place where nothing is joined exits with 1 and says what to type", async () => {
  await using empty = await makeTestBox();
  const { exitCode, stdout } = await empty.run(["status"]);
  expect({ exitCode, stdout }).toEqual({
    exitCode: 1,
    stdout: `Not joined: ${empty.baseDir} holds no master.\n  Try: fula-master join\n`,
  });
  expect(await treeOf(empty.baseDir)).toEqual([]);
});
