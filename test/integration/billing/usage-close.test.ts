import type { PoolClient } from "pg";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { formatHour, type Hour } from "../../../src/lib/billing/hour.ts";
import { type CloseUsageOptions, closeUsageHour, type UsageHolder } from "../../../src/lib/billing/usage-close.ts";
import { usageAt, usageClosedThrough } from "../../../src/lib/billing/usage.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { leaveHourEnd } from "../../support/hours.ts";
import { freshDatabase, type TestDatabase } from "../../support/postgres.ts";

let database: TestDatabase;

beforeEach(async () => {
  await leaveHourEnd();
  database = await freshDatabase();
});
afterEach(async () => {
  await database.drop();
});

const OPTIONS: CloseUsageOptions = { fence: null, clock: systemClock };
const INSERT = "insert into pins (requestid, user_id, cid, size, status) values ($1, $2, 'bafyone', $3, 'pinned')";

/** Sets the clock of usage back, as if nobody had closed an hour for so long. @returns the newest hour that is over */
async function leaveHoursOpen(count: number): Promise<Hour> {
  const { rows } = await database.pool.query<{ over: number }>(
    `update usage_clock set closed_through = date_trunc('hour', now(), 'UTC') - $1 * interval '1 hour'
     returning (extract(epoch from date_trunc('hour', now(), 'UTC')) / 3600)::integer - 1 as over`,
    [count + 1],
  );
  return rows[0]?.over ?? 0;
}

/** A transaction that holds an hour open, as one does that changed pins in it. */
async function holdHour(hour: Hour): Promise<PoolClient> {
  const client = await database.pool.connect();
  await client.query("set application_name = 'pinning-service'");
  await client.query("begin");
  await client.query("select pg_advisory_xact_lock_shared(815551, $1)", [hour]);
  return client;
}

describe("closing an hour", () => {
  test("closes those before it too, is done once, and never goes back", async () => {
    const over = await leaveHoursOpen(700);
    expect(await closeUsageHour(database.pool, over - 300, OPTIONS)).toBe(true);
    expect(await usageClosedThrough(database.pool)).toBe(over - 300);
    expect(await closeUsageHour(database.pool, over, OPTIONS)).toBe(true);
    expect(await closeUsageHour(database.pool, over, OPTIONS)).toBe(false);
    expect(await closeUsageHour(database.pool, over - 500, OPTIONS)).toBe(false);
    expect(await usageClosedThrough(database.pool)).toBe(over);
  });

  test("is refused while the hour runs by the database's clock", async () => {
    const over = await leaveHoursOpen(3);
    await expect(closeUsageHour(database.pool, over + 1, OPTIONS)).rejects.toMatchObject({
      code: "FULA_BILLING_HOUR",
      message: `The hour ${formatHour(over + 1)} cannot be closed: by the clock of the database it is not over.`,
    });
    expect(await usageClosedThrough(database.pool)).toBeLessThanOrEqual(over);
  });

  test("is done by one of eight who try at once, and none of them fails", async () => {
    const over = await leaveHoursOpen(20);
    const closed = await Promise.all(
      Array.from({ length: 8 }, async () => await closeUsageHour(database.pool, over, OPTIONS)),
    );
    expect(closed.filter(Boolean)).toHaveLength(1);
    expect(await usageClosedThrough(database.pool)).toBe(over);
  });

  test("waits for a transaction that changed pins in it, while others write on", async () => {
    const over = await leaveHoursOpen(2);
    const holder = await holdHour(over);
    const told = Promise.withResolvers<readonly UsageHolder[]>();
    const closing = closeUsageHour(database.pool, over, { ...OPTIONS, onWaiting: (holders) => told.resolve(holders) });
    const holders = await told.promise;
    expect(holders).toMatchObject([{ hour: over, applicationName: "pinning-service" }]);
    expect(holders[0]?.transactionBeganAt).toBeInstanceOf(Date);
    expect(await usageClosedThrough(database.pool)).toBe(over - 1);
    // Neither who writes now waits for the one who closes, nor the holder itself.
    await database.pool.query(INSERT, ["later", "ada", 10]);
    await holder.query(INSERT, ["mine", "bob", 10]);
    await holder.query("commit");
    holder.release(true);
    expect(await closing).toBe(true);
    expect(await usageAt(database.pool, 1n, over)).toBe(0n);
    expect(await usageAt(database.pool, 1n, over + 1)).toBe(10n);
  });

  test("gives up after its time, and names who holds which hour open", async () => {
    const over = await leaveHoursOpen(5);
    const holder = await holdHour(over - 2);
    const { rows } = await holder.query<{ pid: number }>("select pg_backend_pid() as pid");
    const pid = rows[0]?.pid;
    await expect(closeUsageHour(database.pool, over, { ...OPTIONS, waitMs: 0 })).rejects.toMatchObject({
      code: "FULA_USAGE_HELD",
      message: expect.stringMatching(
        new RegExp(
          `^The hour ${formatHour(over)} could not be closed in \\d+ s: pins that were changed in ${formatHour(over - 2)} are not committed yet, by pinning-service \\(pid ${pid}, 127\\.0\\.0\\.1\\), in a transaction since `,
        ),
      ),
      hint: `the next look tries again; a transaction that never ends is ended by: select pg_terminate_backend(${pid})`,
    });
    // What is before it is closed; the hours after it wait for it.
    expect(await usageClosedThrough(database.pool)).toBe(over - 3);
    holder.release(true);
  });

  test("ends with its signal, also while it waits", async () => {
    const over = await leaveHoursOpen(1);
    const holder = await holdHour(over);
    const controller = new AbortController();
    const closing = closeUsageHour(database.pool, over, {
      ...OPTIONS,
      signal: controller.signal,
      onWaiting: () => controller.abort(new Error("stopped")),
    });
    await expect(closing).rejects.toThrow("stopped");
    holder.release(true);
  });

  test("is refused to whoever has lost the lease, and changes nothing", async () => {
    const over = await leaveHoursOpen(1);
    await database.pool.query(
      "update cron_lease set epoch = 7, holder = 'master-1', session_pid = 1, taken_at = now(), renewed_at = now(), expires_at = now()",
    );
    const late = { ...OPTIONS, fence: { holder: "master-1", epoch: 6n } };
    await expect(closeUsageHour(database.pool, over, late)).rejects.toMatchObject({ code: "FULA_LEASE_LOST" });
    expect(await usageClosedThrough(database.pool)).toBe(over - 1);
    expect(await closeUsageHour(database.pool, over, { ...late, fence: { holder: "master-1", epoch: 7n } })).toBe(true);
  });
});

describe("a change of pins that comes after its hour was closed", () => {
  test("belongs to the first open hour, even where the server's clock says otherwise", async () => {
    const over = await leaveHoursOpen(0);
    await database.pool.query(INSERT, ["a", "ada", 10]);
    await database.pool.query("update usage_clock set closed_through = closed_through + interval '3 hours'");
    await database.pool.query(INSERT, ["b", "bob", 5]);
    expect(await usageAt(database.pool, 2n, over + 3)).toBe(0n);
    expect(await usageAt(database.pool, 2n, over + 4)).toBe(5n);
  });
});
