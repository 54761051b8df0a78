import type { LoadedConfig } from "../config/load.ts";
import { formatCount } from "../kernel/units.ts";
import { lastGoodSnapshot } from "../pinset/catalog.ts";
import { readSigningKey } from "../pinset/signing.ts";
import { readSweepReport, type SweepReport } from "../pinset/sweep-report.ts";
import { loadTrustedKeys } from "../pinset/trust.ts";
import type { Installation } from "./installation.ts";
import { lookAtSchedule, schedulesOf } from "./join-steps-schedules.ts";
import type { LookLimits } from "./look.ts";
import { attention, bad, lookAtPart, OK } from "./status-part.ts";
import type { AlertLine, AlertsPart, KeyPart, SchedulesPart, SnapshotPart, SweepPart } from "./status-report.ts";

/** A sweep that has not run for that long does not run at all; it is due every half hour. */
const SWEEP_AGE_MAX_MS = 24 * 3_600_000;

/** Looks at the last good snapshot. */
export async function readSnapshot({ config, paths }: LoadedConfig, limits: LookLimits): Promise<SnapshotPart> {
  const maxAgeMs = config.snapshot.maxAge;
  const nothing = { sequence: null, time: null, ageMs: null, maxAgeMs, pinCount: null };
  return await lookAtPart<SnapshotPart>(limits, nothing, async () => {
    const { clusterId } = config.node;
    const trustedKeys = await loadTrustedKeys(paths.keysDir, config.snapshot.trustedKeys);
    const last = await lastGoodSnapshot(paths.snapshotsDir, { trustedKeys, clusterId, clock: limits.clock });
    if (last === null) return { ...nothing, ...bad("there is no good snapshot. Try: fula-master snapshot") };
    const { sequence, time, pinCount } = last.manifest;
    const known = { sequence, time, ageMs: last.ageMs, maxAgeMs, pinCount };
    if (last.ageMs <= maxAgeMs) return { ...known, ...OK };
    return { ...known, ...bad("the last good snapshot is stale. Try: fula-master snapshot") };
  });
}

/** Looks at what came of the last sweep. */
export async function readSweep(
  loaded: LoadedConfig,
  installation: Installation,
  limits: LookLimits,
): Promise<SweepPart> {
  const nothing = { time: null, ageMs: null, outcome: null, pins: null, below: null };
  return await lookAtPart<SweepPart>(limits, nothing, async () => {
    const report = await readSweepReport(loaded.paths.sweepReportFile);
    const nowMs = limits.clock.nowMs();
    if (report === null) {
      const joinedMs = nowMs - Date.parse(installation.createdAt);
      if (joinedMs <= SWEEP_AGE_MAX_MS) return { ...nothing, ...OK };
      return { ...nothing, ...bad("no sweep has ever run. Try: fula-master sweep") };
    }
    const { finishedAt, outcome, pins, belowAfter } = report;
    const ageMs = nowMs - Date.parse(finishedAt);
    const known = { time: finishedAt, ageMs, outcome, pins, below: belowAfter };
    if (outcome === "below") {
      const short = formatCount(belowAfter, "pin is", "pins are");
      return { ...known, ...bad(`${short} held by too few peers. Try: fula-master sweep`) };
    }
    if (outcome === "problems")
      return { ...known, ...bad("the last sweep found problems beside the pins; see alerts") };
    if (outcome !== "ok") return { ...known, ...bad(report.error?.message ?? `the last sweep was ${outcome}`) };
    if (ageMs > SWEEP_AGE_MAX_MS) return { ...known, ...bad("the last sweep is too old. Try: fula-master sweep") };
    return { ...known, ...OK };
  });
}

function alertsOf({ worst, peers, ledger }: SweepReport): readonly AlertLine[] {
  return [
    ...peers.map(({ peer, name, trouble, reason, since }) => ({ what: trouble, id: peer, name, reason, since })),
    ...worst
      .filter(({ verdict }) => verdict !== "pinning")
      .map(({ cid, name, verdict, reason, since }) => ({ what: verdict, id: cid, name, reason, since })),
    ...(ledger?.shown ?? []).map(({ cid, name, problem, reason, since }) => ({
      what: `ledger: ${problem}`,
      id: cid,
      name,
      reason,
      since,
    })),
  ];
}

const SWEEP_KNOWS: ReadonlySet<SweepReport["outcome"]> = new Set(["ok", "below", "problems"] as const);

/** Tells what the last sweep found wrong. A sweep that could not read everything leaves nothing to be known. */
export async function readAlerts(loaded: LoadedConfig, limits: LookLimits): Promise<AlertsPart> {
  return await lookAtPart<AlertsPart>(limits, { standing: null, worst: [] }, async () => {
    const report = await readSweepReport(loaded.paths.sweepReportFile);
    if (report === null) return { standing: null, worst: [], ...OK };
    const worst = alertsOf(report);
    if (!SWEEP_KNOWS.has(report.outcome)) {
      return { standing: null, worst, ...bad("the last sweep could not tell. Try: fula-master sweep") };
    }
    const standing = report.belowAfter + report.peers.length + (report.ledger?.missing ?? 0);
    if (standing === 0) return { standing, worst: [], ...OK };
    return { standing, worst, ...bad(formatCount(standing, "alert stands", "alerts stand")) };
  });
}

/** Looks whether the timers are installed. */
export async function readSchedules(loaded: LoadedConfig, rootDir: string, limits: LookLimits): Promise<SchedulesPart> {
  return await lookAtPart<SchedulesPart>(limits, { jobs: [] }, async () => {
    const looks = await Promise.all(
      schedulesOf(loaded.config.node.role).map(async (kind) => await lookAtSchedule(kind, loaded, rootDir)),
    );
    const jobs = looks.map(({ kind, state }) => ({ kind, state }));
    const missing = jobs.filter(({ state }) => state !== "installed").map(({ kind, state }) => `${kind} (${state})`);
    if (missing.length === 0) return { jobs, ...OK };
    const scheduler = looks[0]?.plan.scheduler;
    const problem =
      scheduler?.kind === "none"
        ? `${scheduler.because}; fula-master join prints the lines for a crontab`
        : `not as fula-master installs it: ${missing.join(", ")}. Try: fula-master join`;
    return { jobs, ...attention(problem) };
  });
}

/** Looks whether the snapshot key is there. */
export async function readKey({ paths }: LoadedConfig, limits: LookLimits): Promise<KeyPart> {
  return await lookAtPart<KeyPart>(limits, { keyId: null }, async () => {
    const key = await readSigningKey(paths.keysDir);
    return key === null ? { keyId: null, ...bad("the snapshot key is missing") } : { keyId: key.keyId, ...OK };
  });
}
