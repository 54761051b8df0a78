import type { Config } from "../config/schema.ts";
import type { Pool } from "../postgres/pool.ts";
import { type BillingReport, readBillingReport } from "../stack/billing-report.ts";
import type { CheckOutcome, HealthCheck } from "./health.ts";
import type { BillingScrape } from "./metrics-billing.ts";

/** Looks how billing stands, for /readyz and /metrics. */
export interface BillingCheck {
  readonly check: HealthCheck;
  /** What the last look saw; null before the first one, and where the ledger could not be read. */
  readonly lastLook: () => BillingScrape | null;
}

function outcomeOf(report: BillingReport): CheckOutcome {
  const { leader, hoursBehind, alerts, problems, state } = report;
  const details = {
    leader: leader.holder,
    epoch: Number(leader.epoch),
    hoursBehind,
    alerts: alerts.length,
    problems: problems.map(({ id }) => id),
  };
  if (state !== "bad") return { state: "ok", details };
  const bad = problems.filter(({ severity }) => severity === "bad");
  return { state: "degraded", error: bad.map(({ message }) => message).join(" "), details };
}

function secondsOf(time: string): number {
  return Math.floor(Date.parse(time) / 1_000);
}

function scrapeOf({ at, lastHour, hoursBehind, alerts, chains }: BillingReport): BillingScrape {
  return {
    lastHourSeconds: lastHour === null ? null : secondsOf(lastHour.hour),
    hoursBehind,
    alerts: alerts.length,
    chains: chains
      .filter(({ offBecause }) => offBecause === null)
      .map(({ name, scannedBlock, lastScanAt, lastError, haltedBecause }) => ({
        name,
        scannedBlock: scannedBlock === null ? null : Number(scannedBlock),
        scanAgeSeconds: lastScanAt === null ? null : Math.max(0, secondsOf(at) - secondsOf(lastScanAt)),
        hasTrouble: lastError !== null || haltedBecause !== null,
      })),
  };
}

/** Readiness check: lease, hours, alerts and chains, as the ledger has them. Requests are served without it. */
export function createBillingCheck(pool: Pool, config: Config): BillingCheck {
  let last: BillingScrape | null = null;
  return {
    check: {
      name: "billing",
      critical: false,
      timeoutMs: 5_000,
      cacheMs: 10_000,
      run: async () => {
        last = null;
        const report = await readBillingReport(pool, config);
        last = scrapeOf(report);
        return outcomeOf(report);
      },
    },
    lastLook: () => last,
  };
}
