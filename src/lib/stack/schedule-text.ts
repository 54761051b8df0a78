import type { ScheduleReport } from "./schedules.ts";

const OUTCOMES: Readonly<Record<ScheduleReport["outcome"], string>> = {
  installed: "installed",
  updated: "updated",
  unchanged: "already installed as it should be",
  kept: "left as it is",
  printed: "not installed",
  removed: "removed",
};

const PLANNED: Partial<Readonly<Record<ScheduleReport["outcome"], string>>> = {
  installed: "would be installed",
  updated: "would be updated",
  removed: "would be removed",
};

/** Says what became of a schedule. @param dryRun true says what would have */
export function scheduleText(report: ScheduleReport, dryRun: boolean): string {
  const outcome = (dryRun ? PLANNED[report.outcome] : undefined) ?? OUTCOMES[report.outcome];
  const because = report.because === null ? "" : `: ${report.because}`;
  const lines = [`The ${report.kind} schedule (${report.schedule}): ${outcome}${because}.`];
  for (const file of report.files) lines.push(`  ${file}`);
  if (report.lines.length > 0) lines.push("Add this to a crontab of this user:", ...report.lines);
  for (const warning of report.warnings) lines.push(`warning: ${warning}`);
  return lines.join("\n");
}
