import { readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { filesOf, type SnapshotFiles } from "../../../src/lib/pinset/format.ts";
import { fullPins, openBox, type SnapshotBox } from "../../support/snapshots.ts";

const PARTS = ["data", "manifest", "signature", "minisign"] as const;

async function snapshotted(): Promise<{ readonly box: SnapshotBox; readonly files: SnapshotFiles }> {
  const box = openBox(fullPins(1));
  await box.take();
  const { file } = await box.take();
  return { box, files: filesOf(file) };
}

async function problemsOf(box: SnapshotBox, files: SnapshotFiles): Promise<number> {
  return (await box.verify(files.manifest)).problems.length;
}

describe("whoever changes a snapshot is found out", () => {
  // Every position, not a sample: the one that is not covered is the one that will be used.
  test.each(PARTS)(
    "by any single byte of the %s file that is changed",
    async (part) => {
      const { box, files } = await snapshotted();
      const original = readFileSync(files[part]);
      expect(original.length).toBeGreaterThan(60);
      const accepted: number[] = [];
      for (let at = 0; at < original.length; at += 1) {
        // The lowest bit keeps digits digits, the sixth turns "a" into "A" and back.
        for (const bit of [0x01, 0x20]) {
          const changed = Buffer.from(original);
          changed[at] = (changed[at] ?? 0) ^ bit;
          writeFileSync(files[part], changed);
          if ((await problemsOf(box, files)) === 0) accepted.push(at);
        }
      }
      expect(accepted).toEqual([]);
      writeFileSync(files[part], original);
      expect(await problemsOf(box, files)).toBe(0);
    },
    120_000,
  );

  test.each(PARTS)(
    "by any truncation of the %s file",
    async (part) => {
      const { box, files } = await snapshotted();
      const { length } = readFileSync(files[part]);
      const accepted: number[] = [];
      for (let size = length - 1; size >= 0; size -= 1) {
        truncateSync(files[part], size);
        if ((await problemsOf(box, files)) === 0) accepted.push(size);
      }
      expect(accepted).toEqual([]);
    },
    60_000,
  );

  test.each(PARTS)("by anything that is added to the %s file", async (part) => {
    const { box, files } = await snapshotted();
    const original = readFileSync(files[part]);
    const additions = ["\n", " ", "\0", "x", original.toString("latin1"), "x".repeat(100_000)];
    for (const addition of additions) {
      writeFileSync(files[part], Buffer.concat([original, Buffer.from(addition, "latin1")]));
      expect(await problemsOf(box, files)).toBeGreaterThan(0);
      writeFileSync(files[part], Buffer.concat([Buffer.from(addition, "latin1"), original]));
      expect(await problemsOf(box, files)).toBeGreaterThan(0);
    }
  });

  test.each([
    ["data", "FULA_SNAPSHOT_INCOMPLETE"],
    ["manifest", "FULA_SNAPSHOT_INCOMPLETE"],
    ["signature", "FULA_SNAPSHOT_INCOMPLETE"],
  ] as const)("by the absence of the %s file", async (part, code) => {
    const { box, files } = await snapshotted();
    rmSync(files[part]);
    const { problems } = await box.verify(files.data);
    expect(problems.map((problem) => problem.code)).toContain(code);
  });

  test("but a snapshot without its second signature is as good, and says so", async () => {
    const { box, files } = await snapshotted();
    rmSync(files.minisign);
    expect(await box.verify(files.data)).toMatchObject({
      ok: true,
      problems: [],
      remarks: [expect.stringContaining("minisign signature")],
    });
  });
});
