import { FulaError } from "../kernel/errors.ts";
import { assertFenced, type Fence, fenceCte, fenceValues } from "../postgres/fence.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import { type TransactionClient, withTransaction } from "../postgres/transaction.ts";
import { billingModeOf, findBillingMode } from "./billing-mode.ts";
import { finishHour } from "./deduction.ts";
import type { DeductionDeps, HourOutcome } from "./deduction-report.ts";
import { formatHour, type Hour, hourFromSql } from "./hour.ts";
import { openSkippedHour, settleSkippedAlerts } from "./hours.ts";
import { type HourPolicy, policyOf, policyValues } from "./policy.ts";
import { closeUsageHour } from "./usage-close.ts";

/** The hours that were left out because they were too long ago, ascending. */
export async function skippedHours(pool: Pool): Promise<readonly Hour[]> {
  const { rows } = await runQuery<{ hour: Date }>(pool, {
    name: "billing_hours_skipped",
    text: "select hour from billing_hours where state = 'skipped' order by hour",
    values: [],
  });
  return rows.map((row) => hourFromSql(row.hour));
}

/**
 * Bills an hour that was left out, by what was stored at its end. Later hours are billed already, so the accounts'
 * watermarks say nothing about it: shards and the ledger's unique index stand alone against a second fee.
 * One that was cut off is gone on with by the next look of any master, or by this again.
 * @param policy the price of that hour; default: that of the settings
 * @throws FulaError FULA_BILLING_HOUR where it was not left out, FULA_BILLING_MODE_MIXED where fees have no keys, and
 * what `runDeduction` throws
 */
export async function backfillHour(
  deps: DeductionDeps,
  hour: Hour,
  policy: HourPolicy = policyOf(deps.settings),
): Promise<HourOutcome> {
  const { pool, fence, clock, signal } = deps;
  // Before the hour is begun: where the ledger takes no fee of it, nobody could end it.
  await findBillingMode(pool, billingModeOf(true));
  await closeUsageHour(pool, hour, { fence, clock, signal });
  await openSkippedHour(pool, hour, policy, deps);
  return await finishHour(deps, hour);
}

/** A decision that nobody pays for some hours. */
export interface Waiver {
  readonly first: Hour;
  /** The last one that is meant, itself included. */
  readonly last: Hour;
  readonly reason: string;
  readonly operator: string;
  readonly fence: Fence | null;
}

interface WaivedRow {
  readonly fenced: boolean;
  readonly waived: Date[] | null;
  readonly left: string;
  readonly refused: Date | null;
  readonly why: string | null;
}

async function waiveWithin(client: TransactionClient, waiver: Waiver, policy: HourPolicy): Promise<readonly Hour[]> {
  const { first, last, reason, operator, fence } = waiver;
  const { rows } = await client.query<WaivedRow>({
    name: "billing_hours_waive",
    text: `
      with ${fenceCte(1)}, span as (
        select h as hour, case when h + interval '1 hour' > clock_timestamp() then 'not over yet' else b.state end as state
          from generate_series($3::timestamptz, $4::timestamptz, interval '1 hour') as h
          left join billing_hours b on b.hour = h
      ), refused as materialized (
        select hour, state from span where state in ('open', 'done', 'not over yet') order by hour limit 1
      ), waived as (
        insert into billing_hours as h (hour, state, free_tier_bytes, fula_per_gib_month, while_suspended, began_by,
                                        began_epoch, reason)
        select hour, 'waived', $5, $6, $7, $8, $2, $9 from fence, span
         where not exists (select from refused)
            on conflict (hour) do update
            set state = 'waived', ended_at = clock_timestamp(), ended_by = excluded.began_by,
                ended_epoch = excluded.began_epoch, reason = excluded.reason
          where h.state = 'skipped'
        returning hour
      )
      select exists (select from fence) as fenced, (select array_agg(hour order by hour) from waived) as waived,
             (select count(*) from span where state is distinct from 'waived') - (select count(*) from waived) as left,
             (select hour from refused) as refused, (select state from refused) as why`,
    values: [...fenceValues(fence), formatHour(first), formatHour(last), ...policyValues(policy), operator, reason],
  });
  const row = rows[0];
  assertFenced(row?.fenced, fence);
  if (row !== undefined && row.refused !== null) throw notWaived(hourFromSql(row.refused), row.why ?? "");
  // Somebody began or waived one of them after the statement had looked: all of it is undone.
  if (row?.left !== "0") throw new BegunMeanwhile();
  const waived = (row.waived ?? []).map(hourFromSql);
  await client.query({
    name: "billing_hours_waive_audit",
    text: `
      insert into admin_audit_log (actor, action, target_id, details)
      select $1, 'billing.waive', hour, jsonb_build_object('reason', $2::text) from unnest($3::text[]) as hour`,
    values: [operator, reason, waived.map(formatHour)],
  });
  return waived;
}

class BegunMeanwhile extends Error {}

/**
 * Decides that nobody pays for hours that are over and not begun, all of them or none. Those waived before stay so.
 * @returns the hours that this call waived
 * @throws FulaError FULA_BILLING_HOUR where one of them runs, is billed or is being billed; FULA_LEASE_LOST
 */
export async function waiveHours(pool: Pool, waiver: Waiver, policy: HourPolicy): Promise<readonly Hour[]> {
  for (;;) {
    try {
      const waived = await withTransaction(pool, async (client) => await waiveWithin(client, waiver, policy));
      await settleSkippedAlerts(pool, waiver.operator);
      return waived;
    } catch (error) {
      // The next look sees what that one is by now, and is done or says so.
      if (!(error instanceof BegunMeanwhile)) throw error;
    }
  }
}

/** What to throw where an hour is not to be waived. */
export function notWaived(hour: Hour, state: string): FulaError {
  return new FulaError("FULA_BILLING_HOUR", `The hour ${formatHour(hour)} cannot be waived: it is ${state}.`, {
    hint: "what users paid for an hour is given back by adjustments: fula-master billing adjust.",
    details: { hour: formatHour(hour), state },
  });
}
