import type { LoadedConfig } from "../config/load.ts";
import { type BillingReport, readBillingReport } from "./billing-report.ts";
import { peekLedger } from "./ledger-peek.ts";
import type { LookLimits } from "./look.ts";
import { attention, bad, lookAtPart, OK, type Part } from "./status-part.ts";
import type { BillingPart } from "./status-report.ts";

/** How bad the worst of the problems is, and what it is; the others are counted. */
function judgementOf({ problems }: BillingReport): Part {
  const [worst, ...others] = problems;
  if (worst === undefined) return OK;
  const more = others.length === 0 ? "" : ` (and ${others.length} more: fula-master billing status)`;
  const text = `${worst.message} Try: ${worst.remedy}${more}`;
  return worst.severity === "bad" ? bad(text) : attention(text);
}

/** Looks how billing stands. */
export async function readBilling(loaded: LoadedConfig, limits: LookLimits): Promise<BillingPart> {
  const nothing = { on: null, leader: null, epoch: null, lastHour: null, hoursBehind: null, alerts: null };
  return await lookAtPart<BillingPart>(limits, nothing, async (signal) => {
    const report = await peekLedger(loaded, async (pool) => await readBillingReport(pool, loaded.config), signal);
    if (report === null) return { ...nothing, ...bad("the embedded PostgreSQL does not run. Try: fula-master start") };
    return {
      on: report.on,
      leader: report.leader.holder,
      epoch: report.leader.epoch,
      lastHour: report.lastHour?.hour ?? null,
      hoursBehind: report.hoursBehind,
      alerts: report.alerts.length,
      ...judgementOf(report),
    };
  });
}
