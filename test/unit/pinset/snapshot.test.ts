import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { zstdDecompressSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { makePin, type Pin } from "../../../src/lib/cluster/pins.ts";
import { acquireLock } from "../../../src/lib/kernel/lock.ts";
import { canonicalPin } from "../../../src/lib/pinset/canonical.ts";
import { lastGoodSnapshot, listSnapshots } from "../../../src/lib/pinset/catalog.ts";
import { filesOf } from "../../../src/lib/pinset/format.ts";
import { readMemory, writeMemory } from "../../../src/lib/pinset/memory.ts";
import { pruneSnapshots, snapshotLockFile } from "../../../src/lib/pinset/prune.ts";
import { ensureSigningKey } from "../../../src/lib/pinset/signing.ts";
import { planSnapshot, takeSnapshot } from "../../../src/lib/pinset/snapshot.ts";
import { createMemoryCluster } from "../../support/memory-cluster.ts";
import { fullPins, openBox, type SnapshotBox } from "../../support/snapshots.ts";

const linesIn = (file: string): string[] => zstdDecompressSync(readFileSync(file)).toString("utf8").split("\n");

const everyFile = (dir: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(dir, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => {
        const path = join(entry.parentPath, entry.name);
        return [path, createHash("sha256").update(readFileSync(path)).digest("hex")];
      }),
  );

describe("a snapshot", () => {
  test.each([true, false])(
    "holds every pin with every option, in order of the CIDs (sorted source: %s)",
    async (sorted) => {
      const pins = fullPins(500).toReversed();
      const box = openBox(pins, sorted);
      const report = await box.take();
      const expected = pins.toSorted((a, b) => (a.cid < b.cid ? -1 : 1)).map(canonicalPin);
      expect(linesIn(report.file)).toEqual([...expected, ""]);
      expect(report).toMatchObject({ pinCount: 500, sequence: 1, time: "2026-11-20T04:00:00Z", warnings: [] });
      expect(await box.verify(report.file)).toMatchObject({ ok: true, problems: [], remarks: [], pinCount: 500 });
    },
  );

  test("is four files that only their owner reads, named after the signed time", async () => {
    const box = openBox();
    await box.take();
    const names = readdirSync(box.paths.snapshotsDir).toSorted();
    expect(names).toEqual([
      "pinset-20261120T040000Z.json",
      "pinset-20261120T040000Z.json.minisig",
      "pinset-20261120T040000Z.json.sig",
      "pinset-20261120T040000Z.jsonl.zst",
    ]);
    for (const name of names) expect(statSync(join(box.paths.snapshotsDir, name)).mode & 0o777).toBe(0o600);
    expect(statSync(box.paths.snapshotsDir).mode & 0o777).toBe(0o700);
  });

  test("of the same pins has the same records, whatever order the source lists them in", async () => {
    const pins = fullPins(200);
    const first = await openBox(pins, false).take();
    const second = await openBox(pins.toReversed(), false).take();
    expect(second.sha256).toBe(first.sha256);
  });

  test("tells what it holds in its manifest and its report alike", async () => {
    const box = openBox();
    const report = await box.take();
    const manifest: unknown = JSON.parse(readFileSync(report.manifestFile, "utf8"));
    const records = zstdDecompressSync(readFileSync(report.file));
    expect(manifest).toMatchObject({
      format: "fula-master/pinset-snapshot",
      formatVersion: 1,
      clusterId: "cluster-under-test",
      nodeKeyId: report.keyId,
      pinCount: 3,
      streamBytes: records.length,
      sha256: createHash("sha256").update(records).digest("hex"),
      fileBytes: statSync(report.file).size,
      fileSha256: createHash("sha256").update(readFileSync(report.file)).digest("hex"),
    });
    expect(report).toMatchObject({ bytes: statSync(report.file).size, streamBytes: records.length });
  });

  test("names its predecessor by digest and has a higher number", async () => {
    const box = openBox();
    const first = await box.take();
    const second = await box.take();
    expect(second.sequence).toBe(2);
    expect(second.previousManifestSha256).toBe(
      createHash("sha256").update(readFileSync(first.manifestFile)).digest("hex"),
    );
    expect(first.previousManifestSha256).toBeNull();
  });

  test("reports progress and stops when it is told to, leaving nothing", async () => {
    const box = openBox(fullPins(10_000));
    const controller = new AbortController();
    const seen: number[] = [];
    const { cluster, paths, clock } = box;
    const onProgress = (done: number): void => {
      seen.push(done);
      controller.abort();
    };
    const deps = { cluster, paths, clock, trustedKeys: [], signal: controller.signal, onProgress };
    const taking = takeSnapshot(deps, { maxShrinkPercent: 10, keep: null });
    await expect(taking).rejects.toThrow();
    expect(seen).toEqual([4_096]);
    expect(readdirSync(box.paths.snapshotsDir)).toEqual([]);
  });
});

describe("a source that cannot be believed", () => {
  const pin = (cid: string): Pin => makePin(cid, "2026-01-01T00:00:00Z");
  const claiming = (sorted: boolean, pins: readonly Pin[]) => ({
    ...createMemoryCluster(),
    sorted,
    count: async () => null,
    pins: async function* () {
      yield* pins;
    },
  });

  test.each([
    ["lists a CID twice", true, [pin("bafya"), pin("bafya")], "FULA_SNAPSHOT_SOURCE"],
    ["lists a CID twice, unsorted", false, [pin("bafyb"), pin("bafya"), pin("bafyb")], "FULA_SNAPSHOT_SOURCE"],
    ["is not in the order that it promises", true, [pin("bafyb"), pin("bafya")], "FULA_SNAPSHOT_SOURCE"],
    ["gives something that is no pin", true, [{ ...pin("bafya"), mode: "odd" }], "FULA_SNAPSHOT_SOURCE"],
    ["gives a pin without metadata", true, [{ ...pin("bafya"), metadata: undefined }], "FULA_SNAPSHOT_SOURCE"],
    ["gives a CID that is none", true, [pin("bafy a")], "FULA_SNAPSHOT_SOURCE"],
    ["gives text that has no UTF-8", true, [{ ...pin("bafya"), name: "\ud800" }], "FULA_SNAPSHOT_SOURCE"],
    ["gives a pin of 2 MiB", true, [{ ...pin("bafya"), name: "n".repeat(2 << 20) }], "FULA_SNAPSHOT_SOURCE"],
  ])("that %s gives no snapshot", async (_what, sorted, pins, code) => {
    const box = openBox();
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a source that breaks its contract is the point
    const taking = box.take({}, claiming(sorted, pins as Pin[]));
    await expect(taking).rejects.toMatchObject({ code, kind: "unavailable" });
    expect(readdirSync(box.paths.snapshotsDir)).toEqual([]);
  });

  test.each([true, false])("that breaks off in the middle gives no snapshot (sorted: %s)", async (sorted) => {
    const box = openBox(fullPins(50), sorted);
    const good = await box.take();
    const before = everyFile(box.baseDir);
    box.cluster.faults.throwAfter = { entries: 20, error: new Error("connection reset") };
    await expect(box.take()).rejects.toMatchObject({ code: "FULA_CLUSTER_UNREADABLE", kind: "unavailable" });
    expect(everyFile(box.baseDir)).toEqual(before);
    expect((await box.verify(good.file)).ok).toBe(true);
  });

  test("that ends early, as if complete, gives no snapshot where it counts more pins itself", async () => {
    const box = openBox(fullPins(50));
    await box.take();
    box.cluster.faults.pinsEndAfter = 48;
    await expect(box.take()).rejects.toMatchObject({ code: "FULA_CLUSTER_UNREADABLE" });
    // The guard against shrinking alone would have let that through: the twin without a count.
    box.cluster.faults.count = null;
    expect((await box.take()).pinCount).toBe(48);
  });

  test("whose count and listing differ by less than a hundredth gives one, with a warning", async () => {
    const box = openBox(fullPins(500));
    box.cluster.faults.count = 503;
    expect((await box.take()).warnings).toEqual([expect.stringContaining("503 pins while 500 were listed")]);
  });
});

describe("the guard against a pinset that lost its pins", () => {
  const shrinkTo = (box: SnapshotBox, count: number): void => {
    for (const cid of [...box.cluster.records.keys()].slice(count)) box.cluster.records.delete(cid);
  };

  test.each([
    { percent: 10, from: 100, to: 90, taken: true },
    { percent: 10, from: 100, to: 89, taken: false },
    { percent: 0, from: 100, to: 99, taken: false },
    { percent: 100, from: 100, to: 1, taken: true },
    { percent: 100, from: 100, to: 0, taken: false },
    { percent: 10, from: 1, to: 0, taken: false },
  ])("$from to $to pins with $percent % allowed: taken is $taken", async ({ percent, from, to, taken }) => {
    const box = openBox(fullPins(from));
    await box.take();
    shrinkTo(box, to);
    const before = everyFile(box.baseDir);
    const taking = box.take({ maxShrinkPercent: percent });
    if (taken) {
      expect((await taking).pinCount).toBe(to);
      return;
    }
    await expect(taking).rejects.toMatchObject({ code: "FULA_SNAPSHOT_SHRUNK", kind: "refused" });
    expect(everyFile(box.baseDir)).toEqual(before);
    expect((await box.take({ maxShrinkPercent: percent, acceptShrink: true })).pinCount).toBe(to);
  });

  test("lets no first snapshot be empty, but for a master that was just made", async () => {
    const box = openBox([]);
    await expect(box.take()).rejects.toMatchObject({ code: "FULA_SNAPSHOT_SHRUNK" });
    expect(await box.take({ allowEmptyFirst: true })).toMatchObject({ pinCount: 0, sequence: 1 });
    expect(await box.take({ allowEmptyFirst: true })).toMatchObject({ pinCount: 0, sequence: 2 });
  });

  test("lets a master go on without a pin that never had one, so that its snapshots do not grow stale", async () => {
    const box = openBox([]);
    await box.take({ allowEmptyFirst: true });
    expect(await box.take()).toMatchObject({ pinCount: 0, sequence: 2 });
    expect(await box.take()).toMatchObject({ pinCount: 0, sequence: 3 });
  });

  test("does not take a master that once had pins for a new one", async () => {
    const box = openBox(fullPins(3));
    await box.take();
    shrinkTo(box, 0);
    await box.take({ acceptShrink: true });
    await expect(box.take({ allowEmptyFirst: true })).rejects.toMatchObject({ code: "FULA_SNAPSHOT_SHRUNK" });
  });

  test.each([
    ["deletes the last snapshot", (box: SnapshotBox) => rmSync(box.paths.snapshotsDir, { recursive: true })],
    [
      "damages the last snapshot",
      (box: SnapshotBox) => {
        for (const name of readdirSync(box.paths.snapshotsDir)) writeFileSync(join(box.paths.snapshotsDir, name), "x");
      },
    ],
    ["deletes the note about it", (box: SnapshotBox) => rmSync(join(box.paths.stateDir, "snapshot-last.json"))],
    [
      "writes another number into the note about it",
      (box: SnapshotBox) => {
        const path = join(box.paths.stateDir, "snapshot-last.json");
        writeFileSync(path, readFileSync(path, "utf8").replaceAll('"pinCount": 100', '"pinCount": 1'));
      },
    ],
    [
      "damages the note about it",
      (box: SnapshotBox) => writeFileSync(join(box.paths.stateDir, "snapshot-last.json"), "{}"),
    ],
  ])("holds when somebody %s", async (_what, harm) => {
    const box = openBox(fullPins(100));
    await box.take();
    harm(box);
    shrinkTo(box, 5);
    await expect(box.take()).rejects.toMatchObject({ code: "FULA_SNAPSHOT_SHRUNK" });
  });

  test("refuses altogether where both are gone bad", async () => {
    const box = openBox(fullPins(100));
    await box.take();
    rmSync(box.paths.snapshotsDir, { recursive: true });
    writeFileSync(join(box.paths.stateDir, "snapshot-last.json"), "{}");
    await expect(box.take()).rejects.toMatchObject({ code: "FULA_SNAPSHOT_MEMORY", kind: "refused" });
    expect(await box.take({ acceptShrink: true })).toMatchObject({ pinCount: 100 });
  });

  test("is not fooled by the note of another box", async () => {
    const other = openBox(fullPins(1));
    await other.take();
    const box = openBox(fullPins(100));
    await box.take();
    rmSync(box.paths.snapshotsDir, { recursive: true });
    writeFileSync(
      join(box.paths.stateDir, "snapshot-last.json"),
      readFileSync(join(other.paths.stateDir, "snapshot-last.json")),
    );
    shrinkTo(box, 5);
    await expect(box.take()).rejects.toMatchObject({ code: "FULA_SNAPSHOT_MEMORY" });
  });

  test("gives no sequence number twice, whatever of the last snapshot is lost", async () => {
    const box = openBox();
    await box.take();
    await box.take();
    rmSync(box.paths.snapshotsDir, { recursive: true });
    expect(await box.take()).toMatchObject({
      sequence: 3,
      warnings: ["the last snapshot (sequence 2) is damaged or no longer there."],
    });
    rmSync(join(box.paths.stateDir, "snapshot-last.json"));
    expect((await box.take()).sequence).toBe(4);
  });
});

describe("the clock", () => {
  test("of two snapshots in one second the second is dated a second later", async () => {
    const box = openBox();
    const first = await box.take();
    box.clock.step(-3_600_000);
    const second = await box.take();
    expect([first.time, second.time]).toEqual(["2026-11-20T04:00:00Z", "2026-11-20T04:00:01Z"]);
    expect((await box.verify(second.file)).ok).toBe(true);
  });

  test("that was set back a little is corrected, with a warning", async () => {
    const box = openBox();
    await box.take();
    box.clock.step(-3_600_000 - 120_000);
    expect(await box.take()).toMatchObject({
      time: "2026-11-20T04:00:01Z",
      warnings: ["the clock is 2m behind the last snapshot."],
    });
  });

  test("that was set back by hours stops snapshots until somebody vouches for it", async () => {
    const box = openBox();
    await box.take();
    box.clock.step(-10 * 3_600_000);
    await expect(box.take()).rejects.toMatchObject({ code: "FULA_SNAPSHOT_CLOCK", kind: "refused" });
    const taken = await box.take({ acceptClock: true });
    expect(taken).toMatchObject({ sequence: 2, time: "2026-11-19T20:00:00Z" });
    const found = await box.verify(taken.file);
    expect(found).toMatchObject({ ok: true, remarks: [expect.stringContaining("The clock was set back")] });
    // From then on it counts as the newest, whatever the other one's date says.
    const deps = { trustedKeys: await box.trusted(), clusterId: null, clock: box.clock };
    expect((await lastGoodSnapshot(box.paths.snapshotsDir, deps))?.manifest.sequence).toBe(2);
  });

  test("never makes a snapshot take the name of a file that is there", async () => {
    const box = openBox();
    mkdirSync(box.paths.snapshotsDir);
    const foreign = join(box.paths.snapshotsDir, "pinset-20261120T040000Z.json");
    writeFileSync(foreign, "somebody else's");
    expect((await box.take()).time).toBe("2026-11-20T04:00:01Z");
    expect(readFileSync(foreign, "utf8")).toBe("somebody else's");
  });
});

describe("taking and failing", () => {
  test("one at a time: the second is refused and says who holds the lock", async () => {
    const box = openBox();
    using _ = await acquireLock(snapshotLockFile(box.paths.locksDir), "take a snapshot", box.clock);
    await expect(box.take()).rejects.toMatchObject({
      code: "FULA_LOCKED",
      kind: "refused",
      message: expect.stringContaining("take a snapshot"),
    });
  });

  test("two in one process do not get in each other's way", async () => {
    const box = openBox(fullPins(2_000));
    const results = await Promise.allSettled([box.take(), box.take()]);
    const refused = results.filter(({ status }) => status === "rejected");
    expect(refused).toHaveLength(1);
    expect(refused[0]).toMatchObject({ reason: { code: "FULA_LOCKED" } });
    expect(readdirSync(box.paths.snapshotsDir)).toHaveLength(4);
  });

  test("what a crash left is cleared away by the next run, and nothing else", async () => {
    const box = openBox();
    const good = await box.take();
    // A crash between the renames: the stage is still there, the data file has its name already, the manifest has not.
    const stage = join(box.paths.snapshotsDir, ".pinset-20261120T043000Z.tmp");
    mkdirSync(stage);
    writeFileSync(join(stage, "pinset-20261120T043000Z.json"), "{}");
    writeFileSync(join(stage, "run-0.tmp"), "x");
    const orphan = filesOf(join(box.paths.snapshotsDir, "pinset-20261120T043000Z"));
    writeFileSync(orphan.data, "x");
    const foreign = join(box.paths.snapshotsDir, "notes.txt");
    writeFileSync(foreign, "mine");
    // A data file without a manifest and without a stage is not ours to remove: somebody may have lost its manifest.
    const lost = filesOf(join(box.paths.snapshotsDir, "pinset-20261120T033000Z"));
    writeFileSync(lost.data, "x");
    const report = await box.take();
    expect(report.warnings).toEqual(["pinset-20261120T043000Z had been left unfinished and was cleared away."]);
    expect(existsSync(stage)).toBe(false);
    expect(existsSync(orphan.data)).toBe(false);
    expect([foreign, lost.data, good.file].every((path) => existsSync(path))).toBe(true);
  });

  test("a crash after the manifest was shown leaves a good snapshot, and the next one follows it", async () => {
    const box = openBox();
    await box.take();
    const memory = readFileSync(join(box.paths.stateDir, "snapshot-last.json"));
    const second = await box.take();
    // As if the power had failed between the rename and the note.
    writeFileSync(join(box.paths.stateDir, "snapshot-last.json"), memory);
    mkdirSync(join(box.paths.snapshotsDir, `.${filesOf(second.file).name}.tmp`));
    const third = await box.take();
    expect((await box.verify(second.file)).ok).toBe(true);
    expect(third).toMatchObject({ sequence: 3 });
    expect(await box.verify(third.file)).toMatchObject({ ok: true, remarks: [] });
  });

  test("a number that a crashed run may have used is left out", async () => {
    const box = openBox();
    await box.take();
    const state = await readMemory(box.paths.stateDir, "cluster-under-test", await box.trusted());
    if (state.kind !== "good") throw new Error(`no memory: ${state.kind}`);
    await writeMemory(
      box.paths.stateDir,
      { ...state.memory, reservedSequence: 2 },
      await ensureSigningKey(box.paths.keysDir),
    );
    const next = await box.take();
    expect(next.sequence).toBe(3);
    expect(await box.verify(next.file)).toMatchObject({ ok: true, remarks: [] });
  });

  test("a directory that cannot be written to is a clear error", async () => {
    const box = openBox();
    writeFileSync(box.paths.snapshotsDir, "a file where the directory should be");
    await expect(box.take()).rejects.toThrow(/snapshots/);
  });

  test("a dry run counts, judges, and writes nothing at all", async () => {
    const box = openBox(fullPins(20));
    const deps = { cluster: box.cluster, paths: box.paths, trustedKeys: [], clock: box.clock };
    const options = { maxShrinkPercent: 10, keep: null };
    const before = readdirSync(box.baseDir, { recursive: true });
    expect(await planSnapshot(deps, options)).toMatchObject({ sequence: 1, pinCount: 20, previousPinCount: null });
    expect(readdirSync(box.baseDir, { recursive: true })).toEqual(before);
    await box.take();
    box.cluster.records.clear();
    const files = everyFile(box.baseDir);
    await expect(planSnapshot(deps, options)).rejects.toMatchObject({ code: "FULA_SNAPSHOT_SHRUNK" });
    expect(everyFile(box.baseDir)).toEqual(files);
  });

  test("old snapshots go afterwards by the policy, all files of each", async () => {
    const box = openBox();
    const keep = { last: 2, daily: 0, weekly: 0, monthly: 0 };
    const taken = [await box.take({ keep }), await box.take({ keep })];
    const third = await box.take({ keep });
    expect(third.pruned).toEqual([filesOf(taken[0]?.file ?? "").name]);
    expect(readdirSync(box.paths.snapshotsDir)).toHaveLength(8);
    expect(await box.verify(third.file)).toMatchObject({ ok: true, remarks: [] });
    expect(await box.verify(taken[1]?.file ?? "")).toMatchObject({
      ok: true,
      remarks: ["The snapshot before it is not here any more."],
    });
  });

  test("a data file that rotted does not count as the last good one when others are removed", async () => {
    const box = openBox();
    const good = await box.take();
    const rotten = await box.take();
    const bytes = readFileSync(rotten.file);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
    writeFileSync(rotten.file, bytes);
    const keep = { last: 1, daily: 0, weekly: 0, monthly: 0 };
    const deps = { ...box.paths, trustedKeys: await box.trusted(), clusterId: "cluster-under-test", clock: box.clock };
    const report = await pruneSnapshots(deps, keep);
    expect(report.removed).toEqual([]);
    expect(report.decisions).toEqual([
      { name: filesOf(rotten.file).name, keep: true, reasons: ["not good"] },
      { name: filesOf(good.file).name, keep: true, reasons: ["last", "last good"] },
    ]);
  });

  test("nobody who looks while it is taken ever sees half a snapshot", async () => {
    const box = openBox(fullPins(3_000));
    await box.take();
    const deps = { trustedKeys: await box.trusted(), clusterId: null };
    const state = { looks: 0, done: false };
    const taking = box.take().finally(() => {
      state.done = true;
    });
    while (!state.done) {
      const entries = await listSnapshots(box.paths.snapshotsDir, deps);
      expect(entries.map(({ problems }) => problems)).toEqual(entries.map(() => []));
      state.looks += 1;
    }
    await taking;
    expect(state.looks).toBeGreaterThan(3);
  });
});
