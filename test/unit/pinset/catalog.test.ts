import { mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type CatalogDeps, lastGoodSnapshot, listSnapshots, newestOf } from "../../../src/lib/pinset/catalog.ts";
import { filesOf, snapshotName, timeOfName } from "../../../src/lib/pinset/format.ts";
import { openBox, type SnapshotBox } from "../../support/snapshots.ts";

const depsOf = async (box: SnapshotBox): Promise<CatalogDeps> => ({
  trustedKeys: await box.trusted(),
  clusterId: "cluster-under-test",
});

const lastGood = async (box: SnapshotBox): ReturnType<typeof lastGoodSnapshot> =>
  lastGoodSnapshot(box.paths.snapshotsDir, { ...(await depsOf(box)), clock: box.clock });

describe("the snapshots of a directory", () => {
  test("are none where there is no directory", async () => {
    const box = openBox();
    expect(await listSnapshots(box.paths.snapshotsDir, await depsOf(box))).toEqual([]);
    expect(await lastGood(box)).toBeNull();
    expect(newestOf([])).toBeNull();
  });

  test("that cannot be looked into are a clear error, and so are keys", async () => {
    const box = openBox();
    const deps = await depsOf(box);
    writeFileSync(box.paths.snapshotsDir, "a file where the directory should be");
    writeFileSync(box.paths.keysDir, "here as well");
    const code = { code: "FULA_SNAPSHOT_UNREADABLE", kind: "usage" };
    await expect(listSnapshots(box.paths.snapshotsDir, deps)).rejects.toMatchObject(code);
    await expect(box.trusted()).rejects.toMatchObject(code);
  });

  test("come newest first with what their manifests say", async () => {
    const box = openBox();
    await box.take();
    const second = await box.take();
    const entries = await listSnapshots(box.paths.snapshotsDir, await depsOf(box));
    expect(entries.map(({ manifest, good }) => [manifest?.sequence, good])).toEqual([
      [2, true],
      [1, true],
    ]);
    expect(entries[0]).toMatchObject({ sizeBytes: second.bytes, timeMs: Date.parse(second.time), format: "snapshot" });
  });

  test("are told apart from other files", async () => {
    const box = openBox();
    await box.take();
    for (const name of [
      "notes.json",
      "pinset-2026.json",
      "pinset-20261399T000000Z.json",
      "pinset-20261120T040000Z.json.bak",
    ]) {
      writeFileSync(join(box.paths.snapshotsDir, name), "{}");
    }
    expect(await listSnapshots(box.paths.snapshotsDir, await depsOf(box))).toHaveLength(1);
  });

  test("of the existing fleet are listed as such, and are never the last good one by themselves", async () => {
    const box = openBox();
    mkdirSync(box.paths.snapshotsDir);
    writeFileSync(join(box.paths.snapshotsDir, "pinset-20261120T000000Z.json"), '{"cid":"bafya"}');
    expect(await listSnapshots(box.paths.snapshotsDir, await depsOf(box))).toMatchObject([
      { format: "legacy", good: false, problems: [] },
    ]);
    expect(await lastGood(box)).toBeNull();
  });

  test("are not good without a manifest, and one that is being made is not listed at all", async () => {
    const box = openBox();
    const files = filesOf((await box.take()).file);
    rmSync(files.manifest);
    expect(await listSnapshots(box.paths.snapshotsDir, await depsOf(box))).toMatchObject([{ good: false }]);
    mkdirSync(join(box.paths.snapshotsDir, `.${files.name}.tmp`));
    expect(await listSnapshots(box.paths.snapshotsDir, await depsOf(box))).toEqual([]);
  });
});

describe("the last good snapshot", () => {
  test("is the newest one, with its age", async () => {
    const box = openBox();
    await box.take();
    const { sequence } = await box.take();
    box.clock.step(5_000);
    expect(await lastGood(box)).toMatchObject({ ageMs: 5_000, manifest: { sequence } });
  });

  test.each(["data", "manifest", "signature", "minisign"] as const)(
    "is an older one where the %s file of the newest was cut short",
    async (part) => {
      const box = openBox();
      await box.take();
      const files = filesOf((await box.take()).file);
      truncateSync(files[part], readFileSync(files[part]).length - 1);
      expect((await lastGood(box))?.manifest.sequence).toBe(1);
      // But `verify` without a name does not pass over the bad one.
      const entries = await listSnapshots(box.paths.snapshotsDir, await depsOf(box));
      expect(newestOf(entries)).toMatchObject({ name: files.name, good: false });
    },
  );

  test("is none of another cluster and none of a key that is not trusted", async () => {
    const box = openBox();
    await box.take();
    const { snapshotsDir } = box.paths;
    const deps = { ...(await depsOf(box)), clock: box.clock };
    expect(await lastGoodSnapshot(snapshotsDir, { ...deps, clusterId: "another" })).toBeNull();
    expect(await lastGoodSnapshot(snapshotsDir, { ...deps, clusterId: null })).not.toBeNull();
    expect(await lastGoodSnapshot(snapshotsDir, { ...deps, trustedKeys: [] })).toBeNull();
  });
});

describe("the name of a snapshot", () => {
  test("tells its time, and a time that does not exist is no name", () => {
    const timeMs = Date.UTC(2026, 10, 20, 3, 4, 5);
    expect(snapshotName(timeMs)).toBe("pinset-20261120T030405Z");
    expect(timeOfName("pinset-20261120T030405Z")).toBe(timeMs);
    for (const name of ["pinset-20260230T000000Z", "pinset-20261120T250000Z", "pinset-20261120T030405", "x"]) {
      expect(timeOfName(name)).toBeNull();
    }
  });
});
