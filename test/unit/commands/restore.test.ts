import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { glob, readdir } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseCid } from "../../../src/lib/blocks/cid.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { acquireLock } from "../../../src/lib/kernel/lock.ts";
import { ensureSigningKey } from "../../../src/lib/pinset/signing.ts";
import type { RestoreReport } from "../../../src/lib/stack/restore-run.ts";
import { type CliRun, runCliForTest } from "../../support/cli.ts";
import { blockPin } from "../../support/pin-of-block.ts";
import { makePinsetBox, type PinsetBox } from "../../support/pinset-box.ts";
import { fullPin, manyPins, rawBytes, rawCid } from "../../support/pins.ts";

async function restore(box: PinsetBox, ...options: readonly string[]): Promise<CliRun> {
  return runCliForTest(["restore", ...options], { baseDir: box.baseDir });
}

async function report(box: PinsetBox, ...options: readonly string[]): Promise<RestoreReport> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the report is what is being tested
  return JSON.parse((await restore(box, "--json", ...options)).stdout) as RestoreReport;
}

async function unpin(box: PinsetBox, ...numbers: readonly number[]): Promise<void> {
  await box.withPins(async (cluster) => {
    for (const number of numbers) await cluster.remove(blockPin(number).cid);
  });
}

function inOrder(count: number): readonly unknown[] {
  return Array.from({ length: count }, (_, number) => blockPin(number)).toSorted((a, b) => (a.cid < b.cid ? -1 : 1));
}

describe("restore", () => {
  test("brings back what was unpinned, with every option, and exits 0", async () => {
    const box = await makePinsetBox(10);
    await box.snapshot();
    await unpin(box, 3, 4, 5);
    const { exitCode, stdout } = await restore(box);
    expect(exitCode).toBe(0);
    expect(stdout).toContain("3 missing, 0 with other options, 7 as they should be");
    expect(stdout).toContain("3 pins written. Read again: 10 as they should be, 0 not.");
    expect(await box.pins()).toEqual(inOrder(10));
  });

  test("of a thousand pins with every option set brings each back field by field", async () => {
    const box = await makePinsetBox(0);
    const pins = manyPins(1_000, (number) =>
      fullPin(number, { replication_factor_min: -1, replication_factor_max: number % 2 === 0 ? -1 : 7 }),
    );
    await box.withPins(async (cluster, blocks) => {
      const seeds = Array.from({ length: 1_000 }, (_, number) => `full ${number}`);
      await Promise.all(seeds.map(async (seed) => blocks.put(rawCid(seed), rawBytes(seed))));
      await Promise.all(pins.map(async (pin) => cluster.put(pin)));
    });
    await box.snapshot();
    await box.withPins(async (cluster) => {
      await Promise.all(pins.map(async ({ cid }) => cluster.remove(cid)));
    });
    expect(await box.pins()).toEqual([]);
    expect(await report(box)).toMatchObject({ ok: true, result: { written: 1_000, verified: 1_000, problems: 0 } });
    expect(await box.pins()).toEqual(pins);
  });

  test("of a lost pinset file makes it anew", async () => {
    const box = await makePinsetBox(10);
    await box.snapshot();
    rmSync(box.pinsFile);
    expect(await report(box, "--dry-run")).toMatchObject({ plan: { counts: { missing: 10 } } });
    expect(existsSync(box.pinsFile)).toBe(false);
    expect((await restore(box)).exitCode).toBe(0);
    expect(await box.pins()).toEqual(inOrder(10));
  });

  test("with --dry-run tells the plan and writes nothing at all", async () => {
    const box = await makePinsetBox(4);
    await box.snapshot();
    await unpin(box, 1);
    const before = await tree(box.baseDir);
    const { exitCode, stdout } = await restore(box, "--dry-run");
    expect(exitCode).toBe(0);
    expect(stdout).toContain(`would pin     ${blockPin(1).cid}  object-1`);
    expect(stdout).toContain("Nothing was written.");
    expect(await tree(box.baseDir)).toEqual(before);
    expect(await box.pins()).toHaveLength(3);
  });

  test("lists a pin with other options and changes it with --overwrite alone, after asking", async () => {
    const box = await makePinsetBox(3);
    await box.snapshot();
    await box.withPins(async (cluster) => cluster.put({ ...blockPin(0), name: "renamed" }));
    await unpin(box, 1);
    const asked = await restore(box, "--overwrite");
    expect(asked.exitCode).toBe(3);
    expect(asked.stderr).toContain(`${blockPin(0).cid}  renamed  differs in name`);
    expect(await box.pins()).toHaveLength(2);

    const left = await restore(box);
    expect(left.exitCode).toBe(0);
    expect(left.stdout).toContain(`${blockPin(0).cid}  renamed  differs in name`);
    expect(left.stdout).toContain("1 pin has other options; --overwrite sets them as in the snapshot.");
    expect((await box.pins()).find((pin) => pin.cid === blockPin(0).cid)?.name).toBe("renamed");
    expect((await restore(box, "--overwrite", "--yes")).exitCode).toBe(0);
    expect(await box.pins()).toEqual(inOrder(3));
  });

  test("never removes or changes a pin that is not in the snapshot", async () => {
    const box = await makePinsetBox(3);
    await unpin(box, 2);
    await box.snapshot();
    await box.withPins(async (cluster) => cluster.put(blockPin(2)));
    expect(await report(box)).toMatchObject({
      ok: true,
      plan: { counts: { extra: 1, equal: 2 } },
      result: { written: 0 },
    });
    expect(await box.pins()).toEqual(inOrder(3));
  });

  test("exits 1 with a list where content is gone, although the record is back", async () => {
    const box = await makePinsetBox(5);
    await box.snapshot();
    await unpin(box, 0, 1);
    await box.withPins(async (_cluster, blocks) => blocks.delete(parseCid(blockPin(1).cid)));
    const { exitCode, stdout } = await restore(box, "--json");
    expect(exitCode).toBe(1);
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the report is what is being tested
    const { ok, result } = JSON.parse(stdout) as RestoreReport;
    expect(ok).toBe(false);
    expect(result).toMatchObject({
      written: 2,
      verified: 4,
      problems: 1,
      shown: [{ cid: blockPin(1).cid, problem: "not-held" }],
    });
    expect(
      readFileSync(result?.file ?? "", "utf8")
        .trim()
        .split("\n"),
    ).toHaveLength(1);
    await box.withPins(async (_cluster, blocks) => blocks.put(parseCid(blockPin(1).cid), rawBytes("box 1")));
    expect((await restore(box)).exitCode).toBe(0);
  });

  test("--only takes CIDs and files with CIDs, and lists what is not in the snapshot", async () => {
    const box = await makePinsetBox(6);
    await box.snapshot();
    await unpin(box, 0, 1, 2, 3);
    const list = join(box.baseDir, "lost.txt");
    writeFileSync(list, `# lost on Tuesday\n\n${blockPin(1).cid}\n  ${blockPin(2).cid}\r\n`);
    expect(await report(box, "--only", blockPin(0).cid, list)).toMatchObject({
      ok: true,
      result: { written: 3, verified: 3 },
    });
    expect(await box.pins()).toHaveLength(5);
    const strange = await restore(box, "--only", blockPin(99).cid);
    expect(strange.exitCode).toBe(1);
    expect(strange.stdout).toContain(`${blockPin(99).cid}    not-in-snapshot`);
  });

  test("--limit restores that many, and the next run goes on", async () => {
    const box = await makePinsetBox(5);
    await box.snapshot();
    await unpin(box, 0, 1, 2, 3, 4);
    for (const left of [2, 4, 5]) {
      expect((await restore(box, "--limit", "2")).exitCode).toBe(0);
      expect(await box.pins()).toHaveLength(left);
    }
  });

  test.each([
    [["--limit", "0"], 2],
    [["--limit", "few"], 2],
    [["--concurrency", "1000"], 2],
    [["--wait", "long"], 2],
    [["--only", "no-such-file"], 2],
  ])("refuses %s", async (options, expected) => {
    const { exitCode, stderr } = await restore(await makePinsetBox(1), ...options);
    expect(exitCode).toBe(expected);
    expect(stderr).toContain(options[0]);
  });

  test("at the same time as another one is refused", async () => {
    const box = await makePinsetBox(1);
    await box.snapshot();
    const lock = await acquireLock(join(box.baseDir, "state", "locks", "restore.lock"), "restore", systemClock);
    const { exitCode, stderr } = await restore(box);
    lock.release();
    expect(exitCode).toBe(3);
    expect(stderr).toContain("FULA_LOCKED");
  });
});

describe("the snapshot that is restored from", () => {
  test("must be there", async () => {
    const { exitCode, stderr } = await restore(await makePinsetBox(1));
    expect(exitCode).toBe(1);
    expect(stderr).toContain("FULA_SNAPSHOT_ABSENT");
    const named = await restore(await makePinsetBox(1), "pinset-20260101T000000Z");
    expect(named.exitCode).toBe(1);
    expect(named.stderr).toContain("Try: fula-master snapshot list");
  });

  test("is refused where one byte of it was changed, and nothing is pinned", async () => {
    const box = await makePinsetBox(3);
    const { file } = await box.snapshot();
    await unpin(box, 0);
    const bytes = readFileSync(file);
    bytes.writeUInt8(bytes.readUInt8(20) ^ 1, 20);
    writeFileSync(file, bytes);
    for (const args of [[], [file]]) {
      const { exitCode } = await restore(box, ...args);
      expect(exitCode).toBe(1);
    }
    expect(await box.pins()).toHaveLength(2);
  });

  test("that is bad does not turn a lost pinset file into an empty one", async () => {
    const box = await makePinsetBox(3);
    const { file } = await box.snapshot();
    rmSync(box.pinsFile);
    truncateSync(file, 10);
    expect((await restore(box)).exitCode).toBe(1);
    expect(existsSync(box.pinsFile)).toBe(false);
  });

  test("is the newest that verifies; a bad newer one is named in a warning", async () => {
    const box = await makePinsetBox(3);
    await box.snapshot();
    await box.withPins(async (cluster) => cluster.put({ ...blockPin(0), name: "later" }));
    const { file } = await nextSecond(async () => box.snapshot());
    truncateSync(file, 10);
    const { exitCode, stdout, stderr } = await restore(box, "--overwrite", "--yes", "--json");
    expect(exitCode).toBe(0);
    expect(stderr).toContain("was passed over");
    expect(stderr).toContain("This box took a newer snapshot (sequence 2");
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the report is what is being tested
    expect((JSON.parse(stdout) as RestoreReport).snapshot.sequence).toBe(1);
    expect(await box.pins()).toEqual(inOrder(3));
  });

  test("can be named by path or by its name alone", async () => {
    const box = await makePinsetBox(2);
    const { file, manifestFile } = await box.snapshot();
    const name = file.replace(/^.*\//, "").replace(".jsonl.zst", "");
    for (const given of [file, manifestFile, name]) {
      expect((await report(box, given, "--dry-run")).snapshot.file).toBe(file);
    }
  });

  test("may be one of the existing fleet, when it is named: unsorted, without an end mark, signed over its bytes", async () => {
    const box = await makePinsetBox(4);
    const key = await ensureSigningKey(join(box.baseDir, "keys"));
    mkdirSync(box.snapshotsDir, { recursive: true });
    const file = join(box.snapshotsDir, "pinset-20260102T030405Z.json");
    const pins = [3, 0, 2, 1].map((number) => blockPin(number));
    const text = pins.map((pin) => `${JSON.stringify(pin, null, 4)}\n`).join("");
    writeFileSync(file, text);
    writeFileSync(`${file}.sig`, key.sign(Buffer.from(text)));
    await unpin(box, 0, 2);
    const unnamed = await restore(box);
    expect(unnamed.exitCode).toBe(1);
    expect(unnamed.stderr).toContain("1 in the old format");
    const { exitCode, stderr } = await restore(box, file);
    expect(exitCode).toBe(0);
    expect(stderr).toContain("is in the old format");
    expect(await box.pins()).toEqual(inOrder(4));

    writeFileSync(file, `${text}{}`);
    await unpin(box, 0);
    expect((await restore(box, file)).exitCode).toBe(1);
    expect(await box.pins()).toHaveLength(3);
  });

  test("of another cluster is refused unless that is said to be meant", async () => {
    const box = await makePinsetBox(2);
    await box.snapshot();
    const other = await makePinsetBox(0, { clusterId: "11111111-2222-4333-8444-555555555555" });
    mkdirSync(other.snapshotsDir, { recursive: true });
    mkdirSync(join(other.baseDir, "keys"), { recursive: true });
    for (const dir of ["snapshots", "keys"]) {
      for (const name of await readdir(join(box.baseDir, dir))) {
        copyFileSync(join(box.baseDir, dir, name), join(other.baseDir, dir, name));
      }
    }
    const manifest = (await readdir(other.snapshotsDir)).find((name) => name.endsWith(".json"));
    const refused = await restore(other, join(other.snapshotsDir, manifest ?? ""));
    expect(refused.exitCode).toBe(3);
    expect(refused.stderr).toContain("FULA_RESTORE_WRONG_CLUSTER");
    expect((await restore(other)).exitCode).toBe(1);
    expect(await other.pins()).toEqual([]);
    expect((await restore(other, manifest ?? "", "--any-cluster")).exitCode).toBe(1);
    expect(await other.pins()).toHaveLength(2);
  });
});

/** Snapshots are named by the second; waits for the next one to begin. */
async function nextSecond<T>(run: () => Promise<T>): Promise<T> {
  await systemClock.sleep(1_000 - (systemClock.nowMs() % 1_000) + 5);
  return run();
}

async function tree(dir: string): Promise<readonly string[]> {
  const names: string[] = [];
  for await (const name of glob("**/*", { cwd: dir })) names.push(name);
  return names.filter((name) => !/pins\.sqlite-(wal|shm)$/.test(name)).toSorted();
}
