import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { findLockHolder, type LockWait, withAdvisoryLock } from "../../../src/lib/postgres/advisory-lock.ts";
import { createPool } from "../../../src/lib/postgres/pool.ts";
import { asSuperuser, emptyDatabase } from "../../support/postgres.ts";

const KEY = -9_000_000_000_000_000_001n;

function waiting(waitMs: number, changes: Partial<LockWait> = {}): LockWait {
  return { clock: systemClock, waitMs, onTimeout: () => new Error("timed out"), ...changes };
}

test("a lock in other hands is named by its session, waited for, and taken when it is free", async () => {
  await using database = await emptyDatabase();
  const first = createPool({ ...database.options, part: "first", node: "fula-1" });
  const seen: (string | undefined)[] = [];
  const free = Promise.withResolvers<void>();
  const held = Promise.withResolvers<void>();
  const holding = withAdvisoryLock(first, KEY, waiting(0), async () => {
    held.resolve();
    await free.promise;
  });
  await held.promise;
  const order: string[] = [];
  await withAdvisoryLock(
    database.pool,
    KEY,
    waiting(60_000, {
      onWaiting: (holder) => {
        seen.push(holder?.applicationName);
        // Told once more where it takes the holder a second to let go.
        if (order.length === 0) order.push("waits");
        free.resolve();
      },
    }),
    async () => {
      order.push("has it");
      await Promise.resolve();
    },
  );
  await holding;
  await first.end();
  expect(seen[0]).toBe("fula-master/first@fula-1");
  expect(order).toEqual(["waits", "has it"]);
  expect(await findLockHolder(database.pool, KEY)).toBeNull();
});

test("gives up after its time, and tells the caller who holds it", async () => {
  await using database = await emptyDatabase();
  await withAdvisoryLock(database.pool, KEY, waiting(0), async () => {
    const second = withAdvisoryLock(
      database.pool,
      KEY,
      waiting(100, { onTimeout: (holder) => new Error(`held by ${holder?.applicationName}`) }),
      async () => {
        await Promise.reject(new Error("two holders"));
      },
    );
    await expect(second).rejects.toThrow("held by fula-master/test@test");
  });
});

test("stops waiting when the signal aborts", async () => {
  await using database = await emptyDatabase();
  const controller = new AbortController();
  await withAdvisoryLock(database.pool, KEY, waiting(0), async () => {
    const second = withAdvisoryLock(
      database.pool,
      KEY,
      waiting(60_000, {
        signal: controller.signal,
        onWaiting: () => {
          controller.abort(new Error("stop"));
        },
      }),
      async () => {
        await Promise.reject(new Error("two holders"));
      },
    );
    await expect(second).rejects.toThrow("stop");
  });
});

test("whoever loses the connection loses the lock with it, and cannot go on", async () => {
  await using database = await emptyDatabase();
  const losing = withAdvisoryLock(database.pool, KEY, waiting(0), async (client) => {
    const { rows } = await client.query<{ pid: number }>("select pg_backend_pid() as pid");
    await asSuperuser(`select pg_terminate_backend(${rows[0]?.pid}, 60000)`);
    await withAdvisoryLock(database.pool, KEY, waiting(0), async () => {
      await Promise.resolve();
    });
    await client.query("select 1");
  });
  await expect(losing).rejects.toMatchObject({ code: "FULA_DATABASE_UNREACHABLE" });
});
