import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  type Installation,
  installationFile,
  readInstallation,
  writeInstallation,
} from "../../../src/lib/stack/installation.ts";
import {
  checkWritable,
  DISK_THRESHOLDS,
  judgeContents,
  judgeDisk,
  judgeOwnership,
  judgeVersions,
  nearestExisting,
  readContents,
  readOwnership,
} from "../../../src/lib/stack/preflight-base-dir.ts";

const GIB = 1024 ** 3;
const installation: Installation = {
  format: 1,
  clusterId: "c",
  createdAt: "2026-11-20T00:00:00Z",
  createdBy: "0.1.0",
  changedBy: "0.3.0",
  made: [],
};

let dir: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "fula-preflight-"));
});

afterEach(async () => {
  await rm(dir, { recursive: true, force: true });
});

test("a base directory that is not there yet is judged by the nearest one above it, and is not made", async () => {
  const baseDir = join(dir, "a", "b");
  expect(await nearestExisting(baseDir)).toBe(dir);
  expect((await checkWritable(baseDir, [])).state).toBe("ok");
  expect(await nearestExisting(baseDir)).toBe(dir);
});

test("a file in the way of the base directory is refused by name", async () => {
  await writeFile(join(dir, "file"), "");
  expect(await checkWritable(join(dir, "file", "base"), [])).toMatchObject({
    code: "FULA_PATH_NOT_WRITABLE",
    message: `Cannot write ${join(dir, "file")}: it is not a directory.`,
  });
});

test("an empty place, and one with only our directories, may be used", async () => {
  expect(judgeContents(await readContents(join(dir, "new"), null)).state).toBe("ok");
  await Promise.all(["keys", "state", "lost+found"].map(async (name) => await mkdir(join(dir, name))));
  await mkdir(join(dir, "state", "locks"));
  expect(judgeContents(await readContents(dir, null)).state).toBe("ok");
});

test("settings and secrets that an operator wrote before the first join may be used", async () => {
  await writeFile(join(dir, "fula-master.yaml"), "runtime: embedded\n");
  await writeFile(join(dir, ".env"), "");
  expect(judgeContents(await readContents(dir, null)).state).toBe("ok");
});

test("foreign files are refused and named", async () => {
  await writeFile(join(dir, "holiday.jpg"), "");
  expect(judgeContents(await readContents(dir, null))).toMatchObject({
    code: "FULA_BASE_DIR_FOREIGN",
    message: expect.stringContaining("holiday.jpg"),
  });
});

test("what an operator added to a base directory of ours later does not matter", async () => {
  await writeFile(join(dir, "holiday.jpg"), "");
  expect(judgeContents(await readContents(dir, installation)).state).toBe("ok");
});

test("a master of the older shell installers is recognised, and the way over is named", async () => {
  await writeFile(join(dir, ".env"), "");
  await writeFile(join(dir, ".migrations-applied"), "");
  expect(judgeContents(await readContents(dir, null))).toMatchObject({
    code: "FULA_BASE_DIR_FOREIGN",
    message: expect.stringContaining("older shell installers"),
    remedy: expect.stringContaining("migrate adopt"),
  });
});

test("files that a killed join left unfinished are not taken for somebody's", async () => {
  await mkdir(join(dir, "state"));
  await writeFile(join(dir, ".env.4711-1.tmp"), "");
  await writeFile(join(dir, "state", "installation.json.4711-2.tmp"), "");
  expect(judgeContents(await readContents(dir, null)).state).toBe("ok");
  await writeFile(join(dir, "state", "pins.sqlite"), "");
  expect(judgeContents(await readContents(dir, null)).state).toBe("failed");
});

test("state without the file that says whose it is, is refused and not written over", async () => {
  await mkdir(join(dir, "state", "blocks"), { recursive: true });
  expect(judgeContents(await readContents(dir, null))).toMatchObject({
    code: "FULA_BASE_DIR_FOREIGN",
    message: expect.stringContaining("installation.json"),
  });
});

test("state of a newer version is refused, of the same or an older one not", () => {
  expect(judgeVersions(installation, "0.2.9")).toMatchObject({ code: "FULA_STATE_NEWER" });
  expect(judgeVersions(installation, "0.3.0").state).toBe("ok");
  expect(judgeVersions(installation, "0.10.0").state).toBe("ok");
  expect(judgeVersions(null, "0.1.0").state).toBe("ok");
});

test("the installation file comes back as it was written; a damaged and a newer one are refused", async () => {
  expect(await readInstallation(dir)).toBeNull();
  await writeInstallation(dir, installation);
  expect(await readInstallation(dir)).toEqual(installation);
  await writeFile(installationFile(dir), JSON.stringify({ ...installation, format: 2 }));
  await expect(readInstallation(dir)).rejects.toMatchObject({ code: "FULA_STATE_NEWER" });
  await writeFile(installationFile(dir), '{"format": 1, "clus');
  await expect(readInstallation(dir)).rejects.toMatchObject({ code: "FULA_BASE_DIR_FOREIGN" });
});

test("settings of another user are refused; a directory that an administrator made is not", () => {
  const settings = { path: "/b/.env", uid: 1000, mode: 0o600, ours: true };
  expect(judgeOwnership([settings], 0)).toMatchObject({ state: "failed", details: { owner: 1000, uid: 0 } });
  expect(judgeOwnership([settings], 1000).state).toBe("ok");
  expect(judgeOwnership([{ ...settings, mode: 0o700, ours: false }], 0).state).toBe("ok");
});

test("what others can read is named as a warning; the group of the PostgreSQL user may pass through", async () => {
  await chmod(dir, 0o755);
  const paths = await readOwnership([
    { path: dir, ours: false },
    { path: join(dir, "absent"), ours: true },
  ]);
  expect(judgeOwnership(paths, process.getuid?.() ?? 0)).toMatchObject({
    state: "warning",
    message: expect.stringContaining("(0755)"),
  });
  expect(judgeOwnership([{ path: "/b", uid: 0, mode: 0o710, ours: false }], 0).state).toBe("ok");
  expect(judgeOwnership([{ path: "/b", uid: 0, mode: 0o701, ours: false }], 0).state).toBe("warning");
});

test("too few bytes and too few inodes are refused, little room is a warning", () => {
  const room = { bytesFree: 100 * GIB, bytesTotal: 200 * GIB, inodesFree: 1e6 };
  expect(judgeDisk(room, "/b").state).toBe("ok");
  expect(judgeDisk({ ...room, inodesFree: null }, "/b").state).toBe("ok");
  expect(judgeDisk({ ...room, bytesFree: DISK_THRESHOLDS.bytesMin }, "/b").state).toBe("warning");
  expect(judgeDisk({ ...room, bytesFree: DISK_THRESHOLDS.bytesMin - 1 }, "/b")).toMatchObject({
    code: "FULA_DISK_FULL",
  });
  expect(judgeDisk({ ...room, inodesFree: DISK_THRESHOLDS.inodesMin - 1 }, "/b")).toMatchObject({
    code: "FULA_DISK_FULL",
    message: expect.stringContaining("inodes"),
  });
});
