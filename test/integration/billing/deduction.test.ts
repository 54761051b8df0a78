import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { standingAlerts } from "../../../src/lib/billing/alerts.ts";
import { runDeduction } from "../../../src/lib/billing/deduction.ts";
import { completeHour, openHour, openSkippedHour, readHourSums } from "../../../src/lib/billing/hours.ts";
import { backfillHour, skippedHours, waiveHours } from "../../../src/lib/billing/late-hours.ts";
import { policyOf } from "../../../src/lib/billing/policy.ts";
import { liftSuspensions } from "../../../src/lib/billing/suspension.ts";
import { closeUsageHour } from "../../../src/lib/billing/usage-close.ts";
import { hourlyFee } from "../../../src/lib/billing/fee.ts";
import { formatHour, hourKey } from "../../../src/lib/billing/hour.ts";
import { formatUnits, parseUnits } from "../../../src/lib/billing/money.ts";
import { FakeClock } from "../../support/clock.ts";
import { freshDatabase, type TestDatabase } from "../../support/postgres.ts";
import { until } from "../../support/until.ts";
import {
  deductionDeps,
  fillUnbilledLedger,
  GIB,
  readBooks,
  unbalanced,
  userId,
} from "../../support/unbilled-ledger.ts";

const POLICY = { freeTierBytes: 524_288_000n, fulaPerGibMonth: parseUnits("3") };
const feeOf = (bytes: bigint): bigint => hourlyFee(bytes, POLICY);

let database: TestDatabase;
beforeEach(async () => {
  database = await freshDatabase();
});
afterEach(async () => {
  await database.drop();
});

describe("a look for unbilled hours", () => {
  test("bills every hour that was missed, each by what was stored at its end, and never the one that runs", async () => {
    const { pool } = database;
    const first = await fillUnbilledLedger(pool, 3, [
      { name: "steady", balance: "100", bytes: [10n * GIB] },
      { name: "growing", balance: "100", bytes: [GIB, 4n * GIB, 2n * GIB] },
      { name: "free", balance: "0", bytes: [524_288_000n] },
      { name: "late", balance: "1", bytes: [0n, 0n, GIB] },
    ]);

    const report = await runDeduction(deductionDeps(pool));

    expect(report.waitingFor).toBeNull();
    expect(report.hours.map(({ hour, state, users }) => [hour - first, state, users])).toEqual([
      [0, "done", 2],
      [1, "done", 2],
      [2, "done", 3],
    ]);
    expect(report.hours[1]?.sumUnits).toBe(feeOf(10n * GIB) + feeOf(4n * GIB));
    const books = await readBooks(pool, ["steady", "growing", "free", "late"]);
    const key = (index: number): string => hourKey(first + index);
    const fee = (bytes: bigint): string => formatUnits(feeOf(bytes));
    expect(books["steady"]?.fees).toEqual([0, 1, 2].map((index) => [key(index), fee(10n * GIB)]));
    expect(books["growing"]?.fees).toEqual([
      [key(0), fee(GIB)],
      [key(1), fee(4n * GIB)],
      [key(2), fee(2n * GIB)],
    ]);
    expect(books["free"]).toEqual({ balance: "0", isSuspended: false, fees: [] });
    expect(books["late"]?.fees).toEqual([[key(2), fee(GIB)]]);
    expect(await unbalanced(pool)).toEqual([]);
    expect((await runDeduction(deductionDeps(pool))).hours).toEqual([]);
  });

  test("charges every user of an hour by a handful of statements, however many they are", async () => {
    const { pool } = database;
    const first = await fillUnbilledLedger(pool, 1, []);
    await pool.query(
      "insert into user_credits (user_id) select encode(sha256(n::text::bytea), 'hex') from generate_series(1, 5000) n",
    );
    await pool.query("insert into user_usage (account_id, bytes, changed_hour) select id, 2e9, $1 from user_credits", [
      formatHour(first),
    ]);
    let statements = 0;
    const counting = new Proxy(pool, {
      get: (target, name) => {
        if (name === "query") statements += 1;
        const value: unknown = Reflect.get(target, name);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });

    const report = await runDeduction(deductionDeps(counting));

    expect(report.hours.map(({ users, sumUnits }) => [users, sumUnits])).toEqual([
      [5000, 5000n * feeOf(2_000_000_000n)],
    ]);
    expect(statements).toBeLessThan(20);
    expect(await unbalanced(pool)).toEqual([]);
  });

  test("takes the last unit off a balance of ten million, hour after hour", async () => {
    const { pool } = database;
    const hours = 24;
    await fillUnbilledLedger(pool, hours, [{ name: "rich", balance: "10000000", bytes: [100n * GIB] }]);
    await runDeduction(deductionDeps(pool));
    const books = await readBooks(pool, ["rich"]);
    expect(books["rich"]?.balance).toBe(formatUnits(parseUnits("10000000") - BigInt(hours) * feeOf(100n * GIB)));
    expect(await unbalanced(pool)).toEqual([]);
  });

  test("charges an hour at the price that stands in its record, whatever the settings of who finishes it", async () => {
    const { pool } = database;
    const first = await fillUnbilledLedger(pool, 1, [{ name: "anna", balance: "10", bytes: [10n * GIB] }]);
    const others = deductionDeps(pool, { node: "fula-2", settings: { fulaPerGbMonth: "6" } });
    await closeUsageHour(pool, first, others);
    await openHour(pool, first, { basis: "completed", policy: policyOf(others.settings) }, others);
    await runDeduction(deductionDeps(pool));
    const books = await readBooks(pool, ["anna"]);
    expect(books["anna"]?.fees[0]?.[1]).toBe(
      formatUnits(hourlyFee(10n * GIB, { ...POLICY, fulaPerGibMonth: parseUnits("6") })),
    );
  });

  test("charges the hour that runs, once, where the settings ask for the older fleet's way", async () => {
    const { pool } = database;
    const first = await fillUnbilledLedger(pool, 1, [{ name: "anna", balance: "10", bytes: [GIB, 10n * GIB] }]);
    const deps = deductionDeps(pool, { settings: { basis: "current" } });
    await runDeduction(deps);
    await runDeduction(deps);
    const books = await readBooks(pool, ["anna"]);
    expect(books["anna"]?.fees).toEqual([
      [hourKey(first), formatUnits(feeOf(GIB))],
      [hourKey(first + 1), formatUnits(feeOf(10n * GIB))],
    ]);
  });

  test("charges no hour that runs and was paid for without a key, also where the settings ask for the hour that runs", async () => {
    const { pool } = database;
    const first = await fillUnbilledLedger(pool, 0, [{ name: "anna", balance: "10", bytes: [10n * GIB] }]);
    await pool.query("update billing_mode set first_hour = $1", [formatHour(first + 1)]);
    const deps = deductionDeps(pool, { settings: { basis: "current" } });
    expect(await runDeduction(deps)).toMatchObject({ hours: [], waitingFor: null });
    const how = { basis: "current", policy: policyOf(deps.settings) } as const;
    expect(await openHour(pool, first, how, deps)).toBe(false);
    expect((await readBooks(pool, ["anna"]))["anna"]?.fees).toEqual([]);
  });

  test("begins no hour before those ahead of it are billed, also where a standby that lacks them took over in between", async () => {
    const { pool } = database;
    const first = await fillUnbilledLedger(pool, 2, [{ name: "anna", balance: "10", bytes: [10n * GIB] }]);
    let begun = 0;
    // Asynchronous replication: what the server had taken in last, the one that is asked from now on never saw.
    const fallingBack = new Proxy(pool, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name);
        if (name !== "query" || typeof value !== "function") return value;
        return async (...args: readonly unknown[]): Promise<unknown> => {
          const [query] = args;
          if (typeof query === "object" && query !== null && "name" in query && query.name === "billing_hour_open") {
            begun += 1;
            if (begun === 2) {
              await pool.query("delete from billing_hours");
              await pool.query("delete from credit_history");
              await pool.query(
                "update user_credits set balance_fula = opening_fula, total_deducted_fula = 0, billed_hour = null",
              );
            }
          }
          return await Reflect.apply(value.bind(target), undefined, args);
        };
      },
    });
    const report = await runDeduction(deductionDeps(fallingBack));
    expect(report).toMatchObject({
      hours: [{ hour: first }],
      waitingFor: expect.stringContaining("it is not the turn of the hour"),
    });
    expect((await readBooks(pool, ["anna"]))["anna"]?.fees).toEqual([]);
    await runDeduction(deductionDeps(pool));
    expect((await readBooks(pool, ["anna"]))["anna"]?.fees).toHaveLength(2);
    expect(await unbalanced(pool)).toEqual([]);
  });

  test("waits for a transaction that still changes pins in an hour, and says for whom", async () => {
    const { pool } = database;
    const first = await fillUnbilledLedger(pool, 1, [{ name: "anna", balance: "10", bytes: [GIB] }]);
    const writer = await pool.connect();
    await writer.query("begin");
    await writer.query("select pg_advisory_xact_lock_shared(815551, $1)", [first]);
    const clock = new FakeClock();
    const sleep = async (): Promise<void> => {
      clock.step(60_000);
      await Promise.resolve();
    };
    const report = await runDeduction(
      deductionDeps(pool, { clock: { nowMs: () => clock.nowMs(), monotonicMs: () => clock.monotonicMs(), sleep } }),
    );
    expect(report.waitingFor).toMatch(/could not be closed .* by fula-master\/test@test \(pid \d+/);
    expect(report.hours).toEqual([]);
    await writer.query("commit");
    writer.release();
    expect((await runDeduction(deductionDeps(pool))).hours).toHaveLength(1);
  });
});

describe("hours that are too long ago", () => {
  test("are left out with an alert that names them, and the hours after them are billed", async () => {
    const { pool } = database;
    const first = await fillUnbilledLedger(pool, 5, [{ name: "anna", balance: "10", bytes: [10n * GIB] }]);
    const report = await runDeduction(deductionDeps(pool, { settings: { catchUpHours: 2 } }));
    expect(report.hours.map(({ hour, state }) => [hour - first, state])).toEqual([
      [0, "skipped"],
      [1, "skipped"],
      [2, "skipped"],
      [3, "done"],
      [4, "done"],
    ]);
    expect(await standingAlerts(pool)).toMatchObject([
      { kind: "hours-skipped", subject: `${formatHour(first)}/${formatHour(first + 2)}`, details: { hours: 3 } },
    ]);
  });

  test("are billed by an operator's word, by what was stored then, though later hours are billed already", async () => {
    const { pool } = database;
    const first = await fillUnbilledLedger(pool, 3, [{ name: "anna", balance: "10", bytes: [4n * GIB, 10n * GIB] }]);
    const deps = deductionDeps(pool, { settings: { catchUpHours: 1 } });
    await runDeduction(deps);
    expect(await skippedHours(pool)).toEqual([first, first + 1]);

    expect(await backfillHour(deps, first)).toMatchObject({ state: "done", users: 1, sumUnits: feeOf(4n * GIB) });
    expect(await standingAlerts(pool)).toHaveLength(1);
    await backfillHour(deps, first + 1);

    expect(await standingAlerts(pool)).toEqual([]);
    expect((await readBooks(pool, ["anna"]))["anna"]?.fees).toEqual([
      [hourKey(first), formatUnits(feeOf(4n * GIB))],
      [hourKey(first + 1), formatUnits(feeOf(10n * GIB))],
      [hourKey(first + 2), formatUnits(feeOf(10n * GIB))],
    ]);
    expect(await unbalanced(pool)).toEqual([]);
    await expect(backfillHour(deps, first)).rejects.toMatchObject({ code: "FULA_BILLING_HOUR" });
  });

  test("are finished by the next look where their backfill was cut off", async () => {
    const { pool } = database;
    const first = await fillUnbilledLedger(pool, 2, [{ name: "anna", balance: "10", bytes: [10n * GIB] }]);
    const deps = deductionDeps(pool, { settings: { catchUpHours: 1 } });
    await runDeduction(deps);
    await openSkippedHour(pool, first, policyOf(deps.settings), deps);
    expect((await runDeduction(deps)).hours).toMatchObject([{ hour: first, state: "done", users: 1 }]);
    expect((await readBooks(pool, ["anna"]))["anna"]?.fees).toHaveLength(2);
    expect(await standingAlerts(pool)).toEqual([]);
  });

  test("are waived all or none also where a master begins one of them at that moment", async () => {
    const { pool } = database;
    const first = await fillUnbilledLedger(pool, 2, [{ name: "anna", balance: "10", bytes: [10n * GIB] }]);
    const deps = deductionDeps(pool);
    const waiver = { first, last: first + 1, reason: "outage", operator: "alice", fence: null };
    // A master that has begun the second hour and not committed yet: the waiver's statement does not see it, and waits.
    const other = await pool.connect();
    await other.query("begin");
    await other.query(
      "insert into billing_hours (hour, state, free_tier_bytes, fula_per_gib_month, began_by) values ($1, 'open', 0, 3, 'fula-2')",
      [formatHour(first + 1)],
    );
    const waived = waiveHours(pool, waiver, policyOf(deps.settings));
    const refused = expect(waived).rejects.toMatchObject({ code: "FULA_BILLING_HOUR" });
    await until("the waiver waits", async () => {
      const { rowCount } = await pool.query(
        "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
      );
      return rowCount === 1;
    });
    await other.query("commit");
    other.release();
    await refused;
    const { rows } = await pool.query("select state from billing_hours order by hour");
    expect(rows).toEqual([{ state: "open" }]);
  });

  test("are waived all or none, and never those that are billed or run", async () => {
    const { pool } = database;
    const first = await fillUnbilledLedger(pool, 4, [{ name: "anna", balance: "10", bytes: [10n * GIB] }]);
    const deps = deductionDeps(pool, { settings: { catchUpHours: 2 } });
    await runDeduction(deps);
    const policy = policyOf(deps.settings);
    const waiver = { first, last: first + 1, reason: "outage", operator: "tester", fence: null };
    await expect(waiveHours(pool, { ...waiver, last: first + 2 }, policy)).rejects.toThrow(
      /cannot be waived: it is done/,
    );
    await expect(waiveHours(pool, { ...waiver, first: first + 4, last: first + 4 }, policy)).rejects.toThrow(
      /not over/,
    );
    expect(await skippedHours(pool)).toEqual([first, first + 1]);
    expect(await waiveHours(pool, waiver, policy)).toEqual([first, first + 1]);
    expect(await waiveHours(pool, waiver, policy)).toEqual([]);
    expect(await standingAlerts(pool)).toEqual([]);
    expect((await runDeduction(deps)).hours).toEqual([]);
    expect((await readBooks(pool, ["anna"]))["anna"]?.fees).toHaveLength(2);
  });
});

describe("an hour that the ledger has entries of already", () => {
  const enter = async (name: string, reference: string, amount: string): Promise<void> => {
    await database.pool.query(
      `with paid as (
         update user_credits set balance_fula = balance_fula - $3::numeric where user_id = $1 returning user_id, balance_fula
       )
       insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id)
       select user_id, 'hourly_deduction', -$3::numeric, balance_fula, $2 from paid`,
      [userId(name), reference, amount],
    );
  };

  test("is not charged again, and raises no alert where the amount agrees but for a float's last digits", async () => {
    const { pool } = database;
    const first = await fillUnbilledLedger(pool, 1, [{ name: "anna", balance: "10", bytes: [10n * GIB] }]);
    await enter("anna", hourKey(first), "0.03963216145833333");
    expect((await runDeduction(deductionDeps(pool))).hours).toMatchObject([{ users: 0, conflicts: 1, sumUnits: 0n }]);
    expect(await standingAlerts(pool)).toEqual([]);
    expect((await readBooks(pool, ["anna"]))["anna"]?.fees).toHaveLength(1);
    expect(await unbalanced(pool)).toEqual([]);
  });

  test("raises an alert with examples where the amount differs", async () => {
    const { pool } = database;
    const first = await fillUnbilledLedger(pool, 1, [
      { name: "anna", balance: "10", bytes: [10n * GIB] },
      { name: "bert", balance: "10", bytes: [10n * GIB] },
    ]);
    await enter("anna", hourKey(first), "0.5");
    expect((await runDeduction(deductionDeps(pool))).hours).toMatchObject([{ users: 1, conflicts: 1 }]);
    expect(await standingAlerts(pool)).toMatchObject([
      {
        kind: "amount-differs",
        subject: hourKey(first),
        details: {
          accounts: 1,
          examples: [{ userId: userId("anna"), charged: "0.5", expected: formatUnits(feeOf(10n * GIB)) }],
        },
      },
    ]);
  });
});

describe("the ledger's unique index", () => {
  test("stops billing with an alert while it is missing, and nobody is charged; afterwards no hour is lost", async () => {
    const { pool } = database;
    await fillUnbilledLedger(pool, 2, [{ name: "anna", balance: "10", bytes: [10n * GIB] }]);
    const { rows } = await pool.query<{ sql: string }>(
      "select pg_get_indexdef('idx_credit_history_hourly_dedup'::regclass) as sql",
    );
    await pool.query("drop index idx_credit_history_hourly_dedup");
    await expect(runDeduction(deductionDeps(pool))).rejects.toMatchObject({ code: "FULA_BILLING_INDEX" });
    expect(await standingAlerts(pool)).toMatchObject([{ kind: "index-missing" }]);
    expect((await readBooks(pool, ["anna"]))["anna"]?.fees).toEqual([]);

    await pool.query(rows[0]?.sql ?? "");
    expect((await runDeduction(deductionDeps(pool))).hours).toHaveLength(2);
    expect(await standingAlerts(pool)).toEqual([]);
  });
});

describe("the lease's epoch", () => {
  test("a former holder's look writes nothing, wherever it was", async () => {
    const { pool } = database;
    const first = await fillUnbilledLedger(pool, 1, [{ name: "anna", balance: "10", bytes: [10n * GIB] }]);
    await pool.query(
      "update cron_lease set epoch = 7, holder = 'fula-2', session_pid = 1, taken_at = now(), renewed_at = now(), expires_at = now() + interval '1 hour'",
    );
    const late = deductionDeps(pool, { fence: { holder: "fula-1", epoch: 6n } });
    await expect(runDeduction(late)).rejects.toMatchObject({ code: "FULA_LEASE_LOST" });

    const holder = deductionDeps(pool, { node: "fula-2", fence: { holder: "fula-2", epoch: 7n } });
    await closeUsageHour(pool, first, holder);
    await expect(runDeduction(late)).rejects.toMatchObject({ code: "FULA_LEASE_LOST" });
    expect(await readHourSums(pool, first)).toBeNull();

    await openHour(pool, first, { basis: "completed", policy: policyOf(holder.settings) }, holder);
    await expect(runDeduction(late)).rejects.toMatchObject({ code: "FULA_LEASE_LOST" });
    await expect(completeHour(pool, first, late)).rejects.toMatchObject({ code: "FULA_LEASE_LOST" });
    await expect(liftSuspensions(pool, 0, late.fence)).rejects.toMatchObject({ code: "FULA_LEASE_LOST" });
    expect((await readBooks(pool, ["anna"]))["anna"]?.fees).toEqual([]);

    await runDeduction(holder);
    const { rows } = await pool.query("select began_by, ended_by, ended_epoch from billing_hours");
    expect(rows).toEqual([{ began_by: "fula-2", ended_by: "fula-2", ended_epoch: "7" }]);
  });
});

describe("a suspension", () => {
  const suspendedAt = async (name: string): Promise<Date | null> => {
    const { rows } = await database.pool.query<{ at: Date | null }>(
      "select suspended_at as at from user_credits where user_id = $1",
      [userId(name)],
    );
    return rows[0]?.at ?? null;
  };

  test("comes once, with the fee that takes the balance below zero, and the account goes on paying", async () => {
    const { pool } = database;
    const fee = feeOf(10n * GIB);
    await fillUnbilledLedger(pool, 3, [
      { name: "short", balance: formatUnits(fee), bytes: [10n * GIB] },
      { name: "even", balance: formatUnits(3n * fee), bytes: [10n * GIB] },
    ]);
    await pool.query("create table seen (at timestamptz)");
    await pool.query(`create function note() returns trigger language plpgsql as
      $$ begin insert into seen values (new.suspended_at); return new; end $$`);
    await pool.query(`create trigger note after update on user_credits for each row
      when (new.suspended_at is distinct from old.suspended_at) execute function note()`);
    await runDeduction(deductionDeps(pool));
    const books = await readBooks(pool, ["short", "even"]);
    expect(books["short"]).toMatchObject({ balance: formatUnits(-2n * fee), isSuspended: true });
    expect(books["short"]?.fees).toHaveLength(3);
    expect(books["even"]).toMatchObject({ balance: "0", isSuspended: false });
    expect((await pool.query("select from seen")).rowCount).toBe(1);
  });

  test("ends the paying where the settings say so", async () => {
    const { pool } = database;
    await fillUnbilledLedger(pool, 3, [{ name: "short", balance: "0", bytes: [10n * GIB] }]);
    await runDeduction(deductionDeps(pool, { settings: { whileSuspended: "pause" } }));
    expect((await readBooks(pool, ["short"]))["short"]?.fees).toHaveLength(1);
  });

  test("is lifted when no more than the free tier is stored, or the balance is above zero, and not before", async () => {
    const { pool } = database;
    const account = (name: string, balance: string, bytes: bigint) => ({ name, balance, bytes: [bytes] });
    await fillUnbilledLedger(pool, 0, [
      account("owing", "-1", 10n * GIB),
      account("zero", "0", 10n * GIB),
      account("paid", "0.000000000000000001", 10n * GIB),
      account("deleted", "-1", 524_288_000n),
    ]);
    await pool.query("update user_credits set is_suspended = 1, suspended_at = now()");
    expect((await runDeduction(deductionDeps(pool))).unsuspended).toBe(2);
    const books = await readBooks(pool, ["owing", "zero", "paid", "deleted"]);
    expect(Object.entries(books).map(([name, { isSuspended }]) => [name, isSuspended])).toEqual([
      ["owing", true],
      ["zero", true],
      ["paid", false],
      ["deleted", false],
    ]);
    expect(await suspendedAt("deleted")).toBeNull();
    expect(await suspendedAt("owing")).not.toBeNull();
  });
});
