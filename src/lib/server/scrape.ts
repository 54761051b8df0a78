import type { Clock } from "../kernel/clock.ts";
import { readSweepReport } from "../pinset/sweep-report.ts";
import type { Health, HealthReport } from "./health.ts";
import type { ScrapeFacts } from "./metrics.ts";

function detailOf(health: HealthReport, check: string, field: string): number | null {
  const value = health.checks.find(({ name }) => name === check)?.details?.[field];
  return typeof value === "number" ? value : null;
}

/** When a sweep last read the whole pinset, Unix seconds; null where none did or its report cannot be read. */
async function lastSweepSeconds(reportFile: string): Promise<number | null> {
  const report = await readSweepReport(reportFile).catch(() => null);
  // `below` is a sweep that did its work and found some; what it found has its own alert.
  if (report === null || (report.outcome !== "ok" && report.outcome !== "below")) return null;
  return Math.floor(Date.parse(report.finishedAt) / 1_000);
}

/** Gathers what `/metrics` shows beside its counters. What cannot be found out is left out. */
export async function gatherScrapeFacts(
  health: Health,
  options: { readonly sweepReportFile: string; readonly clock: Clock },
): Promise<ScrapeFacts> {
  const [report, sweepSeconds] = await Promise.all([health.report(), lastSweepSeconds(options.sweepReportFile)]);
  const snapshotSeconds = detailOf(report, "snapshot", "takenAtSeconds");
  const jobSuccess = new Map<string, number>();
  if (snapshotSeconds !== null) jobSuccess.set("snapshot", snapshotSeconds);
  if (sweepSeconds !== null) jobSuccess.set("sweep", sweepSeconds);
  return {
    health: report,
    pins: detailOf(report, "pinset", "pins"),
    diskFreeBytes: detailOf(report, "disk", "freeBytes"),
    snapshotAgeSeconds:
      snapshotSeconds === null ? null : Math.max(0, Math.floor(options.clock.nowMs() / 1_000) - snapshotSeconds),
    jobSuccess,
  };
}
