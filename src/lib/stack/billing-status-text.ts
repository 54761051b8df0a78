import { formatCount, formatDuration } from "../kernel/units.ts";
import type { BillingReport } from "./billing-report.ts";

/** How the words for a state are shown; identity where colours are off. */
export interface BillingStyle {
  readonly good: (text: string) => string;
  readonly attention: (text: string) => string;
  readonly bad: (text: string) => string;
}

function leaderText({ standing, holder, epoch, isThisBox, heldForSeconds, session }: BillingReport["leader"]): string {
  const who = `${holder ?? "somebody"}${isThisBox ? " (this box)" : ""}, epoch ${epoch}`;
  const texts: Readonly<Record<typeof standing, string>> = {
    held: `${who}, for ${formatDuration((heldForSeconds ?? 0) * 1_000)}`,
    expired: `${who}, but no longer renewed`,
    taking: `being taken by ${session ?? "a master"}`,
    foreign: `other software: ${session ?? "an unknown session"}`,
    free: "nobody",
    none: "every master (billing.cronLeaderLease is off)",
  };
  return texts[standing];
}

function chainText({
  name,
  offBecause,
  scannedBlock,
  haltedBecause,
  lastError,
  lastScanAt,
}: BillingReport["chains"][number]): string {
  if (offBecause !== null) return `${name} off: ${offBecause}`;
  if (haltedBecause !== null) return `${name} HALTED: ${haltedBecause}`;
  const seen =
    scannedBlock === null ? "not looked at yet" : `block ${scannedBlock}, looked at ${lastScanAt ?? "never"}`;
  return `${name} ${seen}${lastError === null ? "" : `, last error: ${lastError}`}`;
}

function row(title: string, text: string): string {
  return `  ${title.padEnd(12)} ${text}`;
}

function problemLines({ problems }: BillingReport, style: BillingStyle): readonly string[] {
  return problems.flatMap(({ severity, message, remedy }) => {
    const mark = severity === "bad" ? style.bad("BAD ") : style.attention("look");
    return [`  ${mark} ${message}`, `       Try: ${remedy}`];
  });
}

function lastHourText(lastHour: BillingReport["lastHour"]): string {
  if (lastHour === null) return "none yet";
  const { hour, users, sumFula, by, epoch } = lastHour;
  const who = by === null ? "" : `, by ${by}${epoch === null ? "" : ` (epoch ${epoch})`}`;
  return `${hour}: ${formatCount(users, "account")}, ${sumFula} FULA${who}`;
}

/** How billing stands, on one screen. */
export function renderBillingStatus(report: BillingReport, style: BillingStyle): string {
  const { state, on, because, mode, basis, fulaPerGibMonth, freeTierBytes, hoursBehind, deposits } = report;
  const verdict = {
    ok: style.good("well"),
    attention: style.attention("works, see below"),
    bad: style.bad("NOT WELL"),
  };
  const open = report.openHours.map(({ hour, shards, shardsDone }) => `${hour} (${shardsDone} of ${shards} parts)`);
  return [
    `Billing: ${verdict[state]}`,
    "",
    row("this master", `${on ? "takes part" : "takes no part"}: ${because}`),
    row("leader", leaderText(report.leader)),
    row(
      "mode",
      `${mode ?? "nobody has billed yet"}, hours are ${basis === "completed" ? "charged when they are over" : "charged while they run"}`,
    ),
    row("price", `${fulaPerGibMonth} FULA for a GiB and month, ${freeTierBytes} bytes free`),
    row("last hour", lastHourText(report.lastHour)),
    row("behind", hoursBehind === 0 ? "no hour" : formatCount(hoursBehind, "hour")),
    ...(open.length === 0 ? [] : [row("being billed", open.join(", "))]),
    ...(report.skippedCount === 0 ? [] : [row("left out", formatCount(report.skippedCount, "hour"))]),
    row("suspended", formatCount(report.suspendedAccounts, "account")),
    row(
      "deposits",
      `${deposits.waiting} wait for confirmations, ${deposits.unclaimed} of unknown senders (${deposits.unclaimedFula} FULA)`,
    ),
    ...report.chains.map((chain) => row("chain", chainText(chain))),
    ...(report.problems.length === 0 ? [] : ["", ...problemLines(report, style)]),
  ].join("\n");
}
