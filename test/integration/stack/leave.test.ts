import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createCid, RAW_CODEC } from "../../../src/lib/blocks/cid.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { openBlocks, withPinCluster } from "../../../src/lib/stack/pinset.ts";
import { makePin } from "../../../src/lib/cluster/pins.ts";
import { treeOf } from "../../support/file-tree.ts";
import { journalNames, journalText, launch } from "../../support/launched.ts";
import { makeTestBox, type TestBox } from "../../support/test-box.ts";
import { until } from "../../support/until.ts";

let box: TestBox;

async function newBox(): Promise<void> {
  box = await makeTestBox();
}

async function endBox(): Promise<void> {
  await box[Symbol.asyncDispose]();
}

async function joined(...more: readonly string[]): Promise<void> {
  const run = await box.run([...box.joinArgs, ...more]);
  expect(run.exitCode, run.stderr).toBe(0);
}

async function leave(...args: readonly string[]) {
  const run = await box.run(["leave", "--json", "--schedule-root", box.scheduleRoot, ...args]);
  return { ...run, report: run.stdout === "" ? null : JSON.parse(run.stdout) };
}

async function pinSomething(): Promise<string> {
  const loaded = await box.load();
  const bytes = Buffer.from("kept by this box alone");
  const cid = createCid(RAW_CODEC, bytes);
  await (await openBlocks(loaded)).put(cid, bytes);
  await withPinCluster(loaded, { clock: systemClock }, async (pins) => {
    await pins.put(makePin(cid.toString(), "2026-11-20T03:00:00Z", { name: "letters" }));
  });
  return cid.toString();
}

/** Everything below the box's root; SQLite touches its directory when it only reads. */
async function everything(): Promise<readonly string[]> {
  return (await treeOf(box.root, ["base/state/pins.sqlite-shm"])).filter((line) => !line.startsWith("base/state/ "));
}

function schedules(): Promise<readonly string[]> {
  return readdir(join(box.scheduleRoot, "etc/cron.d"));
}

function snapshots(): Promise<readonly string[]> {
  return readdir(join(box.baseDir, "snapshots"));
}

describe("a master that serves", () => {
  beforeEach(newBox);
  afterEach(endBox);

  test("ends in order, with a last snapshot and no timers, keeps its data, and join brings it back with all of it", async () => {
    await joined();
    const cid = await pinSomething();
    const before = await snapshots();
    const { exitCode, report, stderr } = await leave("--yes", "--force");
    expect(exitCode, stderr).toBe(0);
    expect(report).toMatchObject({ outcome: "left", changed: ["schedules", "serve", "snapshot"] });
    expect(await schedules()).toEqual([]);
    expect((await snapshots()).length).toBeGreaterThan(before.length);
    const status = JSON.parse((await box.run(["status", "--json"])).stdout);
    expect(status).toMatchObject({ healthy: false, node: { leftAt: expect.any(String) }, serve: { pid: null } });
    expect((await box.run(["verify"])).exitCode).toBe(0);

    const again = await leave("--yes", "--force");
    expect(again).toMatchObject({ exitCode: 0, report: { outcome: "already", changed: [] } });

    await joined();
    const back = JSON.parse((await box.run(["status", "--json", "--schedule-root", box.scheduleRoot])).stdout);
    expect(back).toMatchObject({ healthy: true, node: { leftAt: null } });
    expect((await box.run(["pin", "ls", "--json"])).stdout).toContain(cid);
    expect(await schedules()).toHaveLength(4);
  });

  test("killed in the middle is finished by the next run, which says so", async () => {
    await joined();
    const run = launch(["leave", "--yes", "--base-dir", box.baseDir, "--schedule-root", box.scheduleRoot]);
    await until("the journal says that serve is being stopped", async () => {
      const name = journalNames(box.baseDir).find((each) => each.startsWith("leave-"));
      return name !== undefined && journalText(box.baseDir, name).includes('"step.started","step":"serve"');
    });
    run.kill();
    expect(await run.ended).toMatchObject({ signal: "SIGKILL" });
    const status = JSON.parse((await box.run(["status", "--json"])).stdout);
    expect(status.warnings.map(({ id }: { id: string }) => id)).toContain("leave-unfinished");
    const { exitCode, report, stderr } = await leave("--yes");
    expect(exitCode, stderr).toBe(0);
    expect(stderr).toMatch(/Resuming the leave of/);
    expect(report.outcome).toBe("left");
    expect(await schedules()).toEqual([]);
    expect(report.plan.steps.find(({ id }: { id: string }) => id === "schedules").state).toBe("already");
  });
});

// One box for all of these: each leaves it as it was, but for what it needs itself.
describe("a master that cannot be spared", () => {
  beforeAll(async () => {
    await newBox();
    await joined("--no-start");
  });
  afterAll(endBox);

  test("a dry run shows every step and changes nothing", async () => {
    const before = await everything();
    const { exitCode, report } = await leave("--dry-run", "--purge");
    expect(exitCode).toBe(0);
    expect(report.outcome).toBe("planned");
    expect(report.plan.steps.map(({ id }: { id: string }) => id)).toEqual(["schedules", "serve", "snapshot", "purge"]);
    expect(report.plan.lastCopies).toMatchObject({ pins: 0, count: 0, alone: true });
    expect(await everything()).toEqual(before);
  });

  test("nobody to ask and no --yes is refused, with nothing changed", async () => {
    const before = await everything();
    const { exitCode, stderr } = await leave();
    expect(exitCode).toBe(3);
    expect(stderr).toContain("FULA_CONFIRMATION_REQUIRED");
    expect(await everything()).toEqual(before);
  });

  test("that holds the last copy of pins is refused, naming them, with nothing changed", async () => {
    const cid = await pinSomething();
    const before = await everything();
    const { exitCode, stderr } = await box.run(["leave", "--yes", "--schedule-root", box.scheduleRoot]);
    expect(exitCode).toBe(3);
    expect(stderr).toMatch(new RegExp(`FULA_LEAVE_LAST_COPY: This box holds the last copy of 1 of 1 pin \\(${cid}\\)`));
    expect(stderr).toMatch(/--force/);
    expect(await everything()).toEqual(before);
  });

  test("a pinset that cannot be read is no all-clear: exit 4, with nothing changed", async () => {
    await writeFile(join(box.baseDir, "state/pins.sqlite"), "damaged");
    const { exitCode, stderr } = await leave("--yes");
    expect(exitCode).toBe(4);
    expect(stderr).toContain("FULA_PINSET");
    expect(await schedules()).toHaveLength(3);
  });
});

describe("a master at rest", () => {
  beforeEach(async () => {
    await newBox();
    await joined("--no-start");
  });
  afterEach(endBox);

  test("a snapshot that its guard would refuse is told before anything is stopped", async () => {
    await pinSomething();
    expect((await box.run(["snapshot"])).exitCode).toBe(0);
    await withPinCluster(await box.load(), { clock: systemClock }, async (pins) => {
      for await (const { cid } of pins.pins()) await pins.remove(cid);
    });
    const { exitCode, stderr } = await leave("--yes");
    expect(exitCode).toBe(3);
    expect(stderr).toContain("FULA_SNAPSHOT_SHRUNK");
    expect(await schedules()).toHaveLength(3);
    const without = await leave("--yes", "--no-snapshot");
    expect(without.exitCode, without.stderr).toBe(0);
    expect(without.report.plan.steps.find(({ id }: { id: string }) => id === "snapshot")).toMatchObject({
      state: "left",
      why: "left out by --no-snapshot",
    });
  });

  test("a timer that somebody edited is left to the operator, and said", async () => {
    const file = join(box.scheduleRoot, "etc/cron.d/fula-pinset-snapshot");
    await writeFile(file, `${await readFile(file, "utf8")}# mine\n`);
    const { exitCode, report } = await leave("--yes");
    expect(exitCode).toBe(0);
    expect(await schedules()).toEqual(["fula-pinset-snapshot"]);
    expect(report.changed).toContain("schedules");
  });

  test("a purge removes state, keys, secrets and settings, and keeps the snapshots with the key that they verify by", async () => {
    const { exitCode, report, stderr } = await leave("--yes", "--purge");
    expect(exitCode, stderr).toBe(0);
    expect(report).toMatchObject({ outcome: "purged", journal: null });
    expect(await readdir(box.baseDir)).toEqual(["snapshots"]);
    const left = await snapshots();
    expect(left).toContain("snapshot-ed25519.pub.pem");
    expect(left.filter((name) => name.endsWith(".jsonl.zst"))).toHaveLength(2);
    const again = await leave("--yes", "--purge");
    expect(again.exitCode).toBe(1);
    expect(again.stderr).toContain("FULA_NOT_JOINED");
    await joined("--no-start");
  });

  test("a purge asks for the name, and anything else changes nothing", async () => {
    const { name } = (await box.load()).config.node;
    const args = ["leave", "--purge", "--schedule-root", box.scheduleRoot];
    const wrong = await box.run(args, { stdin: "y\n", terminalColumns: 200 });
    expect(wrong.exitCode).toBe(3);
    expect(wrong.stderr).toContain(`Type ${name} to go on`);
    expect(existsSync(join(box.baseDir, ".env"))).toBe(true);
    expect(await schedules()).toHaveLength(3);
    const right = await box.run(args, { stdin: `${name}\n`, terminalColumns: 200 });
    expect(right.exitCode, right.stderr).toBe(0);
    expect(existsSync(join(box.baseDir, ".env"))).toBe(false);
  });

  test("a purge that stopped half-way is finished by the next one, although there is no installation any more", async () => {
    await leave("--yes");
    // As a kill leaves it between two removals.
    const journalDir = join(box.baseDir, "journal");
    await mkdir(journalDir, { recursive: true });
    const at = new Date(Date.now() + 1_000).toISOString();
    const lines = [
      { at, event: "leave.started", purge: true, name: "box", steps: ["snapshot", "purge"] },
      { at, event: "step.done", step: "snapshot" },
      { at, event: "step.started", step: "purge" },
    ];
    const name = `leave-${at.replaceAll(/[-:.]/g, "")}-1.jsonl`;
    await writeFile(join(journalDir, name), lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
    for (const gone of ["logs", "keys", ".env", "state"]) await rm(join(box.baseDir, gone), { recursive: true });
    const kept = await leave("--yes");
    expect(kept.exitCode).toBe(2);
    expect(kept.stderr).toContain("leave --purge finishes it");
    const { exitCode, stderr } = await leave("--yes", "--purge");
    expect(exitCode, stderr).toBe(0);
    expect(await readdir(box.baseDir)).toEqual(["snapshots"]);
  });

  test("to leave with --force is not to be allowed to purge: that is asked again", async () => {
    await pinSomething();
    expect((await leave("--yes", "--force")).exitCode).toBe(0);
    const { exitCode, stderr } = await leave("--yes", "--purge");
    expect(exitCode).toBe(3);
    expect(stderr).toMatch(/FULA_LEAVE_LAST_COPY.*--purge would destroy them/);
    expect(existsSync(join(box.baseDir, "state/pins.sqlite"))).toBe(true);
  });
});

test("there is nothing to leave where nothing was joined", async () => {
  await newBox();
  const { exitCode, stderr } = await leave("--yes");
  expect(exitCode).toBe(1);
  expect(stderr).toContain("FULA_NOT_JOINED");
  await endBox();
});
