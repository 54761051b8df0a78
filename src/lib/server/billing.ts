import { billingModeOf } from "../billing/billing-mode.ts";
import { billingSwitch } from "../billing/billing-switch.ts";
import { creditUsersTx } from "../billing/credits.ts";
import { runDeduction } from "../billing/deduction.ts";
import { assertBillingMode } from "../billing/mode-guard.ts";
import { parseUnits } from "../billing/money.ts";
import { runScan } from "../billing/scan.ts";
import { settleLinkedWallets } from "../billing/wallet-settlement.ts";
import { chainsOf } from "../config/chain-settings.ts";
import type { Config } from "../config/schema.ts";
import type { Clock } from "../kernel/clock.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import type { Pool } from "../postgres/pool.ts";
import type { Ledger } from "../stack/ledger.ts";
import { type BillingCheck, createBillingCheck } from "./billing-check.ts";
import { startCron } from "./cron.ts";
import type { CronTask } from "./cron-task.ts";
import type { BillingMetrics } from "./metrics-billing.ts";

/** What billing in `serve` needs. */
export interface BillingDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: BillingMetrics;
}

/** The billing of this master, as it runs. */
export interface Billing extends BillingCheck, AsyncDisposable {}

const WALLETS_INTERVAL_MS = 60_000;

type BillingConfig = Pick<Config, "billing" | "chains" | "node">;

/** Looks for unbilled hours. By key it may look at any time; without keys each run charges once more, so it waits first. */
function deductionTask(pool: Pool, { billing: settings, node }: BillingConfig, deps: BillingDeps): CronTask {
  const { clock, random, log, metrics } = deps;
  return {
    name: "deduction",
    intervalMs: settings.deductionIntervalMs,
    atEachHour: settings.idempotency,
    atOnce: settings.idempotency,
    triesAgain: settings.idempotency,
    run: async (fence, signal) => {
      const report = await runDeduction({
        pool,
        log,
        clock,
        random,
        signal,
        fence,
        node: node.name,
        settings,
        // Shard by shard: what is charged counts also where the look does not come to its end, and once among all masters.
        onProgress: ({ users }) => {
          metrics.feesCharged(users);
        },
      });
      metrics.feesCharged(report.unkeyed?.users ?? 0);
      return report.waitingFor === null;
    },
  };
}

/** Hands over what came to linked wallets' own accounts; often enough that no hour is billed to them. */
function walletTask(pool: Pool): CronTask {
  return {
    name: "wallets",
    intervalMs: WALLETS_INTERVAL_MS,
    atEachHour: false,
    atOnce: true,
    triesAgain: false,
    run: async (_fence, signal) => {
      await settleLinkedWallets(pool, signal);
      return true;
    },
  };
}

/** Looks for deposits. A chain whose endpoints did not answer is looked at again soon. */
function scanTask(pool: Pool, config: BillingConfig, deps: BillingDeps): CronTask {
  const { clock, log } = deps;
  const { scannerIntervalMs, minDepositFula, referralBonuses } = config.billing;
  return {
    name: "scan",
    intervalMs: scannerIntervalMs,
    atEachHour: false,
    atOnce: true,
    triesAgain: true,
    run: async (fence, signal) => {
      const { chains } = await runScan({
        pool,
        chains: chainsOf(config),
        fence,
        credit: creditUsersTx,
        referralBonuses,
        minUnits: parseUnits(minDepositFula),
        fetch: async (url, init) => await fetch(url, init),
        clock,
        log,
        signal,
      });
      return chains.every(({ state }) => state !== "failed");
    },
  };
}

/**
 * Starts the cron family of this master where billing is on: it takes part in the lease, and bills and scans while it
 * holds it. Null where billing is off, which is said in the log.
 * @throws FulaError FULA_BILLING_MODE_MIXED, FULA_LEASE_POOLER, and what the ledger's connection throws
 */
export async function startBilling(
  config: Config,
  ledger: Pick<Ledger, "pool" | "connection">,
  deps: BillingDeps,
): Promise<Billing | null> {
  const { clock, random, log, metrics } = deps;
  const { isOn, because } = billingSwitch(config.billing);
  log.info(isOn ? "billing.on" : "billing.off", { because });
  if (!isOn) return null;
  const { cronLeaderLease, leaseTtl, idempotency } = config.billing;
  const cron = await startCron({
    connection: ledger.connection,
    node: config.node.name,
    ttlMs: leaseTtl,
    hasLease: cronLeaderLease,
    clock,
    random,
    log,
    tasks: (pool) => [deductionTask(pool, config, deps), scanTask(pool, config, deps), walletTask(pool)],
    onSession: async (client) => {
      await assertBillingMode(client, billingModeOf(idempotency), config.node.name);
    },
    onLease: (state) => {
      metrics.leaseChanged(state);
    },
    onRun: (job, outcome) => {
      if (outcome === "failed") metrics.runFailed(job);
      if (outcome === "complete") metrics.runSucceeded(job, Math.floor(clock.nowMs() / 1_000));
    },
  });
  return {
    ...createBillingCheck(ledger.pool, config),
    [Symbol.asyncDispose]: async () => await cron[Symbol.asyncDispose](),
  };
}
