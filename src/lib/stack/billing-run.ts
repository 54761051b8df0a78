import { formatHour, parseHour } from "../billing/hour.ts";
import { type LedgerVerdict, verifyLedger } from "../billing/verify.ts";
import { type BillingReport, readBillingReport } from "./billing-report.ts";
import { type BillingContext, withBillingLedger } from "./billing-ledger.ts";

/** What `billing verify` is given. */
export interface BillingVerifyOptions {
  readonly hours: number | null;
  /** An hour as an operator writes it. */
  readonly since: string | null;
}

/**
 * Proves that the books of this box's ledger are right, or says what is not.
 * @throws FulaError FULA_HOUR_INVALID, FULA_LEDGER_UNREADABLE, and what `withBillingLedger` throws
 */
export async function runBillingVerify(context: BillingContext, options: BillingVerifyOptions): Promise<LedgerVerdict> {
  const since = options.since === null ? null : formatHour(parseHour(options.since));
  return await withBillingLedger(
    context,
    async (pool) => await verifyLedger(pool, { hours: options.hours, since, signal: context.signal }),
  );
}

/** Looks how billing stands. @throws FulaError what `withBillingLedger` throws */
export async function runBillingStatus(context: BillingContext): Promise<BillingReport> {
  return await withBillingLedger(context, async (pool, { config }) => await readBillingReport(pool, config));
}
