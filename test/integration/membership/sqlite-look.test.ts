import { chmod, open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { lookAtControlPlaneFile } from "../../../src/lib/membership/sqlite/look.ts";
import { openSqliteStore } from "../../../src/lib/membership/sqlite/sqlite-store.ts";
import { tempDir } from "../../support/temp-dir.ts";

async function makeFile(): Promise<string> {
  const path = join(tempDir(), "control-plane.sqlite");
  const store = await openSqliteStore(path, { clock: systemClock, timeoutMs: 60_000, create: true });
  for (let at = 0; at < 200; at += 1) {
    const id = `0x${String(at).padStart(40, "0")}`;
    await store.addOperator({
      id,
      role: "operator",
      status: "active",
      name: "x".repeat(150),
      createdAt: new Date(0).toISOString(),
    });
  }
  await store.close();
  return path;
}

test("a control plane that is as it was made is whole, in WAL, this user's alone, and on this machine", async () => {
  const found = await lookAtControlPlaneFile(await makeFile());
  expect(found).toEqual({ damage: [], journalMode: "wal", mode: 0o600, uid: process.getuid?.(), network: null });
});

test("what somebody made of the file is told: other permissions, another journal", async () => {
  const path = await makeFile();
  await chmod(path, 0o644);
  const db = new DatabaseSync(path);
  db.exec("pragma journal_mode = delete");
  db.close();
  expect(await lookAtControlPlaneFile(path)).toMatchObject({ damage: [], journalMode: "delete", mode: 0o644 });
});

async function overwrite(path: string, bytes: Buffer, at: number): Promise<void> {
  const file = await open(path, "r+");
  await file.write(bytes, 0, bytes.length, at);
  await file.close();
}

test("what SQLite finds wrong with a file is told", async () => {
  const path = await makeFile();
  // How many pages are free, as the header has it.
  await overwrite(path, Buffer.from([0, 0, 0, 7]), 36);
  expect((await lookAtControlPlaneFile(path)).damage.join()).toMatch(/free/i);
});

test("a file of which pages were overwritten cannot be used, and that is told", async () => {
  const path = await makeFile();
  await overwrite(path, Buffer.alloc(4_096, 0xff), 4_096 * 8);
  await expect(lookAtControlPlaneFile(path)).rejects.toMatchObject({ code: "FULA_CONTROL_PLANE_UNREADABLE" });
});

test("a file that is gone or no database is an error of its own, and none is made", async () => {
  const path = join(tempDir(), "control-plane.sqlite");
  await expect(lookAtControlPlaneFile(path)).rejects.toMatchObject({ code: "FULA_CONTROL_PLANE_UNREADABLE" });
  await expect(lookAtControlPlaneFile(path)).rejects.toMatchObject({ code: "FULA_CONTROL_PLANE_UNREADABLE" });
  await writeFile(path, "not a database, and long enough to be read as its header would be: ".repeat(10));
  await expect(lookAtControlPlaneFile(path)).rejects.toMatchObject({ code: "FULA_CONTROL_PLANE_UNREADABLE" });
});
