import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, expect, onTestFinished, test } from "vitest";
import { acquireLock, readLockHolder, tryLock } from "../../../src/lib/kernel/lock.ts";
import { FakeClock } from "../../support/clock.ts";
import { tempDir } from "../../support/temp-dir.ts";

const CHILD = join(import.meta.dirname, "..", "..", "support", "children", "hold-lock.ts");

/** Starts another process that wants the lock. @returns the process and what it says about it */
async function contend(path: string): Promise<{ child: ChildProcess; said: string }> {
  const child = spawn(process.execPath, [CHILD, path], { stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  const [said] = await once(createInterface({ input: child.stdout }), "line");
  return { child, said: String(said) };
}

async function killAndWait(child: ChildProcess): Promise<void> {
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  await gone;
}

describe("a lock between processes", () => {
  test("a second process is refused while the first holds it", async () => {
    const path = join(tempDir(), "locks", "snapshot.lock");
    using lock = await acquireLock(path, "test", new FakeClock());
    expect((await contend(path)).said).toBe("FULA_LOCKED");
    lock.release();
    expect((await contend(path)).said).toBe("held");
  });

  test("the refusal names the process, what it does, and since when", async () => {
    const path = join(tempDir(), "snapshot.lock");
    const { child } = await contend(path);
    await expect(acquireLock(path, "restore", new FakeClock())).rejects.toMatchObject({
      code: "FULA_LOCKED",
      message: expect.stringMatching(
        new RegExp(`Cannot start "restore": process ${child.pid} \\(test, since \\d{4}-.*Z\\) holds snapshot\\.lock`),
      ),
      hint: expect.stringContaining(`process ${child.pid}`),
    });
    await killAndWait(child);
  });

  test("kill -9 of the holder frees it, and its stale name blocks nobody", async () => {
    const path = join(tempDir(), "snapshot.lock");
    const { child } = await contend(path);
    expect(await tryLock(path, "test", new FakeClock())).toBeNull();
    await killAndWait(child);
    expect(readLockHolder(path)?.pid).toBe(child.pid);
    using lock = await acquireLock(path, "test", new FakeClock());
    expect(readLockHolder(lock.path)?.pid).toBe(process.pid);
  });

  test("the same process does not get it twice either", async () => {
    const path = join(tempDir(), "snapshot.lock");
    using _held = await acquireLock(path, "test", new FakeClock());
    expect(await tryLock(path, "test", new FakeClock())).toBeNull();
  });

  test("a released lock leaves no holder behind, and releasing twice frees nobody else's", async () => {
    const path = join(tempDir(), "snapshot.lock");
    const first = await acquireLock(path, "first", new FakeClock());
    first.release();
    expect(existsSync(`${path}.holder`)).toBe(false);
    using _second = await acquireLock(path, "second", new FakeClock());
    first.release();
    expect(readLockHolder(path)?.purpose).toBe("second");
    expect(await tryLock(path, "third", new FakeClock())).toBeNull();
  });

  test("an unreadable holder file still gives a refusal", async () => {
    const path = join(tempDir(), "snapshot.lock");
    using _held = await acquireLock(path, "test", new FakeClock());
    writeFileSync(`${path}.holder`, "{ torn");
    await expect(acquireLock(path, "test", new FakeClock())).rejects.toMatchObject({
      code: "FULA_LOCKED",
      message: expect.stringContaining("another process"),
    });
  });

  test("a holder file that cannot be written leaves the lock free", async () => {
    const path = join(tempDir(), "snapshot.lock");
    mkdirSync(`${path}.holder`);
    await expect(tryLock(path, "test", new FakeClock())).rejects.toThrow("EISDIR");
    expect((await contend(path)).said).toContain("EISDIR");
  });

  test("a path where no lock can be is a matter of permissions, not a bug", async () => {
    const path = tempDir();
    await expect(acquireLock(path, "test", new FakeClock())).rejects.toMatchObject({
      code: "FULA_PATH_NOT_WRITABLE",
      message: expect.stringContaining(path),
    });
  });
});
