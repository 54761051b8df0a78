import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { treeOf } from "../../support/file-tree.ts";
import { runOnTinyDisk } from "../../support/tiny-disk.ts";

const NOBODY = 65_534;

test("a base directory that cannot be written is refused with exit code 2, and nothing is written", async () => {
  const root = await mkdtemp(join(tmpdir(), "fula-read-only-"));
  try {
    const place = join(root, "place");
    await mkdir(place);
    await chmod(root, 0o755);
    await chmod(place, 0o555);
    const child = join(import.meta.dirname, "../../support/children/join-without-rights.ts");
    const identity = process.getuid?.() === 0 ? [String(NOBODY)] : [];
    const args = [child, join(place, "base"), join(root, "other"), ...identity];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    const run = JSON.parse(stdout);
    expect(run.stderr).toContain(`FULA_PATH_NOT_WRITABLE: Cannot write ${place}: EACCES.`);
    expect(run.exitCode).toBe(2);
    expect(await treeOf(place)).toHaveLength(1);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
});

test("a disk that is too small is refused; one that runs full stops the run with exit code 4 and loses nothing", async () => {
  const { exitCode, stdout, stderr } = await runOnTinyDisk("join-on-disk.ts", 24 * 1024);
  expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
  const { checked, afterCheck, first, second, secretsKept, temporary } = JSON.parse(stdout);
  expect(checked).toMatchObject({ exitCode: 4, stderr: expect.stringContaining("a master needs at least 2.0 GiB") });
  expect(afterCheck).toEqual([]);
  for (const run of [first, second]) {
    expect(run.stderr).toMatch(/FULA_DISK_FULL[^]*join failed at the step "postgres"/);
    expect(run.exitCode).toBe(4);
  }
  expect(second.stderr).toMatch(/Resuming the run of \S+Z that stopped at the step "postgres"\./);
  expect({ secretsKept, temporary }).toEqual({ secretsKept: true, temporary: [] });
});
