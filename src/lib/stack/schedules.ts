import { existsSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { userInfo } from "node:os";
import { basename, dirname, join } from "node:path";
import type { LoadedConfig } from "../config/load.ts";
import { type Clock, formatUtc, systemClock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { ensureDir, explainWriteError, readTextIfExists, SECRET_FILE_MODE, writeFileAtomic } from "../kernel/files.ts";
import { PROJECT_ROOT } from "../kernel/project.ts";
import { nodeProgram } from "../runtime/host.ts";
import {
  crontabLine,
  filePathsOf,
  JOBS,
  logFileOf,
  renderFiles,
  type ScheduleKind,
  type ScheduleSetup,
  warningsOf,
} from "./schedule-files.ts";
import { recogniseFile } from "./schedule-syntax.ts";
import { detectScheduler, type RunProgram, runProgram, type Scheduler } from "./scheduler.ts";

export type { ScheduleKind } from "./schedule-files.ts";

/** How schedules are planned and installed; everything has the machine's own value as default. */
export interface ScheduleOptions {
  /** Root of the file system that is written to. */
  readonly rootDir?: string;
  readonly scheduler?: Scheduler;
  readonly run?: RunProgram;
  readonly nodePath?: string;
  readonly launcherPath?: string;
  readonly user?: string;
}

/** How `installSchedule` and `removeSchedule` act. */
export interface ScheduleChangeOptions extends ScheduleOptions {
  /** True writes nothing at all. */
  readonly dryRun?: boolean;
  /**
   * What to do with a file that is not as we wrote it: `refuse` (default) throws and changes nothing; `keep` leaves
   * everything as it is and reports `kept`; `replace` moves it to `state/replaced/` first.
   */
  readonly onForeign?: "refuse" | "keep" | "replace";
  readonly clock?: Clock;
  /** True tells the running systemd what has changed. Default: only where `rootDir` is `/`. */
  readonly live?: boolean;
}

/** One file of a schedule. */
interface PlannedFile {
  readonly path: string;
  /** What it shall hold; null where it shall go, because another scheduler runs the job now. */
  readonly content: string | null;
  /**
   * `edited`: ours, but changed since; `other-master`: ours, for a master in another base directory that is still there;
   * `foreign`: somebody else's.
   */
  readonly state: "missing" | "same" | "outdated" | "edited" | "other-master" | "foreign";
}

/** What installing one schedule would do. */
export interface SchedulePlan {
  readonly kind: ScheduleKind;
  readonly scheduler: Scheduler;
  /** Crontab form. */
  readonly schedule: string;
  readonly files: readonly PlannedFile[];
  /** Crontab lines to install by hand, where no scheduler was found that we can write to. */
  readonly lines: readonly string[];
  readonly warnings: readonly string[];
}

/** What became of a schedule; `--json` prints it as it is. */
export interface ScheduleReport {
  readonly kind: ScheduleKind;
  readonly scheduler: Scheduler["kind"];
  readonly schedule: string;
  /** `printed`: nothing was installed, the operator has to install `lines`. With `dryRun` what would have been. */
  readonly outcome: "installed" | "updated" | "unchanged" | "kept" | "printed" | "removed";
  /** Why nothing was installed, where it was `printed`; else null. */
  readonly because: string | null;
  /** The files of the schedule, written or already so. */
  readonly files: readonly string[];
  readonly lines: readonly string[];
  readonly warnings: readonly string[];
}

function setupOf(loaded: LoadedConfig, options: ScheduleOptions): ScheduleSetup {
  const { baseDir, configFile } = loaded.paths;
  const odd = [baseDir, configFile].find((path) => /\p{Cc}/u.test(path));
  if (odd !== undefined) {
    throw new FulaError(
      "FULA_SCHEDULE_PATH",
      `Cannot schedule anything for ${JSON.stringify(odd)}: the path holds a control character, which ends a line of a crontab.`,
      {
        hint: "choose another base directory.",
      },
    );
  }
  return {
    loaded,
    rootDir: options.rootDir ?? "/",
    nodePath: options.nodePath ?? nodeProgram(),
    launcherPath: options.launcherPath ?? join(PROJECT_ROOT, "bin", "fula-master.js"),
    user: options.user ?? userInfo().username,
  };
}

async function stateOf(path: string, content: string | null, baseDir: string): Promise<PlannedFile["state"]> {
  const text = await readTextIfExists(path);
  if (text === null) return "missing";
  if (text === content) return "same";
  const author = recogniseFile(text);
  if (author.by !== "us") return author.by === "editor" ? "edited" : "foreign";
  // The schedule of a master that was removed from the disk belongs to nobody any more.
  return author.baseDir === baseDir || !existsSync(author.baseDir) ? "outdated" : "other-master";
}

function schedulerWarnings(scheduler: Scheduler): string[] {
  if (scheduler.kind !== "cron" || scheduler.daemonRuns) return [];
  return ["cron is installed, but its daemon does not run; start it (service cron start), or nothing will happen."];
}

/** Finds out what installing a schedule would write, without writing. @throws FulaError FULA_SCHEDULE_PATH */
export async function planSchedule(
  kind: ScheduleKind,
  loaded: LoadedConfig,
  options: ScheduleOptions = {},
): Promise<SchedulePlan> {
  const setup = setupOf(loaded, options);
  const scheduler =
    options.scheduler ??
    (await detectScheduler({ rootDir: setup.rootDir, ...(options.run === undefined ? {} : { run: options.run }) }));
  const wanted = scheduler.kind === "none" ? [] : renderFiles(kind, scheduler.kind, setup);
  const files: PlannedFile[] = [];
  for (const { path, content } of wanted)
    files.push({ path, content, state: await stateOf(path, content, loaded.paths.baseDir) });
  if (scheduler.kind !== "none") {
    // A job that cron and systemd both knew would run twice.
    for (const path of filePathsOf(kind)[scheduler.kind === "cron" ? "systemd" : "cron"]) {
      const other = join(setup.rootDir, path);
      const state = await stateOf(other, null, loaded.paths.baseDir);
      if (state !== "missing") files.push({ path: other, content: null, state });
    }
  }
  return {
    kind,
    scheduler,
    schedule: JOBS[kind].schedule(loaded),
    files,
    lines: scheduler.kind === "none" ? [crontabLine(kind, setup)] : [],
    warnings: [...schedulerWarnings(scheduler), ...warningsOf(kind, setup)],
  };
}

/** The plans of both jobs of a master. */
export async function planSchedules(
  loaded: LoadedConfig,
  options: ScheduleOptions = {},
): Promise<readonly SchedulePlan[]> {
  const scheduler = options.scheduler ?? (await detectScheduler(options));
  return Promise.all(
    (["snapshot", "sweep"] as const).map((kind) => planSchedule(kind, loaded, { ...options, scheduler })),
  );
}

const STRANGE: ReadonlySet<PlannedFile["state"]> = new Set(["edited", "other-master", "foreign"] as const);

const STRANGE_TEXT: Partial<Readonly<Record<PlannedFile["state"], string>>> = {
  edited: "was edited after fula-master wrote it",
  "other-master": "runs the job of a master in another base directory",
  foreign: "was not written by fula-master",
};

function strangers(files: readonly PlannedFile[]): PlannedFile[] {
  return files.filter(({ state }) => STRANGE.has(state));
}

function describeStranger({ path, state, content }: PlannedFile): string {
  return `${path} ${STRANGE_TEXT[state] ?? state}${content === null ? " and would run the job a second time" : ""}`;
}

function outcomeOf(plan: SchedulePlan): ScheduleReport["outcome"] {
  if (plan.scheduler.kind === "none") return "printed";
  const pending = plan.files.filter(({ state }) => state !== "same");
  if (pending.length === 0) return "unchanged";
  return plan.files.every(({ state, content }) => state === "missing" || content === null) ? "installed" : "updated";
}

function becauseOf(scheduler: Scheduler): string | null {
  return scheduler.kind === "none" ? scheduler.because : null;
}

function reportOf(
  plan: SchedulePlan,
  outcome: ScheduleReport["outcome"],
  warnings: readonly string[] = [],
): ScheduleReport {
  const { kind, scheduler, schedule, lines } = plan;
  const files = plan.files.filter(({ content }) => content !== null).map(({ path }) => path);
  const told = [...plan.warnings, ...warnings];
  return {
    kind,
    scheduler: scheduler.kind,
    schedule,
    outcome,
    because: becauseOf(scheduler),
    files,
    lines,
    warnings: told,
  };
}

/** Keeps a copy outside of /etc: some cron daemons run whatever lies in /etc/cron.d, backups included. */
async function backUp(file: PlannedFile, loaded: LoadedConfig, clock: Clock): Promise<void> {
  const text = await readTextIfExists(file.path);
  if (text === null) return;
  const dir = join(loaded.paths.stateDir, "replaced");
  await ensureDir(dir);
  const stamp = formatUtc(clock.nowMs()).replaceAll(/[-:]/g, "");
  await writeFileAtomic(join(dir, `${basename(file.path)}-${stamp}`), text, { mode: SECRET_FILE_MODE });
}

/** cron ignores files that others can write to; units hold nothing secret. */
const SCHEDULE_FILE_MODE = 0o644;

async function applyFile(file: PlannedFile): Promise<void> {
  if (file.state === "same") return;
  try {
    if (file.content === null) {
      await rm(file.path, { force: true });
    } else {
      await mkdir(dirname(file.path), { recursive: true });
      await writeFileAtomic(file.path, file.content, { mode: SCHEDULE_FILE_MODE });
    }
  } catch (error) {
    throw explainWriteError(error, file.path);
  }
}

function isLive({ live, rootDir = "/" }: ScheduleChangeOptions): boolean {
  return live ?? rootDir === "/";
}

async function systemctl(run: RunProgram, args: readonly string[]): Promise<void> {
  const { exitCode, stderr } = await run("systemctl", args);
  if (exitCode === 0) return;
  throw new FulaError(
    "FULA_SCHEDULE_INSTALL",
    `systemctl ${args.join(" ")} failed with exit code ${exitCode}: ${stderr.trim()}`,
    {
      hint: `run systemctl ${args.join(" ")} by hand, then the same command again.`,
    },
  );
}

/** The unit that systemd has to enable: the timer, or for `boot` the service itself. */
function unitOf(kind: ScheduleKind): string {
  return `${JOBS[kind].name}.${kind === "boot" ? "service" : "timer"}`;
}

async function isEnabled(kind: ScheduleKind, run: RunProgram): Promise<boolean> {
  const enabled = await run("systemctl", ["is-enabled", unitOf(kind)]);
  if (kind === "boot") return enabled.exitCode === 0;
  return enabled.exitCode === 0 && (await run("systemctl", ["is-active", unitOf(kind)])).exitCode === 0;
}

/** Makes systemd know the units. `boot` is enabled, not started: whoever installs it has a daemon running already. */
async function activate(plan: SchedulePlan, changed: boolean, options: ScheduleChangeOptions): Promise<boolean> {
  if (plan.scheduler.kind !== "systemd" || !isLive(options)) return false;
  const run = options.run ?? runProgram;
  if (!changed && (await isEnabled(plan.kind, run))) return false;
  await systemctl(run, ["daemon-reload"]);
  await systemctl(run, plan.kind === "boot" ? ["enable", unitOf(plan.kind)] : ["enable", "--now", unitOf(plan.kind)]);
  // An enabled timer that runs keeps its old times until it is started anew.
  if (changed && plan.kind !== "boot") await systemctl(run, ["restart", unitOf(plan.kind)]);
  return true;
}

/** Stops a unit whose files are about to go. */
async function deactivate(
  kind: ScheduleKind,
  files: readonly PlannedFile[],
  options: ScheduleChangeOptions,
): Promise<void> {
  const units = files.filter(({ path, content }) => content === null && path.endsWith(unitOf(kind)));
  if (units.length === 0 || !isLive(options)) return;
  // Where systemd no longer runs there is nothing to stop.
  await (options.run ?? runProgram)("systemctl", ["disable", ...(kind === "boot" ? [] : ["--now"]), unitOf(kind)]);
}

async function applyPlan(
  plan: SchedulePlan,
  loaded: LoadedConfig,
  options: ScheduleChangeOptions,
): Promise<ScheduleReport> {
  const outcome = outcomeOf(plan);
  if (options.dryRun === true) return reportOf(plan, outcome);
  // A redirection into a directory that is not there would keep the job from ever starting.
  if (plan.scheduler.kind !== "systemd") await ensureDir(dirname(logFileOf(plan.kind, loaded)));
  if (outcome === "printed") return reportOf(plan, outcome);
  const clock = options.clock ?? systemClock;
  for (const file of strangers(plan.files)) await backUp(file, loaded, clock);
  await deactivate(plan.kind, plan.files, options);
  for (const file of plan.files) await applyFile(file);
  const activated = await activate(plan, outcome !== "unchanged", options);
  return reportOf(plan, outcome === "unchanged" && activated ? "updated" : outcome);
}

/**
 * Installs the schedule of a job where this box has a scheduler, else reports the crontab lines to install by hand.
 * Doing it again changes nothing. The files carry everything that has an effect now: base directory, settings file,
 * and settings of the environment or of flags.
 * @throws FulaError FULA_SCHEDULE_FOREIGN (see `onForeign`), FULA_SCHEDULE_INSTALL, FULA_SCHEDULE_PATH,
 *   FULA_PATH_NOT_WRITABLE, FULA_DISK_FULL
 */
export async function installSchedule(
  kind: ScheduleKind,
  loaded: LoadedConfig,
  options: ScheduleChangeOptions = {},
): Promise<ScheduleReport> {
  const plan = await planSchedule(kind, loaded, options);
  const found = strangers(plan.files);
  if (found.length === 0 || options.onForeign === "replace") return applyPlan(plan, loaded, options);
  const told = found.map(describeStranger);
  if (options.onForeign === "keep")
    return reportOf(
      plan,
      "kept",
      told.map((text) => `${text}; it was left as it is.`),
    );
  throw new FulaError(
    "FULA_SCHEDULE_FOREIGN",
    `Cannot install the ${kind} schedule: ${told.join("; ")}. Nothing was changed.`,
    {
      hint: `look at it (cat ${found[0]?.path ?? ""}), move it away if fula-master shall run the job, then run the command again.`,
      details: { files: found.map(({ path, state }) => ({ path, state })) },
    },
  );
}

/**
 * Takes a schedule away, under whichever scheduler it was installed. Files that are not as we wrote them stay, unless
 * `onForeign` is `replace`.
 */
export async function removeSchedule(
  kind: ScheduleKind,
  loaded: LoadedConfig,
  options: ScheduleChangeOptions = {},
): Promise<ScheduleReport> {
  const rootDir = options.rootDir ?? "/";
  const paths = filePathsOf(kind);
  const found: PlannedFile[] = [];
  for (const path of [...paths.cron, ...paths.systemd].map((each) => join(rootDir, each))) {
    const state = await stateOf(path, null, loaded.paths.baseDir);
    if (state !== "missing") found.push({ path, content: null, state });
  }
  const kept = options.onForeign === "replace" ? [] : strangers(found);
  const going = found.filter((file) => !kept.includes(file));
  if (options.dryRun !== true && going.length > 0) {
    for (const file of strangers(going)) await backUp(file, loaded, options.clock ?? systemClock);
    await deactivate(kind, going, options);
    for (const file of going) await applyFile(file);
    if (isLive(options) && going.some(({ path }) => path.includes("/systemd/")))
      await (options.run ?? runProgram)("systemctl", ["daemon-reload"]);
  }
  const scheduler = options.scheduler ?? (await detectScheduler({ ...options, rootDir }));
  return {
    kind,
    scheduler: scheduler.kind,
    schedule: JOBS[kind].schedule(loaded),
    because: becauseOf(scheduler),
    outcome: going.length > 0 ? "removed" : kept.length > 0 ? "kept" : "unchanged",
    files: going.map(({ path }) => path),
    lines: [],
    warnings: kept.map((file) => `${describeStranger(file)}; it was left as it is.`),
  };
}
