import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import { formatHour, type Hour, hourFromSql } from "./hour.ts";
import { usageAtSql } from "./usage-sql.ts";

/**
 * Bytes that an account stored at the end of `hour`; of an hour that is not closed, what it stores so far. An account
 * that never stored anything, or that does not exist, stored 0.
 */
export async function usageAt(pool: Pool, accountId: bigint, hour: Hour): Promise<bigint> {
  const { rows } = await runQuery<{ bytes: string }>(pool, {
    name: "usage_at",
    text: `select ${usageAtSql("u", "$2::timestamptz")} as bytes from user_usage u where u.account_id = $1`,
    values: [accountId.toString(), formatHour(hour)],
  });
  return BigInt(rows[0]?.bytes ?? 0);
}

/** The last hour whose usage no longer changes. */
export async function usageClosedThrough(pool: Pool): Promise<Hour> {
  const { rows } = await runQuery<{ closed_through: Date }>(pool, {
    name: "usage_closed_through",
    text: "select closed_through from usage_clock",
    values: [],
  });
  const row = rows[0];
  if (row === undefined) throw new Error("the table usage_clock has lost its row");
  return hourFromSql(row.closed_through);
}
