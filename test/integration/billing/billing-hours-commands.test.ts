import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { assertBillingMode } from "../../../src/lib/billing/mode-guard.ts";
import { verifyLedger } from "../../../src/lib/billing/verify.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { startLease } from "../../../src/lib/lease/lease.ts";
import { openSession } from "../../../src/lib/postgres/session.ts";
import { fillBilledLedger } from "../../support/billed-ledger.ts";
import { type CliRun, runCliForTest } from "../../support/cli.ts";
import { makeServingBox, type ServingBox } from "../../support/serving.ts";
import { until } from "../../support/until.ts";

let box: ServingBox;

beforeEach(async () => {
  box = await makeServingBox({ billing: { catchUpHours: 3 } });
});

afterEach(async () => {
  await box[Symbol.asyncDispose]();
});

async function run(...argv: readonly string[]): Promise<CliRun> {
  return await runCliForTest(["billing", ...argv], { baseDir: box.baseDir });
}

/** A ledger of which so many hours are over and none is billed. */
async function unbilledLedger(hours: number): Promise<void> {
  const { pool } = box.database;
  await fillBilledLedger(pool, hours);
  await pool.query("delete from billing_hours");
  await pool.query("delete from credit_history where tx_type = 'hourly_deduction'");
  await pool.query(
    `update user_credits c set billed_hour = null, total_deducted_fula = 0,
            balance_fula = (select sum(amount_fula) from credit_history e where e.user_id = c.user_id)`,
  );
}

/** `2026-11-20T03`, so many hours before the one that runs. */
async function hourAgo(hours: number): Promise<string> {
  const { rows } = await box.database.pool.query<{ hour: string }>(
    `select to_char((clock_timestamp() - $1::integer * interval '1 hour') at time zone 'UTC', 'YYYY-MM-DD"T"HH24') as hour`,
    [hours],
  );
  return rows[0]?.hour ?? "";
}

async function brokenChecks(): Promise<readonly string[]> {
  const { checks } = await verifyLedger(box.database.pool);
  return checks.filter(({ ok }) => !ok).map(({ name }) => name);
}

async function alertsStanding(): Promise<number> {
  const { rows } = await box.database.pool.query("select from billing_alerts where resolved_at is null");
  return rows.length;
}

describe("billing run", () => {
  test("bills the hours that wait, once, and gives the lease back", async () => {
    await unbilledLedger(3);
    const planned = await run("run", "--dry-run");
    expect(planned.stdout).toMatch(/^Would have 3 hours billed:\n/);
    expect(await brokenChecks()).toEqual(["hours"]);
    const done = await run("run", "--json");
    expect([done.exitCode, done.stderr]).toEqual([0, ""]);
    expect(JSON.parse(done.stdout)).toMatchObject({
      waitingFor: null,
      hours: [
        { state: "done", users: 3 },
        { state: "done", users: 3 },
        { state: "done", users: 2 },
      ],
    });
    expect(await brokenChecks()).toEqual([]);
    expect((await run("run")).stdout).toBe("No hour is to be billed.\n");
    const { rows } = await box.database.pool.query("select holder, epoch from cron_lease");
    expect(rows).toEqual([{ holder: null, epoch: "2" }]);
  });

  async function whileLeading(node: string, work: () => Promise<void>): Promise<void> {
    const lease = await startLease({
      connection: box.database.options,
      node,
      // Whatever the machine does meanwhile, it is the first epoch that is billed under.
      ttlMs: 600_000,
      exclusive: true,
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
      whileHeld: async (_fence, signal) => {
        await systemClock.sleep(600_000, signal).catch(() => {});
      },
    });
    try {
      await until("the lease is held", async () => lease.state().held);
      await work();
    } finally {
      await lease.release();
    }
  }

  test("begins nothing, and is not alarmed, where billing is off and nobody has billed yet", async () => {
    for (const argv of [["run", "--dry-run"], ["run"]]) {
      expect(await run(...argv)).toMatchObject({ exitCode: 0, stdout: "No hour is to be billed.\n" });
    }
    const { rows } = await box.database.pool.query("select from billing_mode");
    expect(rows).toEqual([]);
  });

  test("is refused where another master leads, by name, and nothing is billed", async () => {
    await unbilledLedger(2);
    await whileLeading("other", async () => {
      const refused = await run("run");
      expect(refused.exitCode).toBe(3);
      expect(refused.stderr).toContain("other holds the cron lease and bills. Nothing was done");
    });
    const { rows } = await box.database.pool.query("select from billing_hours");
    expect(rows).toEqual([]);
  });

  test("bills under the lease of serve on this box, and leaves it there", async () => {
    await unbilledLedger(2);
    await whileLeading("box-1", async () => {
      expect(await run("run")).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^2 hours billed:\n/) });
      const { rows } = await box.database.pool.query(
        "select distinct h.ended_by, h.ended_epoch, l.epoch as epoch, l.holder from billing_hours h, cron_lease l",
      );
      expect(rows).toEqual([{ ended_by: "box-1", ended_epoch: "1", epoch: "1", holder: "box-1" }]);
    });
    expect(await brokenChecks()).toEqual([]);
  });
});

test("billing run is refused without keys, a dry run too: each run would charge everybody once more", async () => {
  await run("mode", "unkeyed");
  for (const more of [[], ["--dry-run"]]) {
    const refused = await runCliForTest(["billing", "run", ...more], {
      baseDir: box.baseDir,
      env: { HOME: process.env["HOME"], PATH: process.env["PATH"], BILLING_IDEMPOTENCY: "false" },
    });
    expect([refused.exitCode, refused.stderr]).toEqual([3, expect.stringContaining("bill without keys")]);
  }
});

describe("hours that were left out", () => {
  test("are billed by backfill for what its dry run said, and their alert ends", async () => {
    await unbilledLedger(6);
    const look = await run("run", "--json");
    expect(JSON.parse(look.stdout).hours.map(({ state }: { readonly state: string }) => state)).toEqual([
      ...Array<string>(3).fill("skipped"),
      ...Array<string>(3).fill("done"),
    ]);
    expect(await alertsStanding()).toBe(1);
    expect(await brokenChecks()).toEqual(["hours"]);
    const planned = JSON.parse((await run("backfill", "--dry-run", "--json")).stdout);
    expect(await brokenChecks()).toEqual(["hours"]);
    const one = await run("backfill", "--from", await hourAgo(6), "--to", await hourAgo(6), "--json");
    const rest = await run("backfill", "--json");
    const done = [...JSON.parse(one.stdout).hours, ...JSON.parse(rest.stdout).hours];
    const bare = (lines: readonly { readonly hour: string; readonly users: number; readonly sumFula: string }[]) =>
      lines.map(({ hour, users, sumFula }) => ({ hour, users, sumFula }));
    expect(bare(done)).toEqual(bare(planned.hours));
    expect(done).toHaveLength(3);
    expect(await brokenChecks()).toEqual([]);
    expect(await alertsStanding()).toBe(0);
    expect((await run("backfill", "--from", await hourAgo(6))).exitCode).toBe(3);
    expect((await run("backfill")).stdout).toBe("No hour is to be billed.\n");
  });

  test("are waived with a reason, all or none, and nobody pays for them", async () => {
    await unbilledLedger(5);
    await run("run");
    const span = [await hourAgo(5), await hourAgo(4)];
    expect((await run("waive", ...span, "--yes")).exitCode).toBe(2);
    const dry = await run("waive", ...span, "--reason", "outage", "--dry-run");
    expect(dry.stdout).toMatch(/^Would have 2 hours waived:/);
    expect((await run("waive", await hourAgo(5), await hourAgo(1), "--reason", "outage", "--dry-run")).exitCode).toBe(
      3,
    );
    expect((await run("waive", await hourAgo(5), await hourAgo(1), "--reason", "outage", "--yes")).exitCode).toBe(3);
    expect(await brokenChecks()).toEqual(["hours"]);
    const done = await run("waive", ...span, "--reason", "outage", "--operator", "alice", "--yes");
    expect([done.exitCode, done.stdout]).toEqual([0, expect.stringMatching(/^2 hours waived:/)]);
    const { rows } = await box.database.pool.query(
      "select state, reason, ended_by from billing_hours where state = 'waived' order by hour",
    );
    expect(rows).toEqual([
      { state: "waived", reason: "outage", ended_by: "alice" },
      { state: "waived", reason: "outage", ended_by: "alice" },
    ]);
    const { rows: noted } = await box.database.pool.query(
      "select actor, action, details ->> 'reason' as reason from admin_audit_log",
    );
    const note = { actor: "alice", action: "billing.waive", reason: "outage" };
    expect(noted).toEqual([note, note]);
    expect(await brokenChecks()).toEqual([]);
    expect(await alertsStanding()).toBe(0);
    expect((await run("waive", span[1] ?? "", span[0] ?? "", "--reason", "x", "--yes")).exitCode).toBe(2);
  });
});

describe("billing mode", () => {
  test("shows how the ledger is billed, changes it, and is refused while a master serves in the other one", async () => {
    expect((await run("mode")).stdout).toMatch(/^Nobody has billed this ledger yet\./);
    expect((await run("mode", "keyed", "--dry-run")).stdout).toMatch(
      /^Nobody has billed this ledger yet\.\nWould bill it by the hour's key/,
    );
    expect((await run("mode", "keyed")).stdout).toMatch(
      /^This ledger is billed by the hour's key[\s\S]*written by box-1 at/,
    );
    const changed = await run("mode", "unkeyed");
    expect(changed.stdout).toMatch(/billed without keys[\s\S]*BILLING_IDEMPOTENCY of this master says keyed/);
    await using session = await openSession({ ...box.database.options, part: "lease", node: "other" }, systemClock);
    await assertBillingMode(session.client, "unkeyed", "other");
    const refused = await run("mode", "keyed");
    expect([refused.exitCode, refused.stderr]).toEqual([3, expect.stringContaining("fula-master/lease@other")]);
    expect(JSON.parse((await run("mode", "--json")).stdout)).toMatchObject({ mode: "unkeyed", setting: "keyed" });
    expect((await run("mode", "sometimes")).exitCode).toBe(2);
  });
});
