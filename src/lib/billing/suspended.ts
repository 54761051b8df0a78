import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import { parseUnits } from "./money.ts";

/** An account that may not upload because its balance fell below zero. */
export interface SuspendedAccount {
  readonly userId: string;
  /** In units of 10⁻¹⁸ FULA. */
  readonly balanceUnits: bigint;
  readonly storedBytes: bigint;
  /** Null where nobody wrote it down. */
  readonly suspendedAt: Date | null;
}

/** The accounts that are suspended, those of longest standing first. @param limit how many at most */
export async function listSuspended(
  pool: Pool,
  limit: number,
): Promise<{ readonly accounts: readonly SuspendedAccount[]; readonly total: number }> {
  const { rows } = await runQuery<{
    user_id: string;
    balance: string;
    bytes: string;
    suspended_at: Date | null;
    total: string;
  }>(pool, {
    name: "suspended_list",
    text: `
      select a.user_id, coalesce(a.balance_fula, 0) as balance, coalesce(u.bytes, 0) as bytes, a.suspended_at,
             count(*) over () as total
        from user_credits a left join user_usage u on u.account_id = a.id
       where a.is_suspended = 1 and a.user_id is not null
       order by a.suspended_at nulls first, a.id
       limit $1`,
    values: [limit],
  });
  return {
    accounts: rows.map((row) => ({
      userId: row.user_id,
      balanceUnits: parseUnits(row.balance),
      storedBytes: BigInt(row.bytes),
      suspendedAt: row.suspended_at,
    })),
    total: Number(rows[0]?.total ?? 0),
  };
}

/**
 * Lifts a suspension by an operator's word, whatever the balance is, and writes down who did it and why. While the balance
 * stays below zero, the next fee suspends the account again.
 * @returns false where the account was not suspended, or is none; nothing was changed then
 */
export async function unsuspendUser(
  pool: Pool,
  act: { readonly userId: string; readonly reason: string; readonly operator: string },
): Promise<boolean> {
  const { rowCount } = await runQuery(pool, {
    name: "account_unsuspend",
    text: `
      with lifted as (
        update user_credits set is_suspended = 0, suspended_at = null
         where user_id = $1 and is_suspended = 1
        returning user_id, balance_fula
      )
      insert into admin_audit_log (actor, action, target_id, details)
      select $2, 'billing.unsuspend', user_id, jsonb_build_object('reason', $3::text, 'balance', trim_scale(balance_fula)::text)
        from lifted`,
    values: [act.userId, act.operator, act.reason],
  });
  return rowCount > 0;
}
