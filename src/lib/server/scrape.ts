import type { Clock } from "../kernel/clock.ts";
import { readSweepReport, type SweepReport } from "../pinset/sweep-report.ts";
import type { Health, HealthReport } from "./health.ts";
import type { ScrapeFacts } from "./metrics.ts";

function detailOf(health: HealthReport, check: string, field: string): number | null {
  const value = health.checks.find(({ name }) => name === check)?.details?.[field];
  return typeof value === "number" ? value : null;
}

/** What the check of base backups found; null where there is none, or it did not end. */
function backupOf({ checks }: HealthReport, clock: Clock): ScrapeFacts["backup"] {
  const details = checks.find(({ name }) => name === "backups")?.details;
  if (details === undefined) return null;
  const { endedAtSeconds, tested, damaged, holes } = details;
  return {
    ageSeconds:
      typeof endedAtSeconds === "number" ? Math.max(0, Math.floor(clock.nowMs() / 1_000) - endedAtSeconds) : null,
    tested: typeof tested === "boolean" ? tested : null,
    damaged: Number(damaged),
    holes: Number(holes),
  };
}

const WHOLE: ReadonlySet<SweepReport["outcome"]> = new Set(["ok", "below", "problems"]);

/** The last sweep that read the whole pinset; null where there is none or its report cannot be read. */
async function lastWholeSweep(reportFile: string): Promise<SweepReport | null> {
  const report = await readSweepReport(reportFile).catch(() => null);
  // A sweep that found something did its work; what it found has metrics of its own.
  return report !== null && WHOLE.has(report.outcome) ? report : null;
}

/** Gathers what `/metrics` shows beside its counters. What cannot be found out is left out. */
export async function gatherScrapeFacts(
  health: Health,
  options: { readonly sweepReportFile: string; readonly clock: Clock },
): Promise<Omit<ScrapeFacts, "wellServices" | "billing">> {
  const [report, sweep] = await Promise.all([health.report(), lastWholeSweep(options.sweepReportFile)]);
  const snapshotSeconds = detailOf(report, "snapshot", "takenAtSeconds");
  const jobSuccess = new Map<string, number>();
  if (snapshotSeconds !== null) jobSuccess.set("snapshot", snapshotSeconds);
  if (sweep !== null) jobSuccess.set("sweep", Math.floor(Date.parse(sweep.finishedAt) / 1_000));
  return {
    health: report,
    pins: detailOf(report, "pinset", "pins"),
    diskFreeBytes: detailOf(report, "disk", "freeBytes"),
    snapshotAgeSeconds:
      snapshotSeconds === null ? null : Math.max(0, Math.floor(options.clock.nowMs() / 1_000) - snapshotSeconds),
    jobSuccess,
    backup: backupOf(report, options.clock),
    sweep: sweep === null ? null : { belowPins: sweep.belowAfter, lostPins: sweep.lost },
  };
}
