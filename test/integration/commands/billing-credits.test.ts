import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { creditUser } from "../../../src/lib/billing/credits.ts";
import { accountOf, deposit, emptyBooks, entriesOf, refer, userId } from "../billing/ledger.ts";
import { type CliRun, runCliForTest } from "../../support/cli.ts";
import { makeServingBox, type ServingBox } from "../../support/serving.ts";

const ADA = "ada@example.com";
const REASON = ["--reason", "ticket 118"];

let box: ServingBox;
beforeAll(async () => {
  box = await makeServingBox();
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});
beforeEach(async () => {
  await emptyBooks(box.database.pool);
});

async function billing(...argv: readonly string[]): Promise<CliRun> {
  return await runCliForTest(["billing", ...argv], { baseDir: box.baseDir, env: { USER: "carol" } });
}

/** What a command printed with `--json`. */
async function json(...argv: readonly string[]): Promise<Record<string, unknown>> {
  const { stdout, stderr, exitCode } = await billing(...argv, "--json");
  expect([exitCode, stderr.includes("Error")]).toEqual([0, false]);
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- every one of them prints an object
  return JSON.parse(stdout) as Record<string, unknown>;
}

async function audited(): Promise<readonly unknown[]> {
  const { rows } = await box.database.pool.query(
    "select actor, action, target_id, details - 'entryId' as details from admin_audit_log order by id",
  );
  return rows;
}

describe("billing adjust", () => {
  test("gives with a reason and the name of who did it, which the ledger keeps", async () => {
    await creditUser(box.database.pool, deposit("ada", "1", "1:0xab:0"));
    const report = await json("adjust", ADA, "12.5", ...REASON, "--key", "Ticket-118");
    expect(report).toEqual({
      dryRun: false,
      userId: userId("ada"),
      amount: "12.5",
      reason: "ticket 118",
      operator: expect.stringMatching(/^carol@./),
      key: "Ticket-118",
      reference: "adjustment:ticket-118",
      applied: true,
      entryId: "2",
      balanceBefore: "1",
      balance: "13.5",
      isSuspended: false,
    });
    expect(await audited()).toEqual([
      {
        actor: report["operator"],
        action: "billing.adjust",
        target_id: userId("ada"),
        details: { amount: "12.5", reason: "ticket 118", reference: "adjustment:ticket-118" },
      },
    ]);
  });

  test("counts a key once, also in another case, and refuses it for another amount", async () => {
    await creditUser(box.database.pool, deposit("ada", "1", "1:0xab:0"));
    await billing("adjust", ADA, "2", ...REASON, "--key", "t-1");
    const again = await billing("adjust", ADA, "2", ...REASON, "--key", "T-1");
    expect([again.exitCode, again.stdout]).toEqual([
      0,
      `Already so: entry 2 did it under this key. The balance of ${userId("ada")} is 3 FULA.\n`,
    ]);
    const other = await billing("adjust", ADA, "3", ...REASON, "--key", "t-1");
    expect([other.exitCode, other.stderr]).toEqual([3, expect.stringContaining("FULA_CREDIT_REFERENCE_TAKEN")]);
    expect(await accountOf(box.database.pool, "ada")).toMatchObject({ balance: "3" });
    expect((await audited()).length).toBe(1);
  });

  test("with --dry-run tells a key that was used, for the same or for something else", async () => {
    await creditUser(box.database.pool, deposit("ada", "1", "1:0xab:0"));
    await billing("adjust", ADA, "2", ...REASON, "--key", "t-1");
    const same = await billing("adjust", ADA, "2", ...REASON, "--key", "t-1", "--dry-run");
    expect([same.exitCode, same.stdout]).toEqual([0, expect.stringContaining("Already so: entry 2")]);
    const other = await billing("adjust", ADA, "-2", ...REASON, "--key", "t-1", "--dry-run");
    expect([other.exitCode, other.stderr]).toEqual([3, expect.stringContaining("FULA_CREDIT_REFERENCE_TAKEN")]);
  });

  test("tells the key that it draws before anything is written", async () => {
    await creditUser(box.database.pool, deposit("ada", "1", "1:0xab:0"));
    const { stderr } = await billing("adjust", ADA, "2", ...REASON);
    const key = /--key (\S+)/.exec(stderr)?.[1] ?? "";
    expect(await entriesOf(box.database.pool, "ada")).toMatchObject([{}, { reference: `adjustment:${key}` }]);
  });

  test("takes only when it was told to, and suspends whom it takes below zero", async () => {
    await creditUser(box.database.pool, deposit("ada", "1", "1:0xab:0"));
    const asked = await billing("adjust", ADA, "-3", ...REASON);
    expect([asked.exitCode, asked.stderr]).toEqual([3, expect.stringContaining(`Take 3 FULA from ${userId("ada")}?`)]);
    expect(await accountOf(box.database.pool, "ada")).toMatchObject({ balance: "1" });
    const taken = await billing("adjust", ADA, "-3", ...REASON, "--yes");
    expect([taken.exitCode, taken.stdout]).toEqual([
      0,
      `Changed the balance of ${userId("ada")} by -3 FULA, to -2 (entry 2); the account is suspended.\n`,
    ]);
  });

  test("with --dry-run says what would come of it, and writes nothing", async () => {
    await creditUser(box.database.pool, deposit("ada", "1", "1:0xab:0"));
    const { stdout } = await billing("adjust", ADA, "-3", ...REASON, "--dry-run");
    expect(stdout).toBe(
      `Would change the balance of ${userId("ada")} by -3 FULA, from 1 to -2; the account would be suspended.\n`,
    );
    expect((await entriesOf(box.database.pool, "ada")).length).toBe(1);
    expect(await audited()).toEqual([]);
  });

  test.each([
    [
      "an unknown address, naming the one that is like it",
      ["adja@example.com", "1", ...REASON],
      "did you mean ada@example.com?",
    ],
    ["an id that was cut off", [userId("ada").slice(0, 60), "1", ...REASON], `did you mean ${userId("ada")}?`],
    ["what is no user at all", ["ada", "1", ...REASON], "neither an e-mail address nor a user id"],
    ["what is no amount", [ADA, "1e3", ...REASON], "no amount of FULA"],
    ["zero", [ADA, "0", ...REASON], "would change nothing"],
    ["no reason", [ADA, "1"], "needs --reason"],
    ["a reason of two lines", [ADA, "1", "--reason", "a\nb"], "one line"],
  ])("refuses %s with exit code 2, and nothing is changed", async (_what, argv, message) => {
    await creditUser(box.database.pool, deposit("ada", "1", "1:0xab:0"));
    await box.database.pool.query("insert into webui_users (user_id, email) values ($1, 'Ada@example.com')", [
      userId("ada"),
    ]);
    const { exitCode, stderr } = await billing("adjust", ...argv);
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining(message)]);
    const { rows } = await box.database.pool.query(
      "select (select count(*) from user_credits) as a, (select count(*) from credit_history) as e",
    );
    expect(rows).toEqual([{ a: "1", e: "1" }]);
  });
});

describe("billing reverse", () => {
  test("takes a deposit back with its bonuses, once, by its reference or its entry", async () => {
    await refer(box.database.pool, "bob", "ada");
    await creditUser(box.database.pool, deposit("ada", "100", "8453:0xab:3"));
    const planned = await billing("reverse", "8453:0xAB:3", ...REASON, "--dry-run");
    expect(planned.stdout).toBe(
      `Would take back deposit 1: 100 FULA from ${userId("ada")}.\nLevel 1: 10 FULA of bonus from ${userId("bob")}.\n`,
    );
    const asked = await billing("reverse", "1", ...REASON);
    expect([asked.exitCode, asked.stderr]).toEqual([3, expect.stringContaining("Take the deposit of 100 FULA back")]);
    expect(await accountOf(box.database.pool, "ada")).toMatchObject({ balance: "100" });
    expect(await json("reverse", "8453:0xAB:3", ...REASON, "--yes")).toEqual({
      dryRun: false,
      entryId: "1",
      userId: userId("ada"),
      reference: "8453:0xab:3",
      amount: "100",
      bonuses: [{ userId: userId("bob"), level: 1, amount: "10" }],
      applied: true,
      reversalEntryId: "3",
      balance: "0",
    });
    const again = await billing("reverse", "1", ...REASON);
    expect([again.exitCode, again.stdout]).toEqual([0, "Already so: entry 3 has taken deposit 1 back.\n"]);
    expect(await accountOf(box.database.pool, "bob")).toMatchObject({ balance: "0", bonus: "0" });
    expect((await audited()).length).toBe(1);
  });

  test("refuses what is no deposit with exit code 3, and what is not there with 2", async () => {
    await creditUser(box.database.pool, deposit("ada", "1", "1:0xab:0"));
    await billing("adjust", ADA, "1", ...REASON);
    const wrong = await billing("reverse", "2", ...REASON, "--yes");
    expect([wrong.exitCode, wrong.stderr]).toEqual([3, expect.stringContaining("Entry 2 is of type adjustment")]);
    const missing = await billing("reverse", "1:0xff:0", ...REASON, "--yes");
    expect([missing.exitCode, missing.stderr]).toEqual([2, expect.stringContaining("FULA_ENTRY_NOT_FOUND")]);
    const unreadable = await billing("reverse", "0xff", ...REASON, "--yes");
    expect(unreadable.exitCode).toBe(2);
  });
});

describe("billing history", () => {
  test("shows the account and its entries, the newest first, with the reasons of operators", async () => {
    await creditUser(box.database.pool, deposit("ada", "10", "8453:0xab:3"));
    await billing("adjust", ADA, "-2.5", ...REASON, "--yes", "--operator", "dave", "--key", "t-9");
    const { stdout } = await billing("history", ADA);
    expect(stdout.replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/g, "2026-11-20 03:00:00")).toMatchInlineSnapshot(`
      "Balance 7.5 FULA, active; stores 0 B (500 MiB are free), which costs 0 FULA a month.
      ENTRY  TIME (UTC)           TYPE        AMOUNT  BALANCE  REFERENCE       WHY
      2      2026-11-20 03:00:00  adjustment    -2.5      7.5  adjustment:t-9  dave: ticket 118
      1      2026-11-20 03:00:00  deposit         10       10  8453:0xab:3
      Page 1, 20 entries at most, of 2.
      "
    `);
    expect(await json("history", ADA, "--limit", "1")).toMatchObject({
      userId: userId("ada"),
      account: { balance: "7.5", storedBytes: 0, totalDeposited: "10", isSuspended: false, canUpload: true },
      entries: [
        { id: "2", type: "adjustment", amount: "-2.5", balanceAfter: "7.5", operator: "dave", reason: "ticket 118" },
      ],
      total: 2,
      nextCursor: "2",
    });
  });

  test("of an account without entries says so, and of a page that cannot be exits with 2", async () => {
    await box.database.pool.query("insert into user_credits (user_id) values ($1)", [userId("ada")]);
    expect((await billing("history", ADA)).stdout).toContain("No entries.");
    expect((await billing("history", ADA, "--limit", "101")).exitCode).toBe(2);
    expect((await billing("history", ADA, "--cursor", "here")).exitCode).toBe(2);
  });
});

describe("billing suspended and unsuspend", () => {
  test("list who may not upload, and let him upload by an operator's word, with a warning where it does not last", async () => {
    expect((await billing("suspended")).stdout).toBe("No account is suspended.\n");
    const { pool } = box.database;
    await pool.query(
      "insert into user_credits (user_id, balance_fula, opening_fula, is_suspended, suspended_at) values ($1, -0.5, -0.5, 1, '2026-11-01T10:00:00Z')",
      [userId("ada")],
    );
    await pool.query("insert into user_usage (account_id, bytes) select id, 10737418240 from user_credits");
    expect((await billing("suspended")).stdout).toMatch(new RegExp(`${userId("ada")} +-0.5 +10 GiB +2026-11-01 10:00`));
    const report = await json("unsuspend", ADA, ...REASON);
    expect(report).toEqual({
      dryRun: false,
      userId: userId("ada"),
      wasSuspended: true,
      unsuspended: true,
      balance: "-0.5",
      willSuspendAgain: true,
    });
    expect(await accountOf(pool, "ada")).toMatchObject({ suspended: false, since: null });
    expect(await audited()).toMatchObject([
      { action: "billing.unsuspend", details: { reason: "ticket 118", balance: "-0.5" } },
    ]);
    expect((await billing("unsuspend", ADA, ...REASON)).stdout).toBe(
      `Already so: ${userId("ada")} is not suspended.\n`,
    );
    expect((await audited()).length).toBe(1);
  });

  test("a dry run lifts nothing", async () => {
    await box.database.pool.query(
      "insert into user_credits (user_id, balance_fula, is_suspended, suspended_at) values ($1, 1, 1, now())",
      [userId("ada")],
    );
    expect((await billing("unsuspend", ADA, ...REASON, "--dry-run")).stdout).toBe(
      `Would lift the suspension of ${userId("ada")}, whose balance is 1 FULA.\n`,
    );
    expect(await accountOf(box.database.pool, "ada")).toMatchObject({ suspended: true });
  });
});
