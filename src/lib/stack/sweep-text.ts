import type { SweepReport } from "../pinset/sweep-report.ts";
import { formatCount } from "../kernel/units.ts";

/** What a sweep found, line by line; names in it are as the pins have them. @param alertLog where every alert stands */
export function sweepLines(report: SweepReport, alertLog: string): readonly string[] {
  const { pins, ok, pinning, under, lost, expired, belowBefore, belowAfter, withoutPin } = report;
  const parts = [`${ok} ok`];
  for (const [count, word] of [
    [lost, "lost"],
    [under, "under-replicated"],
    [pinning, "on their way"],
    [expired, "expired"],
  ] as const) {
    if (count > 0) parts.push(`${count} ${word}`);
  }
  const lines = pins === 0 ? ["There are no pins."] : [`${formatCount(pins, "pin")}: ${parts.join(", ")}.`];
  if (belowBefore > 0) lines.push(`Held by too few: ${belowBefore} before the repair, ${belowAfter} after it.`);
  for (const { cid, name, verdict, pinned, required, reason } of report.worst) {
    lines.push(`  ${cid}  ${name}  ${verdict} (${pinned} of ${required}): ${reason}`);
  }
  if (belowAfter > report.worst.length) {
    lines.push(`  … and ${belowAfter - report.worst.length} more: see ${alertLog}`);
  }
  if (report.reallocated > 0) {
    lines.push(`${formatCount(report.reallocated, "pin was", "pins were")} given to other peers.`);
  }
  if (withoutPin > 0)
    lines.push(`${formatCount(withoutPin, "CID is", "CIDs are")} held by peers, but not in the pinset.`);
  return [...lines, ...peerLines(report), ...ledgerLines(report.ledger), ...commandLines(report.alertCommand)];
}

function peerLines({ peers }: SweepReport): readonly string[] {
  return peers.flatMap(({ peer, name, trouble, reason, since, allocatedPins, remedy }) => [
    `Peer ${name === "" ? peer : `${name} (${peer})`} is ${PEER_WORDS[trouble]} since ${since}: ${reason}`,
    `  ${formatCount(allocatedPins, "pin names", "pins name")} it. Try: ${remedy}`,
  ]);
}

const PEER_WORDS = {
  silent: "silent",
  hiding: "keeping its pins from this master",
  gone: "gone",
  kubo: "without its Kubo",
} as const;

function ledgerLines(ledger: SweepReport["ledger"]): readonly string[] {
  if (ledger === null) return ["The ledger was left out."];
  const { missing, repinned, shown, waiting, notInLedger } = ledger;
  const lines: string[] = [];
  if (repinned > 0) lines.push(`${formatCount(repinned, "pin was", "pins were")} made again from the ledger.`);
  if (missing > 0)
    lines.push(`${formatCount(missing, "CID", "CIDs")} that the ledger wants pinned: not in the pinset.`);
  for (const { cid, name, problem, reason } of shown) lines.push(`  ${cid}  ${name}  ${problem}: ${reason}`);
  if (missing > shown.length) lines.push(`  … and ${missing - shown.length} more`);
  if (missing > 0) lines.push(LEDGER_REMEDY);
  if (waiting > 0) lines.push(`${formatCount(waiting, "CID waits", "CIDs wait")} to be pinned.`);
  if (notInLedger > 0) lines.push(`${formatCount(notInLedger, "pin is", "pins are")} not in the ledger.`);
  return lines;
}

const LEDGER_REMEDY =
  "Try: fula-master restore --dry-run, which knows their options; then fula-master sweep --repair-ledger for the rest.";

function commandLines(command: SweepReport["alertCommand"]): readonly string[] {
  if (command === null) return [];
  const alerts = formatCount(command.alerts, "alert");
  return command.error === null
    ? [`sweep.alertCommand took ${alerts}.`]
    : [`sweep.alertCommand did not take ${alerts}, and will be given them again: ${command.error}`];
}
