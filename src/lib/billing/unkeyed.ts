import { isFulaError } from "../kernel/errors.ts";
import { sqlStateOf } from "../postgres/database-errors.ts";
import { type Fence, fenceCte, fenceValues, leaseLost } from "../postgres/fence.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import { type TransactionClient, withTransaction } from "../postgres/transaction.ts";
import { billingModeOf, findBillingMode } from "./billing-mode.ts";
import type { DeductionDeps } from "./deduction-report.ts";
import { type FeePolicy, hourlyFee } from "./fee.ts";
import { formatUnits, parseUnits } from "./money.ts";
import { policyOf } from "./policy.ts";

/** An account that stores more than the free tier now. */
interface DueAccount {
  readonly id: bigint;
  readonly bytes: bigint;
}

async function dueAccounts(pool: Pool, policy: FeePolicy): Promise<readonly DueAccount[]> {
  const { rows } = await runQuery<{ account_id: string; bytes: string }>(pool, {
    name: "unkeyed_due",
    text: `
      select u.account_id, u.bytes from user_usage u join user_credits a on a.id = u.account_id
       where u.bytes > $1 and a.user_id is not null order by u.account_id`,
    values: [policy.freeTierBytes.toString()],
  });
  return rows.map((row) => ({ id: BigInt(row.account_id), bytes: BigInt(row.bytes) }));
}

/** Locks an account under the lease. @returns its balance in units; null where it is suspended */
async function lockAccount(client: TransactionClient, id: bigint, fence: Fence | null): Promise<bigint | null> {
  const { rows } = await client.query<{ balance: string; is_suspended: boolean }>({
    name: "unkeyed_lock",
    text: `
      with ${fenceCte(1)}
      select coalesce(balance_fula, 0) as balance, is_suspended is not distinct from 1 as is_suspended
        from user_credits where id = $3 and exists (select from fence) for no key update`,
    values: [...fenceValues(fence), id.toString()],
  });
  const row = rows[0];
  if (row === undefined) {
    if (fence !== null) throw leaseLost(fence);
    throw new Error(`the account ${id} is gone`);
  }
  return row.is_suspended ? null : parseUnits(row.balance);
}

/** Charges one account once more, as older masters with their flag off do. @returns what it paid, in units; 0 = nothing */
async function chargeAccount(
  client: TransactionClient,
  account: DueAccount,
  fee: bigint,
  fence: Fence | null,
): Promise<bigint> {
  const balance = await lockAccount(client, account.id, fence);
  if (balance === null) return 0n;
  await client.query({
    name: "unkeyed_pay",
    text: `
      update user_credits
         set balance_fula = balance_fula - $2::numeric, total_deducted_fula = coalesce(total_deducted_fula, 0) + $2::numeric,
             last_deduction_at = now(), is_suspended = case when $3 then 1 else is_suspended end,
             suspended_at = case when $3 then now() else suspended_at end
       where id = $1`,
    values: [account.id.toString(), formatUnits(fee), balance < fee],
  });
  await client.query({
    name: "unkeyed_enter",
    text: `
      insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id, usage_bytes)
      select user_id, 'hourly_deduction', -$2::numeric, balance_fula,
             to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), $3
        from user_credits where id = $1`,
    values: [account.id.toString(), formatUnits(fee), account.bytes.toString()],
  });
  return fee;
}

/** Whether what happened to one account happens to all that follow, or is no account's at all. */
function endsRun(error: unknown, signal: AbortSignal): boolean {
  if (signal.aborted || isFulaError(error, "FULA_LEASE_LOST")) return true;
  if (isFulaError(error, "FULA_DATABASE_UNREACHABLE") || isFulaError(error, "FULA_DATABASE_LOGIN")) return true;
  // The ledger takes no fee without a key any more.
  return sqlStateOf(error) === "FM001";
}

/**
 * One run without keys: every account that stores more than the free tier now pays for one hour, in a transaction of its
 * own; one that cannot be charged is told and left out. Nothing tells a second run from the first, so a run that was cut off
 * charges those before the cut again when it is repeated, and must not be before the next hour; that is what keys are for.
 * @throws FulaError FULA_BILLING_MODE_MIXED where the federation bills by keys, FULA_LEASE_LOST
 */
export async function chargeUnkeyed(
  deps: DeductionDeps,
): Promise<{ readonly users: number; readonly sumUnits: bigint; readonly failed: number }> {
  const { pool, signal, fence, clock, random, log } = deps;
  const policy = policyOf(deps.settings);
  await findBillingMode(pool, billingModeOf(false));
  let users = 0;
  let sumUnits = 0n;
  let failed = 0;
  for (const account of await dueAccounts(pool, policy)) {
    const fee = hourlyFee(account.bytes, policy);
    const options = { signal, clock, random };
    try {
      const paid = await withTransaction(
        pool,
        async (client) => await chargeAccount(client, account, fee, fence),
        options,
      );
      if (paid > 0n) users += 1;
      sumUnits += paid;
    } catch (error) {
      if (endsRun(error, signal)) throw error;
      failed += 1;
      log.error("billing.unkeyed.account_failed", { account: account.id.toString(), error });
    }
  }
  return { users, sumUnits, failed };
}
