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
  if (withoutPin > 0) lines.push(`${formatCount(withoutPin, "CID has", "CIDs have")} a status, but no pin.`);
  return lines;
}
