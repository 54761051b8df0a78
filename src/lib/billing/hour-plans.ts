import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import type { FeePolicy } from "./fee.ts";
import { formatHour, type Hour, hourFromSql } from "./hour.ts";
import { formatUnits, parseUnits } from "./money.ts";
import { usageAtSql } from "./usage-sql.ts";

/** What an hour would come to. */
export interface HourEstimate {
  /** Accounts that would be charged. */
  readonly users: number;
  /** In units of 10⁻¹⁸ FULA. */
  readonly sumUnits: bigint;
}

/** Reckons what an hour that is over would cost whom at a price, whoever was charged for it already. Changes nothing. */
export async function estimateHour(pool: Pool, hour: Hour, policy: FeePolicy): Promise<HourEstimate> {
  const { rows } = await runQuery<{ users: string; sum: string }>(pool, {
    name: "billing_hour_estimate",
    text: `
      select count(*) as users, coalesce(sum(hourly_fee(stored.bytes, $2::bigint, $3::numeric)), 0) as sum
        from (select u.account_id, ${usageAtSql("u", "$1::timestamptz")} as bytes from user_usage u) as stored
        join user_credits a on a.id = stored.account_id
       where stored.bytes > $2::bigint and a.user_id is not null`,
    values: [formatHour(hour), policy.freeTierBytes.toString(), formatUnits(policy.fulaPerGibMonth)],
  });
  return { users: Number(rows[0]?.users ?? 0), sumUnits: parseUnits(rows[0]?.sum ?? "0") };
}

/** What waiving a span of hours would do. */
export interface WaivePlan {
  /** Those that would be waived. */
  readonly hours: readonly Hour[];
  /** The first one that keeps all of them from it, and what it is: `done`, `open`, `not over yet`; null where none does. */
  readonly refused: { readonly hour: Hour; readonly state: string } | null;
}

/** Looks what waiving the hours from `first` to `last`, both of them meant, would do. Changes nothing. */
export async function planWaiver(pool: Pool, first: Hour, last: Hour): Promise<WaivePlan> {
  const { rows } = await runQuery<{ hour: Date; state: string | null }>(pool, {
    name: "billing_waive_plan",
    text: `
      select h as hour, case when h + interval '1 hour' > clock_timestamp() then 'not over yet' else b.state end as state
        from generate_series($1::timestamptz, $2::timestamptz, interval '1 hour') as h
        left join billing_hours b on b.hour = h
       order by h`,
    values: [formatHour(first), formatHour(last)],
  });
  const spans = rows.map(({ hour, state }) => ({ hour: hourFromSql(hour), state }));
  const refused = spans.find(({ state }) => state !== null && state !== "skipped" && state !== "waived");
  return {
    hours: spans.filter(({ state }) => state === null || state === "skipped").map(({ hour }) => hour),
    refused: refused === undefined ? null : { hour: refused.hour, state: refused.state ?? "" },
  };
}
