import { statSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { holdWrites } from "../../../src/lib/membership/sqlite/moving.ts";
import { openSqliteStore } from "../../../src/lib/membership/sqlite/sqlite-store.ts";
import { tempDir } from "../../support/temp-dir.ts";

const OPTIONS = { clock: systemClock, timeoutMs: 60_000, create: true };
/** For who has to wait until the time is up. */
const IMPATIENT = { ...OPTIONS, timeoutMs: 60 };
const ADMIN = {
  id: "system",
  role: "admin",
  status: "active",
  name: "",
  createdAt: "2026-11-20T03:00:00.000Z",
} as const;

test("while a control plane is moved nobody writes to it, and everybody may read", async () => {
  const path = join(tempDir(), "control-plane.sqlite");
  await using patient = await openSqliteStore(path, OPTIONS);
  await using store = await openSqliteStore(path, IMPATIENT);
  {
    await using _held = await holdWrites(path, OPTIONS);
    await expect(store.addOperator(ADMIN)).rejects.toMatchObject({ code: "FULA_CONTROL_PLANE_UNREACHABLE" });
    expect(await store.listOperators()).toEqual([]);
  }
  await patient.addOperator(ADMIN);
});

test("a backup has the whole state, the log included, and only its owner may read it", async () => {
  const dir = tempDir();
  const path = join(dir, "control-plane.sqlite");
  const backup = join(dir, "backup.sqlite");
  await using store = await openSqliteStore(path, OPTIONS);
  await store.addOperator(ADMIN);
  await using held = await holdWrites(path, OPTIONS);
  await held.backUp(backup);
  expect(statSync(backup).mode & 0o777).toBe(0o600);
  await using copy = await openSqliteStore(backup, OPTIONS);
  expect(await copy.exportSnapshot()).toEqual(await store.exportSnapshot());
  await expect(held.backUp(backup)).rejects.toThrow("EEXIST");
});

test("whoever still has a retired file open is refused, also whether somebody may act, until a state is brought back", async () => {
  const path = join(tempDir(), "control-plane.sqlite");
  await using store = await openSqliteStore(path, OPTIONS);
  await store.addOperator(ADMIN);
  const held = await holdWrites(path, OPTIONS);
  held.retire("nats://127.0.0.1:4222", "2026-11-20T03:00:00.000Z");
  await held[Symbol.asyncDispose]();
  const answer = await store.isAuthorized("system", "admin");
  expect(answer).toMatchObject({ allowed: false, why: expect.stringContaining("nats://127.0.0.1:4222") });
  await expect(store.listPools()).rejects.toMatchObject({ code: "FULA_CONTROL_PLANE_MOVED" });
  await expect(store.addOperator(ADMIN)).rejects.toMatchObject({ code: "FULA_CONTROL_PLANE_MOVED" });
  const snapshot = await store.exportSnapshot();
  expect(snapshot.operators).toEqual([ADMIN]);
  await store.importSnapshot(snapshot);
  expect((await store.isAuthorized("system", "admin")).allowed).toBe(true);
});
