import { adviceOn } from "../billing/alert-advice.ts";
import { type BillingAlert, resolveAlertById, standingAlerts } from "../billing/alerts.ts";
import { FulaError } from "../kernel/errors.ts";
import { type BillingContext, withBillingLedger } from "./billing-ledger.ts";
import { actorOf } from "./operators.ts";

/** An alert that stands, as `billing alerts` and `billing status` print it. Times RFC 3339, UTC. */
export interface AlertLine {
  readonly id: string;
  readonly kind: string;
  readonly subject: string;
  readonly details: Readonly<Record<string, unknown>>;
  readonly raisedAt: string;
  readonly lastSeenAt: string;
  readonly times: number;
  readonly advice: string;
}

/** Renders an alert for people and programs. */
export function alertLine({ id, kind, subject, details, raisedAt, lastSeenAt, times }: BillingAlert): AlertLine {
  return {
    id: id.toString(),
    kind,
    subject,
    details,
    raisedAt: raisedAt.toISOString(),
    lastSeenAt: lastSeenAt.toISOString(),
    times,
    advice: adviceOn(kind),
  };
}

/** The alerts that stand, the oldest first. @throws FulaError what `withBillingLedger` throws */
export async function listAlerts(context: BillingContext): Promise<readonly AlertLine[]> {
  return await withBillingLedger(context, async (pool) => (await standingAlerts(pool)).map(alertLine));
}

/**
 * Ends an alert in the name of this node's operator; a dry run only looks whether it stands.
 * @throws FulaError FULA_ALERT_NOT_FOUND where no alert of this id stands, and what `withBillingLedger` throws
 */
export async function resolveAlertByHand(context: BillingContext, id: bigint, dryRun: boolean): Promise<AlertLine> {
  return await withBillingLedger(context, async (pool, loaded) => {
    const alert = (await standingAlerts(pool)).find((each) => each.id === id);
    const by = actorOf(context, loaded);
    if (alert !== undefined && (dryRun || (await resolveAlertById(pool, id, by)))) return alertLine(alert);
    throw new FulaError("FULA_ALERT_NOT_FOUND", `No alert ${id} stands. Nothing was changed.`, {
      hint: "fula-master billing alerts lists those that do.",
    });
  });
}
