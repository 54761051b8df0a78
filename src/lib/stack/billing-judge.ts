import { adviceOn } from "../billing/alert-advice.ts";
import type { BillingFacts, ChainStanding } from "../billing/billing-status.ts";
import { billingSwitch } from "../billing/billing-switch.ts";
import { formatHour } from "../billing/hour.ts";
import { formatUnits, parseUnits } from "../billing/money.ts";
import { chainsOf } from "../config/chain-settings.ts";
import type { Config } from "../config/schema.ts";
import { formatCount, formatDuration } from "../kernel/units.ts";
import type { LeaseRecord } from "../lease/lease-record.ts";
import { describeSession } from "../postgres/advisory-lock.ts";

/** Something about billing that a person has to know. `bad`: money is at stake; `attention`: it works so far. */
export interface BillingProblem {
  /** Stable, for machines: `hours-behind`. */
  readonly id: string;
  readonly severity: "attention" | "bad";
  readonly message: string;
  readonly remedy: string;
}

/** What is judged. */
export interface BillingLook {
  readonly facts: BillingFacts;
  readonly lease: LeaseRecord;
  readonly config: Pick<Config, "billing" | "chains">;
}

/** An hour is charged within seconds of its end; a big ledger, or a standby that takes over, takes minutes. */
const HOUR_LATE_MS = 15 * 60_000;
/** A chain that nobody looked at for so many scans has been forgotten. */
const SCANS_MISSED_MAX = 3;

function bad(id: string, message: string, remedy: string): BillingProblem {
  return { id, severity: "bad", message, remedy };
}

function attention(id: string, message: string, remedy: string): BillingProblem {
  return { id, severity: "attention", message, remedy };
}

const SEE_SERVE =
  "fula-master status on each master: serve must run there, and its log says why it does not take the lease.";

function leaseProblems({ lease, facts, config: { billing } }: BillingLook): readonly BillingProblem[] {
  const { isOn, because } = billingSwitch(billing);
  if (lease.standing === "foreign") {
    const who = describeSession(lease.session);
    return [
      bad(
        "lease-foreign",
        `The cron lease is held by other software, ${who}: no master of ours bills.`,
        "stop the billing of that software (VAULT_ADDRESS, or its service), then a master takes the lease within a second.",
      ),
    ];
  }
  if (!billing.cronLeaderLease) return [];
  if (lease.standing === "expired") {
    const ago = formatDuration((lease.renewedSecondsAgo ?? 0) * 1_000);
    return [
      bad(
        "lease-expired",
        `${lease.holder ?? "Its holder"} holds the cron lease and has not renewed it for ${ago}; no standby takes it.`,
        SEE_SERVE,
      ),
    ];
  }
  if (lease.standing !== "free") return [];
  if (isOn) return [bad("nobody-leads", "Nobody holds the cron lease, so nobody bills.", SEE_SERVE)];
  if (facts.mode === null) return [];
  return [
    bad(
      "nobody-leads",
      `Billing is off here (${because}), and no other master bills, though this ledger was billed before.`,
      "fula-master config set billing.enabled on, then restart serve.",
    ),
  ];
}

function hourProblems({ facts }: BillingLook): readonly BillingProblem[] {
  const { hoursBehind, behindSince, skippedCount, skippedHours, now } = facts;
  const lateMs = behindSince === null ? 0 : now.getTime() - behindSince.getTime();
  const [first] = skippedHours;
  return [
    ...(lateMs > HOUR_LATE_MS
      ? [
          bad(
            "hours-behind",
            `${formatCount(hoursBehind, "hour that is over is", "hours that are over are")} not billed; the oldest ended ${formatDuration(lateMs)} ago.`,
            "fula-master billing run bills them now, or says what is in the way.",
          ),
        ]
      : []),
    ...(skippedCount > 0
      ? [
          bad(
            "hours-skipped",
            `${formatCount(skippedCount, "hour was", "hours were")} left out as too long ago${first === undefined ? "" : `, from ${formatHour(first.hour)} on`}.`,
            "fula-master billing backfill charges them; fula-master billing waive lets them go.",
          ),
        ]
      : []),
  ];
}

function settingProblems({ facts, config: { billing } }: BillingLook): readonly BillingProblem[] {
  const wanted = billing.idempotency ? "keyed" : "unkeyed";
  const { lastDone, mode } = facts;
  const price = parseUnits(billing.fulaPerGbMonth);
  const differs =
    lastDone !== null &&
    (lastDone.fulaPerGibMonth !== price || lastDone.freeTierBytes !== BigInt(billing.freeTierBytes));
  return [
    ...(mode !== null && mode !== wanted
      ? [
          bad(
            "mode-differs",
            `This ledger is billed ${mode}, but BILLING_IDEMPOTENCY of this master says ${wanted}: it is not let in.`,
            `fula-master config set billing.idempotency ${mode === "keyed" ? "true" : "false"}, or change all masters: fula-master billing mode ${wanted}.`,
          ),
        ]
      : []),
    ...(differs
      ? [
          attention(
            "price-differs",
            `The settings here say ${formatUnits(price)} FULA and ${billing.freeTierBytes} free bytes; ${formatHour(lastDone.hour)} was billed with ${formatUnits(lastDone.fulaPerGibMonth)} and ${lastDone.freeTierBytes}.`,
            "give every master the same billing.fulaPerGbMonth and billing.freeTierBytes: the holder of the lease bills with its own.",
          ),
        ]
      : []),
  ];
}

function chainProblem(chain: ChainStanding, now: Date, intervalMs: number): BillingProblem | null {
  const { name, haltedBecause, lastError, lastScanAt } = chain;
  const look = "fula-master billing chains";
  if (haltedBecause !== null) {
    return bad(
      "chain-halted",
      `Nobody looks for deposits on ${name} any more: ${haltedBecause}.`,
      `${look}; docs/deposits.md says how to go on.`,
    );
  }
  const idleMs = lastScanAt === null ? null : now.getTime() - lastScanAt.getTime();
  if (idleMs !== null && idleMs > SCANS_MISSED_MAX * intervalMs) {
    return bad(
      "chain-behind",
      `${name} was last looked at ${formatDuration(idleMs)} ago${lastError === null ? "" : `: ${lastError}`}.`,
      look,
    );
  }
  return lastError === null ? null : attention("chain-errors", `The last look at ${name} failed: ${lastError}.`, look);
}

function chainProblems({ facts, config }: BillingLook): readonly BillingProblem[] {
  if (!billingSwitch(config.billing).isOn) return [];
  const chains = chainsOf(config);
  const off = chains.filter(({ offBecause }) => offBecause !== null);
  if (off.length === chains.length) {
    const why = off.map(({ name, offBecause }) => `${name} (${offBecause ?? ""})`).join(", ");
    return [
      attention(
        "no-chain",
        `No deposit is ever found: every chain is off: ${why}.`,
        "give one an endpoint: chains in fula-master.yaml, docs/deposits.md.",
      ),
    ];
  }
  const wanted = new Set(chains.filter(({ offBecause }) => offBecause === null).map(({ chainId }) => chainId));
  return facts.chains
    .filter(({ chainId }) => wanted.has(chainId))
    .flatMap((chain) => chainProblem(chain, facts.now, config.billing.scannerIntervalMs) ?? []);
}

function alertProblems({ facts }: BillingLook): readonly BillingProblem[] {
  return facts.alerts.map(({ id, kind, subject, raisedAt }) =>
    bad(`alert-${kind}`, `Alert ${id} stands since ${raisedAt.toISOString()}: ${kind} ${subject}.`, adviceOn(kind)),
  );
}

/** Says what about billing a person has to know, the worst first; nothing where all is well. Asks nobody. */
export function judgeBilling(look: BillingLook): readonly BillingProblem[] {
  const problems = [
    ...leaseProblems(look),
    ...hourProblems(look),
    ...alertProblems(look),
    ...settingProblems(look),
    ...chainProblems(look),
  ];
  return [
    ...problems.filter(({ severity }) => severity === "bad"),
    ...problems.filter(({ severity }) => severity === "attention"),
  ];
}
