import { type BillingFacts, readBillingFacts, type WaitingHour } from "../billing/billing-status.ts";
import { billingSwitch } from "../billing/billing-switch.ts";
import { formatHour } from "../billing/hour.ts";
import { formatUnits } from "../billing/money.ts";
import { chainsOf } from "../config/chain-settings.ts";
import type { Config } from "../config/schema.ts";
import { type LeaseRecord, readLease } from "../lease/lease-record.ts";
import { describeSession } from "../postgres/advisory-lock.ts";
import type { Pool } from "../postgres/pool.ts";
import { type AlertLine, alertLine } from "./billing-alerts.ts";
import { type BillingProblem, judgeBilling } from "./billing-judge.ts";

/** What `billing status --json` prints; docs/billing.md documents it. Times RFC 3339, UTC; FULA as decimal text. */
export interface BillingReport {
  readonly state: "ok" | "attention" | "bad";
  readonly problems: readonly BillingProblem[];
  /** By the database's clock. */
  readonly at: string;
  /** Whether this master takes part. */
  readonly on: boolean;
  readonly because: string;
  /** Null where nobody has billed yet. */
  readonly mode: BillingFacts["mode"];
  readonly basis: Config["billing"]["basis"];
  readonly fulaPerGibMonth: string;
  readonly freeTierBytes: number;
  readonly leader: {
    readonly standing: LeaseRecord["standing"] | "none";
    readonly holder: string | null;
    /** Whether that is this box. */
    readonly isThisBox: boolean;
    readonly epoch: string;
    readonly heldForSeconds: number | null;
    readonly renewedSecondsAgo: number | null;
    readonly session: string | null;
  };
  readonly firstHour: string | null;
  readonly lastHour: {
    readonly hour: string;
    readonly endedAt: string;
    readonly by: string | null;
    readonly epoch: string | null;
    readonly users: number;
    readonly sumFula: string;
  } | null;
  readonly hoursBehind: number;
  readonly openHours: readonly HourLine[];
  readonly skippedHours: readonly HourLine[];
  readonly skippedCount: number;
  readonly suspendedAccounts: number;
  readonly alerts: readonly AlertLine[];
  readonly chains: readonly {
    readonly name: string;
    readonly chainId: number;
    /** Why nobody looks there; null where somebody does. */
    readonly offBecause: string | null;
    readonly endpoints: number;
    readonly scannedBlock: string | null;
    readonly settledBlock: string | null;
    readonly lastScanAt: string | null;
    readonly lastError: string | null;
    readonly haltedBecause: string | null;
  }[];
  readonly deposits: { readonly waiting: number; readonly unclaimed: number; readonly unclaimedFula: string };
}

/** An hour that is being billed, or was left out. */
interface HourLine {
  readonly hour: string;
  readonly begunBy: string;
  readonly shards: number;
  readonly shardsDone: number;
  readonly reason: string | null;
}

function hourLine({ hour, beganBy, shards, shardsDone, reason }: WaitingHour): HourLine {
  return { hour: formatHour(hour), begunBy: beganBy, shards, shardsDone, reason };
}

function chainLines({ chains }: BillingFacts, config: Config): BillingReport["chains"] {
  return chainsOf(config).map(({ name, chainId, offBecause, rpcUrls }) => {
    const known = chains.find((chain) => chain.chainId === chainId);
    return {
      name,
      chainId,
      offBecause,
      endpoints: rpcUrls.length,
      scannedBlock: known?.scannedBlock?.toString() ?? null,
      settledBlock: known?.settledBlock?.toString() ?? null,
      lastScanAt: known?.lastScanAt?.toISOString() ?? null,
      lastError: known?.lastError ?? null,
      haltedBecause: known?.haltedBecause ?? null,
    };
  });
}

function leaderLine(lease: LeaseRecord, { billing, node }: Config): BillingReport["leader"] {
  return {
    standing: billing.cronLeaderLease || lease.standing === "foreign" ? lease.standing : "none",
    holder: lease.holder,
    isThisBox: lease.holder !== null && lease.holder === node.name,
    epoch: lease.epoch.toString(),
    heldForSeconds: lease.heldForSeconds,
    renewedSecondsAgo: lease.renewedSecondsAgo,
    session: lease.session === null ? null : describeSession(lease.session),
  };
}

/**
 * Looks how billing stands, as seen from the box with these settings. Changes nothing.
 * @throws FulaError FULA_DATABASE_UNREACHABLE, FULA_DATABASE_LOGIN; a DatabaseError for what the server refuses
 */
export async function readBillingReport(pool: Pool, config: Config): Promise<BillingReport> {
  const facts = await readBillingFacts(pool);
  const lease = await readLease(pool);
  const problems = judgeBilling({ facts, lease, config });
  const { isOn, because } = billingSwitch(config.billing);
  const { lastDone } = facts;
  return {
    state: problems[0]?.severity ?? "ok",
    problems,
    at: facts.now.toISOString(),
    on: isOn,
    because,
    mode: facts.mode,
    basis: config.billing.basis,
    fulaPerGibMonth: config.billing.fulaPerGbMonth,
    freeTierBytes: config.billing.freeTierBytes,
    leader: leaderLine(lease, config),
    firstHour: facts.firstHour === null ? null : formatHour(facts.firstHour),
    lastHour:
      lastDone === null
        ? null
        : {
            hour: formatHour(lastDone.hour),
            endedAt: lastDone.endedAt.toISOString(),
            by: lastDone.endedBy,
            epoch: lastDone.epoch?.toString() ?? null,
            users: lastDone.users,
            sumFula: formatUnits(lastDone.sumUnits),
          },
    hoursBehind: facts.hoursBehind,
    openHours: facts.openHours.map(hourLine),
    skippedHours: facts.skippedHours.map(hourLine),
    skippedCount: facts.skippedCount,
    suspendedAccounts: facts.suspended,
    alerts: facts.alerts.map(alertLine),
    chains: chainLines(facts, config),
    deposits: {
      waiting: facts.deposits.waiting,
      unclaimed: facts.deposits.unclaimed,
      unclaimedFula: formatUnits(facts.deposits.unclaimedUnits),
    },
  };
}
