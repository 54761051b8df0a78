import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import { raiseAlert } from "./alerts.ts";
import { formatHour, type Hour, hourKey } from "./hour.ts";
import { formatUnits, parseUnits } from "./money.ts";
import { usageAtSql } from "./usage-sql.ts";

const EXAMPLES = 5;

/**
 * Older masters reckon in floats: of a fee that they wrote, the last digits mean nothing. Ours (their `usage_bytes` says
 * from what) are compared to the last one.
 */
const FLOAT_NOISE_FULA = "0.000000000001";

/**
 * Compares the entries that the ledger had already for an hour with what the hour's record asks for, and raises the alert
 * `amount-differs` where any does not agree. For hours with conflicts only: it reads all accounts that owe.
 * An hour that was billed while it ran is not compared: what was stored at the moment of the other entry is not known.
 * @returns how many differ
 */
export async function compareConflicts(pool: Pool, hour: Hour): Promise<number> {
  const { rows } = await runQuery<{ user_id: string; amount: string; fee: string; differing: string }>(pool, {
    name: "billing_conflicts_compare",
    text: `
      with due as (
        select a.user_id, hourly_fee(b.bytes, h.free_tier_bytes, h.fula_per_gib_month) as fee
          from billing_hours h
          cross join user_usage u
          cross join lateral (select ${usageAtSql("u", "h.hour")} as bytes) as b
          join user_credits a on a.id = u.account_id
         where h.hour = $1 and h.basis = 'completed' and b.bytes > h.free_tier_bytes and a.user_id is not null
      )
      select e.user_id, -e.amount_fula as amount, due.fee::numeric(38, 18) as fee, count(*) over () as differing
        from due join credit_history e using (user_id)
       where e.tx_type = 'hourly_deduction' and e.reference_id = $2
         and abs(e.amount_fula + due.fee) > case when e.usage_bytes is null then ${FLOAT_NOISE_FULA} else 0 end
       order by e.id limit ${EXAMPLES}`,
    values: [formatHour(hour), hourKey(hour)],
  });
  const first = rows[0];
  if (first === undefined) return 0;
  await raiseAlert(pool, "amount-differs", hourKey(hour), {
    accounts: Number(first.differing),
    examples: rows.map((row) => ({
      userId: row.user_id,
      charged: formatUnits(parseUnits(row.amount)),
      expected: formatUnits(parseUnits(row.fee)),
    })),
  });
  return Number(first.differing);
}
