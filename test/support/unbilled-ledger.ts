import { createHash } from "node:crypto";
import type { DeductionDeps } from "../../src/lib/billing/deduction-report.ts";
import { formatHour, type Hour, hourFromSql } from "../../src/lib/billing/hour.ts";
import { formatUnits, parseUnits } from "../../src/lib/billing/money.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { silentLog } from "../../src/lib/kernel/log.ts";
import { systemRandom } from "../../src/lib/kernel/random.ts";
import type { Pool } from "../../src/lib/postgres/pool.ts";
import { leaveHourEnd } from "./hours.ts";

export const GIB = 2n ** 30n;

/** A user's id by a name that reads well in a test. */
export function userId(name: string): string {
  return createHash("sha256").update(name).digest("hex");
}

/** An account as a test wants it. */
export interface WantedAccount {
  readonly name: string;
  /** Decimal FULA; it was there before the first entry. */
  readonly balance: string;
  /** Bytes at the end of each hour from the first unbilled one on; the last value holds from then on. */
  readonly bytes: readonly bigint[];
}

/** The hour that runs, by the database's clock. */
export async function currentHour(pool: Pool): Promise<Hour> {
  const { rows } = await pool.query<{ hour: Date }>("select date_trunc('hour', clock_timestamp(), 'UTC') as hour");
  return hourFromSql(rows[0]?.hour ?? new Date(Number.NaN));
}

/**
 * A ledger that bills by key and has billed nothing of the last `hours` hours that are over.
 * @returns the first hour that is to be billed
 */
export async function fillUnbilledLedger(pool: Pool, hours: number, accounts: readonly WantedAccount[]): Promise<Hour> {
  await leaveHourEnd();
  const first = (await currentHour(pool)) - hours;
  await pool.query("insert into billing_mode (mode, first_hour, changed_by) values ('keyed', $1, 'test')", [
    formatHour(first),
  ]);
  await pool.query("update usage_clock set closed_through = $1", [formatHour(first - 1)]);
  for (const { name, balance, bytes } of accounts) {
    const { rows } = await pool.query<{ id: string }>(
      "insert into user_credits (user_id, balance_fula, opening_fula) values ($1, $2, $2) returning id",
      [userId(name), balance],
    );
    const id = rows[0]?.id;
    for (const [index, stored] of bytes.entries()) {
      await pool.query("insert into usage_history (account_id, hour, bytes) values ($1, $2, $3)", [
        id,
        formatHour(first + index),
        stored.toString(),
      ]);
    }
    await pool.query("insert into user_usage (account_id, bytes, changed_hour) values ($1, $2, $3)", [
      id,
      (bytes.at(-1) ?? 0n).toString(),
      formatHour(first + bytes.length - 1),
    ]);
  }
  return first;
}

/** What a look needs, with the defaults of the settings; no lease. */
export function deductionDeps(
  pool: Pool,
  changes: Partial<Omit<DeductionDeps, "settings">> & { readonly settings?: Partial<DeductionDeps["settings"]> } = {},
): DeductionDeps {
  const { settings, ...others } = changes;
  return {
    pool,
    log: silentLog,
    clock: systemClock,
    random: systemRandom,
    signal: new AbortController().signal,
    fence: null,
    node: "fula-1",
    ...others,
    settings: {
      basis: "completed",
      idempotency: true,
      freeTierBytes: 524_288_000,
      fulaPerGbMonth: "3",
      whileSuspended: "accrue",
      catchUpHours: 168,
      ...settings,
    },
  };
}

/** What became of an account. */
export interface AccountBooks {
  readonly balance: string;
  readonly isSuspended: boolean;
  /** References of the fees with their amounts, in the order of the hours. */
  readonly fees: readonly (readonly [reference: string, amount: string])[];
}

/** The books of every account by the name that the test gave it. */
export async function readBooks(pool: Pool, names: readonly string[]): Promise<Record<string, AccountBooks>> {
  const books: Record<string, AccountBooks> = {};
  for (const name of names) {
    const account = await pool.query<{ balance: string; is_suspended: number }>(
      "select balance_fula as balance, is_suspended from user_credits where user_id = $1",
      [userId(name)],
    );
    const fees = await pool.query<{ reference_id: string; amount: string }>(
      `select reference_id, -amount_fula as amount from credit_history
        where user_id = $1 and tx_type = 'hourly_deduction' order by reference_id, id`,
      [userId(name)],
    );
    books[name] = {
      balance: formatUnits(parseUnits(account.rows[0]?.balance ?? "")),
      isSuspended: account.rows[0]?.is_suspended === 1,
      fees: fees.rows.map((row) => [row.reference_id, formatUnits(parseUnits(row.amount))]),
    };
  }
  return books;
}

/** Accounts of which the books do not hold: balance = opening + entries, and the newest entry says the balance. */
export async function unbalanced(pool: Pool): Promise<readonly string[]> {
  const { rows } = await pool.query<{ user_id: string }>(
    `select a.user_id from user_credits a
       left join lateral (select sum(amount_fula) as total from credit_history where user_id = a.user_id) e on true
       left join lateral (select balance_after from credit_history where user_id = a.user_id order by id desc limit 1) n on true
      where a.balance_fula <> a.opening_fula + coalesce(e.total, 0) or coalesce(n.balance_after, a.balance_fula) <> a.balance_fula`,
  );
  return rows.map((row) => row.user_id);
}
