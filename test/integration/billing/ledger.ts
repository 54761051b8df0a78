import { createHash } from "node:crypto";
import type { DepositCredit } from "../../../src/lib/billing/credits.ts";
import { formatUnits, parseUnits } from "../../../src/lib/billing/money.ts";
import type { Pool } from "../../../src/lib/postgres/pool.ts";

/** A user's id by a name that reads well in a test. */
export function userId(name: string): string {
  return createHash("sha256").update(`${name}@example.com`).digest("hex");
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
