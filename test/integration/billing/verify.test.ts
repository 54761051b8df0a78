import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type LedgerVerdict, verifyLedger } from "../../../src/lib/billing/verify.ts";
import { fillBilledLedger, keyAgo, userOf } from "../../support/billed-ledger.ts";
import { leaveHourEnd } from "../../support/hours.ts";
import { asSuperuser, copyOf, freshDatabase, type TestDatabase } from "../../support/postgres.ts";

const HOURS = 5;
const A = userOf(0);
const FREE = userOf(3);

function brokenIn(verdict: LedgerVerdict): readonly string[] {
  return verdict.checks.filter(({ ok }) => !ok).map(({ name }) => name);
}

let filled: TestDatabase;
/** The one that ran when it was filled: in the next one its newest hour would wait to be billed. */
let filledIn = 0;

beforeAll(async () => {
  await fill();
});

afterAll(async () => {
  await filled.drop();
});

async function fill(): Promise<void> {
  filledIn = await leaveHourEnd();
  filled = await freshDatabase();
  await fillBilledLedger(filled.pool, HOURS);
  await filled.pool.end();
}

async function billed(): Promise<TestDatabase> {
  if ((await leaveHourEnd()) !== filledIn) {
    await filled.drop();
    await fill();
  }
  return await copyOf(filled.name);
}

describe("an untouched ledger", () => {
  test("verifies, and says what could not be looked at", async () => {
    await using database = await freshDatabase();
    const verdict = await verifyLedger(database.pool);
    expect(verdict).toMatchObject({ ok: true, mode: null, since: null, looked: { accounts: 0, entries: 0, hours: 0 } });
    expect(verdict.notLookedAt).toContainEqual({ name: "charged", because: "nobody has billed yet" });
    expect(verdict.checks.map(({ name }) => name)).not.toContain("charged");
  });
});

describe("a ledger of which every hour is billed", () => {
  test("verifies, with nothing left out", async () => {
    await using database = await billed();
    const verdict = await verifyLedger(database.pool);
    expect(verdict.checks.flatMap(({ examples }) => examples)).toEqual([]);
    expect(verdict).toMatchObject({ ok: true, mode: "keyed", looked: { accounts: 4, entries: 16, hours: HOURS } });
    expect(verdict.notLookedAt).toEqual([]);
  });

  test("is read without a write, and while everybody else goes on", async () => {
    await using database = await billed();
    const holder = await database.pool.connect();
    try {
      await holder.query("begin");
      await holder.query("update user_credits set balance_fula = balance_fula + 1");
      expect((await verifyLedger(database.pool)).ok).toBe(true);
    } finally {
      await holder.query("rollback");
      holder.release();
    }
  });
});

interface Damage {
  readonly what: string;
  /** `$key` = the key of the hour before the last; `$future` = of the hour after the next. */
  readonly sql: string;
  /** Runs as superuser. */
  readonly asRoot?: boolean;
  /** Every check that finds it, in the order of the report. */
  readonly found: readonly string[];
  /** What the first example of the last of them says. */
  readonly says: RegExp;
}

const DAMAGES: readonly Damage[] = [
  {
    what: "a balance that was changed past the ledger",
    sql: `update user_credits set balance_fula = balance_fula + 0.000000000000000001 where user_id = '${A}'`,
    found: ["balances", "newest-balances"],
    says: /its balance is 99\.\d{17}[^5].*but after entry/,
  },
  {
    what: "a mode that is gone, and with it every hour that somebody could miss",
    sql: "delete from billing_mode",
    found: ["guards"],
    says: /billing_mode has no row, though hours were billed/,
  },
  {
    what: "an opening balance that was changed",
    sql: `update user_credits set opening_fula = 1 where user_id = '${A}'`,
    found: ["balances", "running-balances"],
    says: /balance_after is 100\.0+ and should be 101/,
  },
  {
    what: "a fee whose amount was changed by one unit",
    sql: `update credit_history set amount_fula = amount_fula + 0.000000000000000001 where user_id = '${A}' and reference_id = '$key'`,
    found: ["balances", "running-balances", "totals", "hour-records", "amounts"],
    says: /was charged 0\.039632161458333332 for hour:.*10737418240 bytes cost 0\.039632161458333333/,
  },
  {
    what: "a fee that is gone",
    sql: `delete from credit_history where user_id = '${A}' and reference_id = '$key'`,
    found: ["balances", "running-balances", "totals", "hour-records", "charged"],
    says: /was not charged for hour:\S+: 10737418240 bytes, fee 0\.039632161458333333/,
  },
  {
    what: "a fee that an index which is gone let in twice",
    sql: `drop index idx_credit_history_hourly_dedup;
          insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id, usage_bytes)
          select user_id, tx_type, amount_fula, balance_after, reference_id, usage_bytes from credit_history
           where user_id = '${A}' and reference_id = '$key'`,
    found: ["balances", "running-balances", "totals", "hour-records", "duplicates", "indexes"],
    says: /idx_credit_history_hourly_dedup is missing/,
  },
  {
    what: "the same while the books seem to balance",
    sql: `drop index idx_credit_history_hourly_dedup;
          with twice as (
            insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id, usage_bytes)
            select e.user_id, e.tx_type, e.amount_fula, c.balance_fula + e.amount_fula, e.reference_id, e.usage_bytes
              from credit_history e join user_credits c using (user_id) where user_id = '${A}' and reference_id = '$key' returning *
          ), paid as (
            update user_credits c set balance_fula = t.balance_after, total_deducted_fula = total_deducted_fula - t.amount_fula
              from twice t where c.user_id = t.user_id
          ), noted as (
            update billing_hours set users = users + 1, sum_fula = sum_fula - amount_fula from twice
             where hour = date_trunc('hour', now(), 'UTC') - interval '2 hours' returning hour, amount_fula
          )
          update billing_shards s set users = users + 1, sum_fula = sum_fula - amount_fula from noted where noted.hour = s.hour`,
    found: ["duplicates", "indexes"],
    says: /is missing/,
  },
  {
    what: "an index that is INVALID",
    sql: "update pg_index set indisvalid = false where indexrelid = 'idx_credit_history_hourly_dedup'::regclass",
    asRoot: true,
    found: ["indexes"],
    says: /idx_credit_history_hourly_dedup is INVALID/,
  },
  {
    what: "an hour that nobody billed",
    sql: `delete from billing_hours where hour = date_trunc('hour', now(), 'UTC') - interval '2 hours'`,
    found: ["hours", "keys"],
    says: /is for an hour of which there is no record: hour:/,
  },
  {
    what: "an hour that was left out",
    sql: `update billing_hours set state = 'skipped', users = null, sum_fula = null, reason = 'too long ago'
           where hour = date_trunc('hour', now(), 'UTC') - interval '2 hours'`,
    found: ["hours", "keys"],
    says: /is for an hour that is skipped: hour:/,
  },
  {
    what: "an hour that never came to its end",
    sql: `update billing_hours set state = 'open', users = null, sum_fula = null
           where hour = date_trunc('hour', now(), 'UTC') - interval '4 hours'`,
    found: ["hours"],
    says: /has been open since .* \(begun by test\)/,
  },
  {
    what: "hours that are over and were not even begun",
    sql: `delete from credit_history where tx_type = 'hourly_deduction' and usage_bytes is not null
             and reference_id in (select to_char(hour at time zone 'UTC', '"hour:"YYYY-MM-DD"T"HH24') from billing_hours
                                   where hour >= date_trunc('hour', now(), 'UTC') - interval '3 hours');
          delete from billing_hours where hour >= date_trunc('hour', now(), 'UTC') - interval '3 hours';
          update user_credits c set billed_hour = null, total_deducted_fula = coalesce((select -sum(amount_fula) from credit_history e where e.user_id = c.user_id and tx_type = 'hourly_deduction'), 0),
                 balance_fula = (select sum(amount_fula) from credit_history e where e.user_id = c.user_id);
          update user_credits set billed_hour = date_trunc('hour', now(), 'UTC') - interval '4 hours'`,
    found: ["hours"],
    says: /is missing: no master has billed it/,
  },
  {
    what: "an hour's record with another sum",
    sql: `update billing_hours set sum_fula = sum_fula + 1 where hour = date_trunc('hour', now(), 'UTC') - interval '2 hours'`,
    found: ["hour-records"],
    says: /the record has 2 accounts and 1\.\d+ FULA, (the ledger|its shards) 2 and 0\./,
  },
  {
    what: "an hour's record with another price",
    sql: `update billing_hours set fula_per_gib_month = 8 where hour = date_trunc('hour', now(), 'UTC') - interval '2 hours'`,
    found: ["amounts"],
    says: /was charged .* but \d+ bytes cost/,
  },
  {
    what: "a fee for an hour in the future",
    sql: `insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id)
          select user_id, 'hourly_deduction', 0, balance_fula, '$future' from user_credits where user_id = '${A}'`,
    found: ["keys"],
    says: /is for an hour in the future: hour:/,
  },
  {
    what: "a fee without the key of an hour, which no trigger refused",
    sql: `alter table credit_history disable trigger credit_history_unkeyed_refused;
          insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id)
          select user_id, 'hourly_deduction', 0, balance_fula, '2026-11-20T03:00:00.123Z' from user_credits where user_id = '${A}'`,
    found: ["keys", "guards"],
    says: /the trigger credit_history_unkeyed_refused on credit_history is disabled/,
  },
  {
    what: "a fee whose key is no hour that there is",
    sql: `insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id)
          select user_id, 'hourly_deduction', 0, balance_fula, 'hour:2026-13-45T99' from user_credits where user_id = '${A}'`,
    found: ["keys"],
    says: /hour:2026-13-45T99/,
  },
  {
    what: "somebody who was charged and stores too little",
    sql: `insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id)
          select user_id, 'hourly_deduction', 0, balance_fula, '$key' from user_credits where user_id = '${FREE}'`,
    found: ["not-due"],
    says: /was charged 0\.0+ for hour:\S+ \(entry \d+\) and stored no more than the free tier/,
  },
  {
    what: "a fee that names other bytes than were stored",
    sql: `update credit_history set usage_bytes = 1 where user_id = '${A}' and reference_id = '$key'`,
    found: ["usage-bytes"],
    says: /says 1 bytes; stored were 10737418240/,
  },
  {
    what: "an entry whose balance_after was changed",
    sql: `update credit_history set balance_after = balance_after - 1 where user_id = '${A}' and reference_id = '$key'`,
    found: ["running-balances"],
    says: /balance_after is 98\.\d+ and should be 99\.\d+/,
  },
  {
    what: "totals that do not follow from the entries",
    sql: `update user_credits set total_deposited_fula = 7 where user_id = '${A}'`,
    found: ["totals"],
    says: /deposited 7\.0+, .*its entries make 100\.0+/,
  },
  {
    what: "an entry of somebody who has no account",
    sql: `insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id)
          values ('nobody', 'adjustment', 5, 5, 'adjustment:orphan')`,
    found: ["orphans", "adjustments"],
    says: /adjustment:orphan\) of user nobody has no note/,
  },
  {
    what: "a deposit that was credited and is not in the ledger",
    sql: `update token_transactions set entry_id = null, state = 'credited', reference = '8453:0xother:0' where user_id = '${A}'`,
    found: ["deposits"],
    says: /transfer 8453:0xother:0 \(100\.0+ FULA\) counts as credited, but the ledger has no entry/,
  },
  {
    what: "a deposit that nobody saw on a chain",
    sql: `delete from token_transactions where user_id = '${A}'`,
    found: ["deposits"],
    says: /entry \d+ credits 100\.0+ FULA to user \w+ for 8453:0x0+:0, a transfer that nobody saw/,
  },
  {
    what: "a deposit that was credited to somebody else",
    sql: `update token_transactions set user_id = '${FREE}' where user_id = '${A}'`,
    found: ["deposits"],
    says: /entry \d+ credits 100\.0+ to user /,
  },
  {
    what: "a bonus that nothing was deposited for",
    sql: `with paid as (update user_credits set balance_fula = balance_fula + 1, total_bonus_received_fula = 1 where user_id = '${A}' returning *)
          insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id)
          select user_id, 'referral_bonus', 1, balance_fula, 'bonus:999999:1' from paid`,
    found: ["bonuses"],
    says: /has no record of the deposit that it is for/,
  },
  {
    what: "a correction that nobody answers for",
    sql: `with paid as (update user_credits set balance_fula = balance_fula + 1 where user_id = '${A}' returning *)
          insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id)
          select user_id, 'adjustment', 1, balance_fula, 'adjustment:by-hand' from paid`,
    found: ["adjustments"],
    says: /\(1\.0+, adjustment:by-hand\) of user \w+ has no note of who made it and why/,
  },
  {
    what: "a reversal that takes back more than was given",
    sql: `with paid as (update user_credits set balance_fula = balance_fula - 101, total_bonus_received_fula = -101 where user_id = '${A}' returning *)
          insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id)
          select p.user_id, 'referral_bonus', -101, p.balance_fula, 'reversal:' || e.id
            from paid p join credit_history e using (user_id) where e.tx_type = 'deposit'`,
    found: ["reversals"],
    says: /takes -101\.0+ from user \w+; entry \d+ gave 100\.0+ to user/,
  },
  {
    what: "usage that no history explains",
    sql: `update user_usage set bytes = bytes + 1 where account_id = (select id from user_credits where user_id = '${A}')`,
    found: ["usage-history", "usage-contents"],
    says: /stores 10737418241 bytes; its contents add up to 10737418240/,
  },
  {
    what: "a mark that would keep an account from being charged",
    sql: `update user_credits set billed_hour = date_trunc('hour', now(), 'UTC') + interval '24 hours' where user_id = '${A}'`,
    found: ["watermarks"],
    says: /is marked as billed through hour:\S+; the newest billed hour is hour:/,
  },
  {
    what: "a mark that would have an account charged again",
    sql: `update user_credits set billed_hour = null where user_id = '${A}'`,
    found: ["watermarks"],
    says: /was charged for hour:\S+, but is marked as billed through no hour only/,
  },
  {
    what: "a trigger on the pins that is disabled",
    sql: "alter table pins disable trigger pins_usage_delete",
    found: ["guards"],
    says: /the trigger pins_usage_delete on pins is disabled/,
  },
  {
    what: "a trigger on the buckets that is gone",
    sql: "drop trigger bucket_roots_usage_update on bucket_roots",
    found: ["guards"],
    says: /the trigger bucket_roots_usage_update on bucket_roots is missing/,
  },
];

describe("billing verify finds", () => {
  test.each(DAMAGES)("$what, by the right check", async ({ sql, asRoot = false, found, says }) => {
    await using database = await billed();
    const { pool, name } = database;
    const text = sql.replaceAll("$key", await keyAgo(pool, 2)).replaceAll("$future", await keyAgo(pool, -2));
    await (asRoot ? asSuperuser(text, name) : pool.query(text));
    const verdict = await verifyLedger(pool);
    expect(
      brokenIn(verdict),
      JSON.stringify(
        verdict.checks.filter(({ ok }) => !ok),
        null,
        1,
      ),
    ).toEqual(found);
    expect(verdict.ok).toBe(false);
    const last = verdict.checks.find(({ name: check }) => check === found.at(-1));
    expect(last?.examples.join("\n")).toMatch(says);
  });
});

describe("a bounded look", () => {
  test("finds what is wrong since then, and says what it did not look at", async () => {
    await using database = await billed();
    const { pool } = database;
    await pool.query(
      "update billing_hours set sum_fula = sum_fula + 1 where hour = (select min(hour) from billing_hours)",
    );
    const bounded = await verifyLedger(pool, { hours: 2 });
    expect(brokenIn(bounded)).toEqual([]);
    expect(bounded.looked.hours).toBe(2);
    expect(bounded.notLookedAt).toContainEqual({ name: "history", because: expect.stringContaining("were left out") });
    expect(bounded.notLookedAt).toContainEqual({
      name: "balances",
      because: "the sum of all entries needs all of them",
    });
    expect(brokenIn(await verifyLedger(pool, { since: "2026-01-01T00:00:00Z" }))).toEqual(["hour-records"]);
  });

  test("is not led past what was written since by an entry of a transaction that began before", async () => {
    await using database = await billed();
    const { pool } = database;
    const key = await keyAgo(pool, 1);
    await pool.query(
      `insert into credit_history (user_id, tx_type, amount_fula, balance_after, created_at)
       select user_id, 'adjustment', 0, balance_fula, date_trunc('hour', now()) - interval '150 minutes'
         from user_credits where user_id = $1`,
      [A],
    );
    expect(brokenIn(await verifyLedger(pool, { hours: 2 }))).toEqual([]);
    await pool.query(
      "update credit_history set amount_fula = amount_fula * 2 where user_id = $1 and reference_id = $2",
      [A, key],
    );
    expect(brokenIn(await verifyLedger(pool, { hours: 2 }))).toContain("amounts");
  });

  test("counts everything it finds and shows as much as it is asked for", async () => {
    await using database = await billed();
    await database.pool.query("update user_credits set balance_fula = balance_fula + 1");
    const verdict = await verifyLedger(database.pool, { examples: 2 });
    expect(verdict.checks.find(({ name }) => name === "balances")).toMatchObject({ ok: false, count: 4 });
    expect(verdict.checks.find(({ name }) => name === "balances")?.examples).toHaveLength(2);
  });
});

describe("hours of which nobody can tell who had to pay", () => {
  test("are named instead of being called right", async () => {
    await using database = await billed();
    const { pool } = database;
    await pool.query("update billing_hours set while_suspended = 'pause'");
    const key = await keyAgo(pool, 2);
    await pool.query("delete from credit_history where user_id = $1 and reference_id = $2", [A, key]);
    const verdict = await verifyLedger(pool);
    expect(brokenIn(verdict)).not.toContain("charged");
    expect(brokenIn(verdict)).toContain("hour-records");
    expect(verdict.notLookedAt).toContainEqual({ name: "due", because: expect.stringContaining("5 hours") });
  });
});
