import { Counter, Gauge, type Registry } from "prom-client";
import type { LeaseState } from "../lease/lease.ts";

/** What the ledger says of billing, as of the last look; the same on every master. */
export interface BillingScrape {
  /** Unix time in seconds of the start of the last hour that was billed; null where none was. */
  readonly lastHourSeconds: number | null;
  /** Hours that are over and not billed. */
  readonly hoursBehind: number;
  readonly alerts: number;
  readonly chains: readonly {
    readonly name: string;
    /** Null before the first look at it. */
    readonly scannedBlock: number | null;
    readonly scanAgeSeconds: number | null;
    /** Whether the last look failed, or nobody looks any more. */
    readonly hasTrouble: boolean;
  }[];
}

/** The metrics of lease, billing and deposits. */
export interface BillingMetrics {
  /** Notes how this master stands to the lease. */
  leaseChanged(state: LeaseState): void;
  /** Counts accounts that this master charged for an hour. */
  feesCharged(accounts: number): void;
  /** Counts a run of the cron family that failed. */
  runFailed(job: string): void;
  /** Notes a run that was complete, for `fula_job_last_success_timestamp_seconds`. */
  runSucceeded(job: string, atSeconds: number): void;
  /** Unix time in seconds of each job's last complete run by this process. */
  jobSuccess(): ReadonlyMap<string, number>;
  /** Sets what is measured by a look; null where there was none: the metrics are then absent. */
  apply(facts: BillingScrape | null): void;
}

interface BillingGauges {
  readonly lastHour: Gauge;
  readonly lag: Gauge;
  readonly alerts: Gauge;
  readonly block: Gauge<"chain">;
  readonly scanAge: Gauge<"chain">;
  readonly trouble: Gauge<"chain">;
}

function billingGauges(registers: Registry[]): BillingGauges {
  return {
    lastHour: new Gauge({
      name: "fula_billing_last_hour_timestamp_seconds",
      help: "Unix time of the start of the last hour that was billed; absent where none was.",
      registers,
    }),
    lag: new Gauge({ name: "fula_billing_lag_hours", help: "Hours that are over and not billed.", registers }),
    alerts: new Gauge({
      name: "fula_billing_alerts",
      help: "Alerts of billing that stand, each of which needs a person.",
      registers,
    }),
    block: new Gauge({
      name: "fula_chain_scanned_block",
      help: "The last block of the chain that was looked at for deposits.",
      labelNames: ["chain"],
      registers,
    }),
    scanAge: new Gauge({
      name: "fula_chain_scan_age_seconds",
      help: "Time since the chain was last looked at.",
      labelNames: ["chain"],
      registers,
    }),
    trouble: new Gauge({
      name: "fula_chain_trouble",
      help: "1 where the last look at the chain failed or nobody looks at it any more, else 0.",
      labelNames: ["chain"],
      registers,
    }),
  };
}

function applyFacts(gauges: BillingGauges, facts: BillingScrape | null): void {
  for (const gauge of Object.values(gauges)) gauge.reset();
  if (facts === null || facts.lastHourSeconds === null) gauges.lastHour.remove();
  else gauges.lastHour.set(facts.lastHourSeconds);
  if (facts === null) {
    gauges.lag.remove();
    gauges.alerts.remove();
    return;
  }
  gauges.lag.set(facts.hoursBehind);
  gauges.alerts.set(facts.alerts);
  for (const { name: chain, scannedBlock, scanAgeSeconds, hasTrouble } of facts.chains) {
    if (scannedBlock !== null) gauges.block.set({ chain }, scannedBlock);
    if (scanAgeSeconds !== null) gauges.scanAge.set({ chain }, scanAgeSeconds);
    gauges.trouble.set({ chain }, hasTrouble ? 1 : 0);
  }
}

/** Makes the metrics of lease, billing and deposits in a registry. */
export function createBillingMetrics(registers: Registry[]): BillingMetrics {
  const held = new Gauge({
    name: "fula_lease_held",
    help: "1 while this master holds the cron lease, else 0; absent where it takes no part in billing.",
    registers,
  });
  const epoch = new Gauge({
    name: "fula_lease_epoch",
    help: "Epoch of the cron lease as this master saw it last; absent where there is none.",
    registers,
  });
  const changes = new Counter({
    name: "fula_lease_changes_total",
    help: "How often this master took or lost the cron lease.",
    registers,
  });
  const fees = new Counter({
    name: "fula_billing_fees_total",
    help: "Fees of an hour for an account that this master has seen charged.",
    registers,
  });
  const failures = new Counter({
    name: "fula_job_failures_total",
    help: "Runs of a job of the cron family that failed on this master.",
    labelNames: ["job"],
    registers,
  });
  const gauges = billingGauges(registers);
  const jobSuccess = new Map<string, number>();
  let isHeld = false;
  held.remove();
  epoch.remove();
  return {
    leaseChanged: (state) => {
      if (state.held !== isHeld) changes.inc();
      isHeld = state.held;
      held.set(state.held ? 1 : 0);
      if (state.epoch === null) epoch.remove();
      else epoch.set(Number(state.epoch));
    },
    feesCharged: (accounts) => {
      fees.inc(accounts);
    },
    runFailed: (job) => {
      failures.inc({ job });
    },
    runSucceeded: (job, atSeconds) => {
      jobSuccess.set(job, atSeconds);
    },
    jobSuccess: () => jobSuccess,
    apply: (facts) => {
      applyFacts(gauges, facts);
    },
  };
}
