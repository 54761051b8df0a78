import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { delimiter, dirname, isAbsolute, join } from "node:path";
import { parseCommandString } from "execa";
import { systemErrorCode } from "../kernel/errors.ts";
import { exists, isWritable, readTextIfExists } from "../kernel/files.ts";
import { formatCount, formatDuration } from "../kernel/units.ts";
import { lastGoodSnapshot } from "../pinset/catalog.ts";
import { keyIdOf } from "../pinset/keys.ts";
import { publicKeyFromPem, readSigningKey, signingKeyFiles } from "../pinset/signing.ts";
import { readSweepReport } from "../pinset/sweep-report.ts";
import { loadTrustedKeys } from "../pinset/trust.ts";
import type { DoctorBox } from "./doctor-box.ts";
import { type DoctorCheck, doubtful, failed, fine } from "./doctor.ts";
import { lastDueTimes } from "./due-times.ts";
import type { Installation } from "./installation.ts";
import { lookAtSchedule } from "./join-steps-schedules.ts";
import { LONG_LOOK_MS } from "./look.ts";
import { nearestExisting } from "./preflight-base-dir.ts";
import type { Finding } from "./preflight.ts";
import type { ScheduleKind } from "./schedules.ts";
import { readAlerts, readSweep } from "./status-records.ts";
import { runVerify } from "./verify-run.ts";

/** What the checks of this file need beside the box. */
export interface RecordsContext {
  readonly box: DoctorBox;
  readonly installation: Installation;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** Root of the file system that timers are looked for in. */
  readonly scheduleRoot: string;
}

async function checkSigningKey({ loaded }: DoctorBox): Promise<readonly Finding[]> {
  const files = signingKeyFiles(loaded.paths.keysDir);
  const key = await readSigningKey(loaded.paths.keysDir);
  if (key === null) {
    return [
      failed(`There is no snapshot key ${files.private}.`, "put it back from your backup, or run fula-master join."),
    ];
  }
  const { mode } = await stat(files.private);
  const isPrivate = (mode & 0o077) === 0;
  const publicPem = await readTextIfExists(files.public);
  const publicId = publicPem === null ? null : keyIdOf(publicKeyFromPem(publicPem, files.public));
  return [
    isPrivate
      ? fine(`${key.keyId}, readable for its owner alone`)
      : failed(`Others can read the private snapshot key ${files.private}.`, `chmod 600 ${files.private}`),
    publicId === key.keyId
      ? fine(`${files.public} is its public half`)
      : failed(
          `${files.public} ${publicId === null ? "is missing" : `is the public half of another key, ${publicId}`}.`,
          "fula-master snapshot writes it again; others that verify with the file need the new one.",
        ),
  ];
}

async function checkSnapshot({ box: { loaded, clock }, cwd }: RecordsContext, signal: AbortSignal): Promise<Finding> {
  const maxAgeMs = loaded.config.snapshot.maxAge;
  const options = { file: null, all: false, anyCluster: false, maxAgeMs };
  const [result] = await runVerify(loaded, options, { clock, signal, cwd });
  if (result === undefined) return failed("There is no snapshot.", "fula-master snapshot");
  const { ok, name, pinCount, ageMs, problems } = result;
  if (!ok) {
    const lines = problems.map(({ message }) => message);
    const remedy = problems.find(({ hint }) => hint !== undefined)?.hint ?? "fula-master snapshot takes a new one.";
    return failed([`${name} does not verify:`, ...lines].join("\n"), remedy);
  }
  const pins = pinCount === null ? "" : `, ${formatCount(pinCount, "pin")}`;
  return fine(`${name} verifies with its chain${pins}, ${formatDuration(Math.max(0, ageMs ?? 0))} old`);
}

async function checkSweep({ box, installation }: RecordsContext, signal: AbortSignal): Promise<readonly Finding[]> {
  const limits = { clock: box.clock, signal, limitMs: LONG_LOOK_MS };
  const sweep = await readSweep(box.loaded, installation, limits);
  const alerts = await readAlerts(box.loaded, limits);
  const remedy = "fula-master sweep looks again and repairs what it can.";
  const when = sweep.time === null ? "no sweep yet" : `the sweep of ${sweep.time} found nothing wrong`;
  const first = sweep.state === "bad" ? failed(sweep.problem ?? "It is bad.", remedy) : fine(when);
  const lines = alerts.worst.map(({ what, id, reason }) => `${what}: ${id}${reason === "" ? "" : ` (${reason})`}`);
  if (lines.length === 0) return [first];
  return [first, failed(["What stands:", ...lines].join("\n"), remedy)];
}

async function checkAlertLog({ loaded }: DoctorBox): Promise<Finding> {
  const path = loaded.config.sweep.alertLog;
  const place = (await exists(path)) ? path : await nearestExisting(dirname(path));
  if (await isWritable(place)) return fine(`${path} can be written`);
  return failed(
    `${place} cannot be written, so no alert can be logged in ${path}.`,
    "make it writable for the user that sweeps, or set sweep.alertLog to another file.",
  );
}

async function isProgram(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch (error) {
    if (systemErrorCode(error) === undefined) throw error;
    return false;
  }
}

/** Where the shell would find a program; null for nowhere. */
async function findProgram(name: string, { env, cwd }: RecordsContext): Promise<string | null> {
  const places = name.includes("/")
    ? [isAbsolute(name) ? name : join(cwd, name)]
    : (env["PATH"] ?? "").split(delimiter).map((dir) => join(dir, name));
  for (const place of places) if (await isProgram(place)) return place;
  return null;
}

async function checkAlertCommand(context: RecordsContext, command: string): Promise<Finding> {
  const [program = ""] = parseCommandString(command);
  const place = await findProgram(program, context);
  if (place !== null) return fine(`${place} is there and can be run`);
  return failed(
    `The program of sweep.alertCommand, "${program}", is not there or cannot be run.`,
    "give its whole path: fula-master config set sweep.alertCommand '/path/to/program …'; cron's PATH is a short one.",
  );
}

/** A run that is due may begin late, and takes a while. */
const RUN_GRACE_MS = 10 * 60_000;
/** One run may have been missed while the box was off. */
const MISSES_MAX = 2;

/** Judges by what runs leave behind whether they really happen. */
function judgeRuns(schedule: string, lastMs: number | null, sinceMs: number, nowMs: number): Finding | null {
  const due = lastDueTimes(schedule, nowMs - RUN_GRACE_MS, MISSES_MAX).at(MISSES_MAX - 1);
  if (due === undefined || due < sinceMs || (lastMs !== null && lastMs >= due)) return null;
  const last = lastMs === null ? "none has ever happened" : `the last was at ${new Date(lastMs).toISOString()}`;
  return failed(
    `Two runs in a row that were due (${schedule}) did not happen; ${last}.`,
    "see that the timer runs (systemctl list-timers, or the log of cron) and what its log in logs/ says.",
  );
}

async function lastSnapshotMs({ box: { loaded, clock } }: RecordsContext): Promise<number | null> {
  const { config, paths } = loaded;
  const trustedKeys = await loadTrustedKeys(paths.keysDir, config.snapshot.trustedKeys);
  const last = await lastGoodSnapshot(paths.snapshotsDir, { trustedKeys, clusterId: config.node.clusterId, clock });
  return last === null ? null : last.timeMs;
}

async function lastSweepMs({ box: { loaded } }: RecordsContext): Promise<number | null> {
  const report = await readSweepReport(loaded.paths.sweepReportFile);
  return report === null ? null : Date.parse(report.finishedAt);
}

async function checkSchedule(kind: ScheduleKind, context: RecordsContext): Promise<readonly Finding[]> {
  const { box, installation, scheduleRoot } = context;
  const { state, plan } = await lookAtSchedule(kind, box.loaded, scheduleRoot);
  const remedy = "fula-master join installs it.";
  const found: Finding[] = [];
  if (state === "installed") {
    const idle = plan.scheduler.kind === "cron" && !plan.scheduler.daemonRuns;
    if (idle) found.push(failed(`${kind} is installed for cron, but no cron runs.`, "service cron start"));
    else found.push(fine(`${kind} is installed (${plan.scheduler.kind}, ${plan.schedule})`));
  } else if (state === "no-scheduler") {
    const because = plan.scheduler.kind === "none" ? plan.scheduler.because : "";
    found.push(
      doubtful(`${kind} is not installed by us: ${because}.`, `add with crontab -e:\n  ${plan.lines.join("\n  ")}`),
    );
  } else if (state === "absent") {
    found.push(failed(`${kind} is not installed.`, remedy));
  } else {
    const files = plan.files.map(({ path }) => path).join(", ");
    found.push(
      doubtful(
        `${kind} is not as fula-master installs it (${state}): ${files}.`,
        "look at it, move it away, then fula-master join.",
      ),
    );
  }
  // How old the newest base backup is, and whether one is due here, is told by the check of that name.
  if (kind === "boot" || kind === "backup") return found;
  const lastMs = kind === "snapshot" ? await lastSnapshotMs(context) : await lastSweepMs(context);
  const late = judgeRuns(plan.schedule, lastMs, Date.parse(installation.createdAt), box.clock.nowMs());
  return late === null ? found : [...found, late];
}

/** Reading a million records takes a while. */
const VERIFY_LIMIT_MS = 120_000;

/** Checks of what a master leaves behind: key, snapshots, sweeps, alerts and the timers that make them. */
export function recordsChecks(context: RecordsContext): readonly DoctorCheck[] {
  const { box } = context;
  const { alertCommand } = box.loaded.config.sweep;
  return [
    { name: "signing-key", run: async () => await checkSigningKey(box) },
    { name: "snapshot", limitMs: VERIFY_LIMIT_MS, run: async (signal) => await checkSnapshot(context, signal) },
    { name: "sweep", run: async (signal) => await checkSweep(context, signal) },
    { name: "alert-log", run: async () => await checkAlertLog(box) },
    ...(alertCommand === null
      ? []
      : [{ name: "alert-command" as const, run: async () => await checkAlertCommand(context, alertCommand) }]),
    {
      name: "schedules",
      run: async () =>
        (
          await Promise.all(
            (["snapshot", "sweep", "backup", "boot"] as const).map(async (kind) => await checkSchedule(kind, context)),
          )
        ).flat(),
    },
  ];
}
