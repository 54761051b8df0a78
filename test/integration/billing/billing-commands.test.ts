import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { checkBilling } from "../../../src/lib/stack/doctor-billing.ts";
import { readBilling } from "../../../src/lib/stack/status-billing.ts";
import { type CliRun, runCliForTest } from "../../support/cli.ts";
import { fillBilledLedger, keyAgo, userOf } from "../../support/billed-ledger.ts";
import { makeServingBox, type ServingBox } from "../../support/serving.ts";

let box: ServingBox;

beforeEach(async () => {
  box = await makeServingBox();
});

afterEach(async () => {
  await box[Symbol.asyncDispose]();
});

async function run(...argv: readonly string[]): Promise<CliRun> {
  return await runCliForTest(["billing", ...argv], { baseDir: box.baseDir });
}

describe("billing verify", () => {
  test("exits 0 for right books, 1 for wrong ones, and says which check found what", async () => {
    const { pool } = box.database;
    await fillBilledLedger(pool, 3);
    const right = await run("verify");
    expect([right.exitCode, right.stderr]).toEqual([0, ""]);
    expect(right.stdout).toMatch(/^The books are right\.\n {2}4 accounts, 12 entries, 3 hours, as they were at /);
    await pool.query("update user_credits set balance_fula = 0 where user_id = $1", [userOf(0)]);
    const wrong = await run("verify");
    expect(wrong.exitCode).toBe(1);
    expect(wrong.stdout).toContain("The books are NOT right: 2 of");
    expect(wrong.stdout).toMatch(/BAD {2}balances: 1 finding against "every balance is its opening balance/);
    const bounded = await run("verify", "--hours", "1", "--json");
    expect(JSON.parse(bounded.stdout)).toMatchObject({
      ok: false,
      looked: { hours: 1 },
      notLookedAt: [{ name: "history" }, { name: "balances" }, { name: "totals" }],
    });
  });

  test("exits 4 where the ledger cannot be read, and never says that it is right", async () => {
    await box.database.pool.query("alter table stored_contents rename to elsewhere");
    const { exitCode, stdout, stderr } = await run("verify");
    expect([exitCode, stdout]).toEqual([4, ""]);
    expect(stderr).toContain("FULA_LEDGER_UNREADABLE");
  });

  test.each([
    ["--hours", "0"],
    ["--since", "yesterday"],
  ])("refuses %s %s", async (option, value) => {
    expect((await run("verify", option, value)).exitCode).toBe(2);
  });
});

describe("billing status", () => {
  test("of a ledger that nobody bills exits 1 and says what to do", async () => {
    const { pool } = box.database;
    await fillBilledLedger(pool, 3);
    const { exitCode, stdout } = await run("status", "--json");
    expect(exitCode).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({
      state: "bad",
      on: false,
      because: "billing.vaultAddress is not set",
      mode: "keyed",
      leader: { standing: "free", holder: null },
      hoursBehind: 0,
      lastHour: { hour: (await keyAgo(pool, 1)).replace("hour:", "").concat(":00:00Z"), users: 2, by: "test" },
      problems: [{ id: "nobody-leads", severity: "bad" }],
    });
    expect((await run("status")).stdout).toMatch(/^Billing: NOT WELL\n[\s\S]*BAD {2}Billing is off here/);
  });

  test("of a ledger that was never billed, with billing off, is well", async () => {
    const { exitCode, stdout } = await run("status");
    expect([exitCode, stdout.split("\n")[0]]).toEqual([0, "Billing: well"]);
  });

  test("counts hours that wait and hours that were left out, and shows alerts with what to do", async () => {
    const { pool } = box.database;
    await fillBilledLedger(pool, 5);
    await pool.query("delete from billing_hours where hour >= date_trunc('hour', now(), 'UTC') - interval '2 hours'");
    await pool.query(
      "update billing_hours set state = 'skipped', users = null, sum_fula = null where hour = (select min(hour) from billing_hours)",
    );
    await pool.query("insert into billing_alerts (kind, subject) values ('hours-skipped', 'hour:2026-01-01T00')");
    const { exitCode, stdout } = await run("status", "--json");
    expect(exitCode).toBe(1);
    const report = JSON.parse(stdout);
    expect(report).toMatchObject({ hoursBehind: 2, skippedCount: 1, alerts: [{ kind: "hours-skipped" }] });
    expect(report.problems.map(({ id }: { readonly id: string }) => id)).toEqual([
      "nobody-leads",
      "hours-behind",
      "hours-skipped",
      "alert-hours-skipped",
    ]);
  });
});

describe("billing alerts", () => {
  test("lists what stands, and ends one in the operator's name", async () => {
    const { pool } = box.database;
    const raised = await pool.query<{ alert_id: string }>(
      "insert into billing_alerts (kind, subject, details) values ('amount-differs', 'hour:2026-01-01T00', '{\"users\": 2}') returning alert_id",
    );
    const id = raised.rows[0]?.alert_id ?? "";
    const listed = await run("alerts");
    expect(listed.exitCode).toBe(1);
    expect(listed.stdout).toMatch(
      /amount-differs hour:2026-01-01T00, since [\s\S]*\{"users":2\}\n {3}Try: other software charged/,
    );
    expect((await run("alerts", "resolve", id, "--dry-run")).stdout).toContain(`Would resolve alert ${id}`);
    expect((await run("alerts")).exitCode).toBe(1);
    expect((await run("alerts", "resolve", id)).exitCode).toBe(0);
    expect(await run("alerts")).toMatchObject({ exitCode: 0, stdout: "No alert stands.\n" });
    const { rows } = await pool.query<{ resolved_by: string }>("select resolved_by from billing_alerts");
    expect(rows).toEqual([{ resolved_by: "operator@box-1" }]);
    expect((await run("alerts", "resolve", id)).exitCode).toBe(2);
    expect((await run("alerts", "resolve", "x")).exitCode).toBe(2);
  });
});

describe("status and doctor", () => {
  test("say in one line that nobody bills, and what to do", async () => {
    await fillBilledLedger(box.database.pool, 3);
    const limits = { clock: systemClock, signal: new AbortController().signal, limitMs: 10_000 };
    const loaded = await box.load();
    expect(await readBilling(loaded, limits)).toMatchObject({
      state: "bad",
      problem: expect.stringMatching(/^Billing is off here .* Try: fula-master config set billing\.enabled on/),
      on: false,
      leader: null,
      hoursBehind: 0,
      alerts: 0,
    });
    expect(await checkBilling(loaded, box.database.pool)).toEqual([
      expect.objectContaining({ state: "failed", code: "FULA_CHECK_FAILED" }),
    ]);
  });

  test("do not call billing well that could not be looked at", async () => {
    await box.database.pool.query("alter table billing_hours rename to elsewhere");
    const limits = { clock: systemClock, signal: new AbortController().signal, limitMs: 10_000 };
    expect(await readBilling(await box.load(), limits)).toMatchObject({ state: "bad", on: null, hoursBehind: null });
  });
});
