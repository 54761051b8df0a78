import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { closeUsageHour } from "../../../src/lib/billing/usage-close.ts";
import { usageAt, usageClosedThrough } from "../../../src/lib/billing/usage.ts";
import { compareUsage } from "../../../src/lib/billing/reconcile.ts";
import { repairUsage } from "../../../src/lib/billing/reconcile-repair.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { type CliRun, runCliForTest } from "../../support/cli.ts";
import { makeServingBox, type ServingBox } from "../../support/serving.ts";
import { until } from "../../support/until.ts";
import { endOpenHour, historyFaults, keptUsage } from "../../support/usage.ts";

let box: ServingBox;
beforeAll(async () => {
  box = await makeServingBox();
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

const INSERT = "insert into pins (requestid, user_id, cid, size, status) values ($1, $2, $3, $4, 'pinned')";

async function run(sql: string, values: readonly unknown[] = []): Promise<void> {
  await box.database.pool.query(sql, [...values]);
}

beforeEach(async () => {
  await run(`
    truncate pins, bucket_roots, admin_audit_log;
    delete from stored_contents; delete from usage_history; delete from user_usage; delete from user_credits;
    alter sequence user_credits_id_seq restart;
    update usage_clock set closed_through = date_trunc('hour', now(), 'UTC') - interval '1 hour'`);
  await run(INSERT, ["a", "ada", "bafyone", 100]);
  await run(INSERT, ["b", "bob", "bafyone", 50]);
});

async function reconcile(...argv: readonly string[]): Promise<CliRun> {
  return await runCliForTest(["billing", "reconcile", ...argv], { baseDir: box.baseDir, env: { USER: "carol" } });
}

async function json(exitCode: number, ...argv: readonly string[]): Promise<Record<string, unknown>> {
  const ran = await reconcile(...argv, "--json");
  expect([ran.exitCode, ran.stderr]).toEqual([exitCode, ""]);
  return z.record(z.string(), z.unknown()).parse(JSON.parse(ran.stdout));
}

/** Five ways in which what is kept can come to differ, each done to a database of its own making. */
const BREAKS = [
  [
    "pins that came while the triggers were off",
    "alter table pins disable trigger user; insert into pins (requestid, user_id, cid, size, status) values ('c', 'ada', 'bafytwo', 7, 'pinned'); alter table pins enable trigger user",
    { userId: "ada", bytesKept: "100", bytesFound: "107", bytesInHistory: "100", contents: 1 },
  ],
  [
    "a user whose first pins came while the triggers were off",
    "alter table pins disable trigger user; insert into pins (requestid, user_id, cid, size, status) values ('c', 'eve', 'bafytwo', 7, 'pinned'); alter table pins enable trigger user",
    { userId: "eve", accountId: null, bytesKept: "0", bytesFound: "7", bytesInHistory: "0", contents: 1 },
  ],
  [
    "a bucket that was made while the triggers were off",
    "alter table bucket_roots disable trigger user; insert into bucket_roots (owner_id, bucket, root_cid, format, user_id, total_bytes, object_count) values ('o', 'photos', 'bafyroot', 1, 'ada', 30, 2); alter table bucket_roots enable trigger user",
    { userId: "ada", bytesKept: "100", bytesFound: "130", bytesInHistory: "100", contents: 1 },
  ],
  [
    "a bucket that shrank while the triggers were off",
    "insert into bucket_roots (owner_id, bucket, root_cid, format, user_id, total_bytes, object_count) values ('o', 'photos', 'bafyroot', 1, 'bob', 30, 2); alter table bucket_roots disable trigger user; update bucket_roots set total_bytes = 10; alter table bucket_roots enable trigger user",
    { userId: "bob", bytesKept: "80", bytesFound: "60", bytesInHistory: "80", contents: 1 },
  ],
  [
    "a sum that was changed by hand",
    "update user_usage set bytes = 1 where account_id = 1",
    { userId: "ada", bytesKept: "1", bytesFound: "100", bytesInHistory: "100", contents: 0 },
  ],
  [
    "a content that was lost",
    "delete from stored_contents where account_id = 2",
    { userId: "bob", bytesKept: "50", bytesFound: "50", bytesInHistory: "50", contents: 1 },
  ],
  [
    "a content without a pin",
    "insert into stored_contents (account_id, cid, bytes) values (2, 'bafysix', 5); update user_usage set bytes = 55 where account_id = 2",
    { userId: "bob", bytesKept: "55", bytesFound: "50", bytesInHistory: "50", contents: 1 },
  ],
  [
    "history that was lost",
    "delete from usage_history where account_id = 1",
    { userId: "ada", bytesKept: "100", bytesFound: "100", bytesInHistory: "0", contents: 0 },
  ],
  [
    "history of another hour",
    "update usage_history set hour = hour + interval '2 hours' where account_id = 1",
    { userId: "ada", bytesKept: "100", bytesFound: "100", bytesInHistory: "100", contents: 0 },
  ],
] as const;

describe("billing reconcile", () => {
  test("finds nothing where everybody is billed by what is pinned", async () => {
    expect(await json(0)).toEqual({
      ok: true,
      dryRun: false,
      accounts: 2,
      differing: 0,
      repaired: 0,
      differences: [],
      uncounted: { withoutUser: 0, unmeasured: 0, overlong: 0 },
    });
    expect((await reconcile()).stdout).toBe("2 accounts looked at; each stores what its pins and buckets add up to.\n");
  });

  test.each(BREAKS)("finds %s, and sets it right when told, once", async (_what, broken, difference) => {
    await run(broken);
    const found = { ok: false, differing: 1, repaired: 0, differences: [expect.objectContaining(difference)] };
    expect(await json(1)).toMatchObject(found);
    expect(await json(1, "--repair", "--dry-run")).toMatchObject({ ...found, dryRun: true });
    expect(await json(1)).toMatchObject(found);
    expect(await json(0, "--repair")).toMatchObject({ ...found, ok: true, repaired: 1 });
    expect(await json(0, "--repair")).toMatchObject({ differing: 0, repaired: 0 });
    expect((await keptUsage(box.database.pool)).get(difference.userId)).toBe(BigInt(difference.bytesFound));
    expect(await historyFaults(box.database.pool)).toEqual([]);
    const { rows } = await box.database.pool.query("select actor, action, target_id, details from admin_audit_log");
    expect(rows).toEqual([
      {
        actor: expect.stringMatching(/^carol@./),
        action: "billing.reconcile",
        target_id: difference.userId,
        details: { bytesBefore: difference.bytesKept, bytes: difference.bytesFound, contents: difference.contents },
      },
    ]);
  });

  test("tells how many differ where it does not list them all, those that differ by most first", async () => {
    await run("update user_usage set bytes = bytes + account_id");
    const report = await json(1, "--limit", "1");
    expect(report).toMatchObject({ differing: 2, differences: [{ userId: "bob", bytesKept: "52" }] });
    expect((await reconcile("--limit", "1")).stdout).toBe(
      "USER  KEPT  FOUND  HISTORY  CONTENTS\n" +
        "bob     52     50       50         0\n" +
        "1 of 2; --limit shows more.\n" +
        "2 accounts of 2 not billed by what pins and buckets add up to; --repair sets them right.\n",
    );
    expect((await reconcile("--repair", "--limit", "1")).stdout).toContain(
      "2 accounts set right, from the open hour on.",
    );
    expect((await reconcile("--limit", "0")).exitCode).toBe(2);
  });

  test("counts what is pinned and billed to nobody", async () => {
    await run(INSERT, ["c", null, "bafyone", 5]);
    await run(INSERT, ["d", "ada", "bafytwo", 0]);
    await run(INSERT, ["e", "ada", "bafysix", null]);
    await run(INSERT, ["f", "ada", "b".repeat(1_025), 5]);
    expect(await json(0)).toMatchObject({ uncounted: { withoutUser: 1, unmeasured: 2, overlong: 1 } });
    expect((await reconcile()).stdout).toContain(
      "Pinned, and billed to nobody: 1 pin that name no user, 2 pins that have no known size, 1 pin that have no CID but a longer text.",
    );
  });

  test.each([
    ["a wrong sum", "update usage_history set bytes = bytes + 1"],
    ["lost history", "delete from usage_history"],
    ["history of an hour to come", "update usage_history set hour = hour + interval '5 hours'"],
  ])("leaves hours that are over as they were billed, also with %s", async (_what, broken) => {
    const { pool } = box.database;
    await run("update usage_history set hour = hour - interval '2 hours'");
    await run("update user_usage set changed_hour = changed_hour - interval '2 hours', bytes = bytes + 1");
    await run(broken);
    const past = await usageClosedThrough(pool);
    expect(await json(0, "--repair")).toMatchObject({ repaired: 2 });
    expect(await json(0)).toMatchObject({ differing: 0 });
    expect([await usageAt(pool, 1n, past - 1), await usageAt(pool, 1n, past)]).toEqual([101n, 101n]);
    expect(await usageAt(pool, 1n, past + 9)).toBe(100n);
  });
});

describe("setting an account right", () => {
  test("reckons with pins that change meanwhile, and with the hour that is open by then", async () => {
    const { pool } = box.database;
    await run("update user_usage set bytes = 1 where account_id = 1");
    const { differences } = await compareUsage(pool, null);
    const [difference] = differences;
    if (difference === undefined) throw new Error("nothing differs");
    const writer = await pool.connect();
    await writer.query("begin");
    await writer.query(INSERT, ["c", "ada", "bafytwo", 7]);
    const repairing = repairUsage(pool, difference, { operator: "carol" });
    await until("the repair waits for the account", async () => {
      const { rows } = await pool.query(
        "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
      );
      return rows.length > 0;
    });
    await writer.query("commit");
    writer.release();
    expect(await repairing).toBe(107n);
    expect(await compareUsage(pool, null)).toMatchObject({ differing: 0 });
    const closed = await endOpenHour(pool);
    expect(await usageAt(pool, 1n, closed)).toBe(107n);
    expect(await closeUsageHour(pool, closed, { fence: null, clock: systemClock })).toBe(false);
  });
});
