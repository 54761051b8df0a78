import { execFile } from "node:child_process";
import { chmod, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { createCid, RAW_CODEC } from "../../../src/lib/blocks/cid.ts";
import { openLocalBlockStore } from "../../../src/lib/blocks/local.ts";
import { runOnTinyDisk } from "../../support/tiny-disk.ts";

const NOBODY = 65_534;

test("a full disk is FULA_DISK_FULL: no half block, no temp file, and everything before it is still there", async () => {
  const { exitCode, stdout, stderr } = await runOnTinyDisk("fill-blocks.ts", 4_096);
  expect(stderr).toBe("");
  expect(exitCode).toBe(0);
  const report: unknown = JSON.parse(stdout);
  expect(report).toMatchObject({ code: "FULA_DISK_FULL", temps: [] });
  expect(report).toHaveProperty(
    "stored",
    expect.toSatisfy((count: number) => count >= 8 && count < 16),
  );
  expect(report).toHaveProperty("readable", Object(report).stored);
});

test("a read-only block directory can be read, and says of everything else that it is not writable", async () => {
  const root = await mkdtemp(join(tmpdir(), "fula-read-only-"));
  const dir = join(root, "blocks");
  try {
    const store = await openLocalBlockStore(dir);
    await store.put(createCid(RAW_CODEC, Buffer.from("there")), Buffer.from("there"));
    const isRoot = process.getuid?.() === 0;
    // Others get the rights that the owner keeps for himself, less the right to write.
    const entries = await readdir(dir, { recursive: true, withFileTypes: true });
    for (const entry of entries) await chmod(join(entry.parentPath, entry.name), entry.isDirectory() ? 0o555 : 0o444);
    for (const path of [dir, root]) await chmod(path, 0o555);
    const child = join(import.meta.dirname, "../../support/children/read-only-blocks.ts");
    const identity = isRoot ? [String(NOBODY), String(NOBODY)] : [];
    const { stdout } = await promisify(execFile)(process.execPath, [child, dir, ...identity]);
    expect(JSON.parse(stdout)).toEqual({
      get: "there",
      put: "FULA_PATH_NOT_WRITABLE",
      // It is there, but cannot be marked as put once more: a failed upload of somebody else might take it back.
      putAgain: "FULA_PATH_NOT_WRITABLE",
      delete: "FULA_PATH_NOT_WRITABLE",
      openBelow: "FULA_PATH_NOT_WRITABLE",
    });
  } finally {
    const entries = await readdir(dir, { recursive: true, withFileTypes: true });
    for (const path of [root, dir]) await chmod(path, 0o700);
    for (const entry of entries) if (entry.isDirectory()) await chmod(join(entry.parentPath, entry.name), 0o700);
    await rm(root, { recursive: true, force: true });
  }
});
