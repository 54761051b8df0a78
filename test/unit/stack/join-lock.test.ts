import { rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { acquireLock, readLockHolder } from "../../../src/lib/kernel/lock.ts";
import { acquireJoinLock, CARETAKER, joinLockFile } from "../../../src/lib/stack/step-run.ts";
import { FakeClock } from "../../support/clock.ts";
import { tempDir } from "../../support/temp-dir.ts";

const deps = { clock: systemClock, signal: new AbortController().signal };

test("whoever joins waits for the caretaker of this box, and is told of another join at once", async () => {
  const locksDir = join(tempDir(), "locks");
  const caretaker = await acquireLock(joinLockFile(locksDir), CARETAKER, systemClock);
  const waiting = acquireJoinLock(locksDir, "join", deps);
  await expect(Promise.race([waiting.then(() => "in"), systemClock.sleep(300).then(() => "waits")])).resolves.toBe(
    "waits",
  );
  caretaker.release();
  using _ = await waiting;
  await expect(acquireJoinLock(locksDir, "leave", deps)).rejects.toMatchObject({
    code: "FULA_LOCKED",
    message: expect.stringContaining("(join, "),
  });
});

test("a lock that has lost its name is looked at again: the caretaker is just letting go of it", async () => {
  const locksDir = join(tempDir(), "locks");
  const lockFile = joinLockFile(locksDir);
  using caretaker = await acquireLock(lockFile, CARETAKER, systemClock);
  rmSync(`${lockFile}.holder`);
  const refused = acquireJoinLock(locksDir, "join", { ...deps, clock: new FakeClock() });
  await expect(refused).rejects.toMatchObject({ code: "FULA_LOCKED" });
  const clock = new FakeClock();
  clock.onSleep = () => {
    caretaker.release();
  };
  using lock = await acquireJoinLock(locksDir, "join", { ...deps, clock });
  expect(clock.sleptMs).toHaveLength(1);
  expect(readLockHolder(lock.path)?.purpose).toBe("join");
});

test("whoever waits for the caretaker is let go by Ctrl-C", async () => {
  const locksDir = join(tempDir(), "locks");
  using _ = await acquireLock(joinLockFile(locksDir), CARETAKER, systemClock);
  const stop = new AbortController();
  const waiting = acquireJoinLock(locksDir, "join", { clock: systemClock, signal: stop.signal });
  stop.abort(new Error("interrupted"));
  await expect(waiting).rejects.toThrow();
});
