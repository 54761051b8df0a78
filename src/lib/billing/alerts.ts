import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";

/** What can need a person. */
export const ALERT_KINDS = [
  // Billing: subject = the hour's key, or the span of hours.
  "amount-differs",
  "hours-skipped",
  "index-missing",
  // Deposits: subject = the chain's id.
  "reorg-too-deep",
  "chain-stands-still",
  "endpoints-disagree",
] as const;
export type AlertKind = (typeof ALERT_KINDS)[number];

/** A cause that stands until it is resolved; raised again, it counts up. */
export interface BillingAlert {
  readonly id: bigint;
  /** One of `ALERT_KINDS`, or what a newer build knows. */
  readonly kind: string;
  readonly subject: string;
  readonly details: Readonly<Record<string, unknown>>;
  readonly raisedAt: Date;
  readonly lastSeenAt: Date;
  readonly times: number;
}

/**
 * Raises an alert, or counts the one up that stands for the same kind and subject; its details are replaced.
 * @param details plain JSON: amounts as decimal strings, no bigint
 */
export async function raiseAlert(
  pool: Pool,
  kind: AlertKind,
  subject: string,
  details: Readonly<Record<string, unknown>>,
): Promise<void> {
  await runQuery(pool, {
    name: "billing_alert_raise",
    text: `
      insert into billing_alerts as standing (kind, subject, details) values ($1, $2, $3)
          on conflict (kind, subject) where resolved_at is null
          do update set details = excluded.details, last_seen_at = now(), times = standing.times + 1`,
    values: [kind, subject, JSON.stringify(details)],
  });
}

/** Resolves the alert that stands for this kind and subject. @returns false where none does */
export async function resolveAlert(pool: Pool, kind: AlertKind, subject: string, by: string): Promise<boolean> {
  const { rowCount } = await runQuery(pool, {
    name: "billing_alert_resolve",
    text: `
      update billing_alerts set resolved_at = now(), resolved_by = $3
       where kind = $1 and subject = $2 and resolved_at is null`,
    values: [kind, subject, by],
  });
  return rowCount > 0;
}

/** Resolves one alert by its id. @returns false where there is none of this id that stands */
export async function resolveAlertById(pool: Pool, id: bigint, by: string): Promise<boolean> {
  const { rowCount } = await runQuery(pool, {
    name: "billing_alert_resolve_id",
    text: "update billing_alerts set resolved_at = now(), resolved_by = $2 where alert_id = $1 and resolved_at is null",
    values: [id.toString(), by],
  });
  return rowCount > 0;
}

/** All alerts that stand, the oldest first. */
export async function standingAlerts(pool: Pool): Promise<readonly BillingAlert[]> {
  const { rows } = await runQuery<{
    alert_id: string;
    kind: string;
    subject: string;
    details: Record<string, unknown>;
    raised_at: Date;
    last_seen_at: Date;
    times: string;
  }>(pool, {
    name: "billing_alerts_standing",
    text: `
      select alert_id, kind, subject, details, raised_at, last_seen_at, times
        from billing_alerts where resolved_at is null
       order by alert_id`,
    values: [],
  });
  return rows.map((row) => ({
    id: BigInt(row.alert_id),
    kind: row.kind,
    subject: row.subject,
    details: row.details,
    raisedAt: row.raised_at,
    lastSeenAt: row.last_seen_at,
    times: Number(row.times),
  }));
}
