import { createHash } from "node:crypto";
import type { Adjustment } from "../../../src/lib/billing/adjustments.ts";
import type { DepositCredit } from "../../../src/lib/billing/credits.ts";
import { formatUnits, parseUnits } from "../../../src/lib/billing/money.ts";
import { createPool, type Pool } from "../../../src/lib/postgres/pool.ts";
import type { TestDatabase } from "../../support/postgres.ts";

/** A user's id by a name that reads well in a test. */
export function userId(name: string): string {
  return createHash("sha256").update(`${name}@example.com`).digest("hex");
}

/** Many connections to a test's database. Close it before the database is dropped. */
export function widePool({ options }: TestDatabase, max: number): Pool {
  // The time to wait for a connection counts from the call, and all calls of a test are made at once.
  return createPool({ ...options, max, connectTimeoutMs: 60_000 });
}

const BOOKS = [
  "pins",
  "referral_bonuses",
  "credit_notes",
  "credit_history",
  "usage_history",
  "stored_contents",
  "user_usage",
  "user_credits",
  "referrals",
  "referral_codes",
  "webui_users",
  "admin_audit_log",
];

/**
 * Empties the ledger and lets ids begin at 1 again, so that tests of one file can share a database: making one, or
 * truncating its tables, takes longer than most of them.
 */
export async function emptyBooks(pool: Pool): Promise<void> {
  const restarts = ["credit_history_id_seq", "user_credits_id_seq"].map((name) => `select setval('${name}', 1, false)`);
  await pool.query([...BOOKS.map((table) => `delete from ${table}`), ...restarts].join(";"));
}

/** A deposit that pays referral bonuses. @param amount decimal FULA */
export function deposit(name: string, amount: string, reference: string): DepositCredit {
  return {
    type: "deposit",
    userId: userId(name),
    amountUnits: parseUnits(amount),
    reference,
    referralBonuses: true,
  };
}

let adjustments = 0;

/** An adjustment with a key of its own, unless one is given. @param amount decimal FULA */
export function adjustment(name: string, amount: string, key?: string): Adjustment {
  adjustments += 1;
  return {
    userId: userId(name),
    amountUnits: parseUnits(amount),
    reason: "a test",
    operator: "tester",
    key: key ?? `test-${adjustments}`,
  };
}

/** Writes down that `referrer` brought `referred`, as the fleet's web UI does. @returns the code that was used */
export async function refer(pool: Pool, referrer: string, referred: string): Promise<string> {
  const code = `${referrer.toUpperCase()}-${referred}`;
  const ids = [userId(referrer), userId(referred)];
  await pool.query("insert into webui_users (user_id) select unnest($1::text[]) on conflict (user_id) do nothing", [
    ids,
  ]);
  await pool.query("insert into referral_codes (code, user_id) values ($1, $2) on conflict (code) do nothing", [
    code,
    ids[0],
  ]);
  await pool.query("insert into referrals (referral_code, referrer_id, referred_id) values ($1, $2, $3)", [
    code,
    ...ids,
  ]);
  return code;
}

/** An account's row, amounts as the shortest decimals. */
export async function accountOf(pool: Pool, name: string): Promise<unknown> {
  const { rows } = await pool.query<Record<string, string> & { suspended: boolean; since: Date | null }>(
    `select balance_fula as balance, opening_fula as opening, total_deposited_fula as deposited,
            total_bonus_received_fula as bonus, is_suspended = 1 as suspended, suspended_at as since
       from user_credits where user_id = $1`,
    [userId(name)],
  );
  const row = rows[0];
  if (row === undefined) return null;
  const short = (text: string | undefined): string => formatUnits(parseUnits(text ?? "0"));
  return {
    balance: short(row["balance"]),
    opening: short(row["opening"]),
    deposited: short(row["deposited"]),
    bonus: short(row["bonus"]),
    suspended: row.suspended,
    since: row.since,
  };
}

/** An account's entries, the oldest first. */
export async function entriesOf(pool: Pool, name: string): Promise<readonly unknown[]> {
  const { rows } = await pool.query<{ type: string; amount: string; after: string; reference: string }>(
    `select tx_type as type, amount_fula as amount, balance_after as after, reference_id as reference
       from credit_history where user_id = $1 order by id`,
    [userId(name)],
  );
  return rows.map(({ type, amount, after, reference }) => ({
    type,
    amount: formatUnits(parseUnits(amount)),
    balanceAfter: formatUnits(parseUnits(after)),
    reference,
  }));
}

/**
 * The accounts whose balance is not the sum of their entries, whose totals are not, or whose entries do not follow from
 * each other up to the balance.
 */
export async function wrongAccounts(pool: Pool): Promise<readonly unknown[]> {
  const { rows } = await pool.query(
    `select a.user_id, a.balance_fula, s.amount, s.newest, s.breaks
       from user_credits a
       left join lateral (
         select sum(amount_fula) as amount,
                -sum(amount_fula) filter (where tx_type = 'hourly_deduction') as deducted,
                sum(amount_fula) filter (where tx_type = 'deposit') as deposited,
                sum(amount_fula) filter (where tx_type = 'referral_bonus') as bonus,
                (array_agg(balance_after order by id desc))[1] as newest,
                count(*) filter (where balance_after <> coalesce(before, a.opening_fula) + amount_fula) as breaks
           from (select e.*, lag(balance_after) over (order by id) as before
                   from credit_history e where e.user_id = a.user_id) e) s on true
      where a.balance_fula <> a.opening_fula + coalesce(s.amount, 0)
         or a.balance_fula <> coalesce(s.newest, a.opening_fula)
         or s.breaks > 0
         or a.total_deposited_fula <> coalesce(s.deposited, 0)
         or a.total_deducted_fula <> coalesce(s.deducted, 0)
         or a.total_bonus_received_fula <> coalesce(s.bonus, 0)
         or (a.is_suspended = 1) <> (a.suspended_at is not null)`,
  );
  return rows;
}
