import { join } from "node:path";
import { envNameOf, SECRETS, SETTINGS, valueOf } from "../config/schema.ts";
import type { LoadedConfig } from "../config/load.ts";
import { calendarsOf } from "./calendar.ts";
import {
  fillTemplate,
  type Invocation,
  renderEnvironment,
  renderExecStart,
  renderForCron,
  renderForShell,
  renderPaths,
  renderUnitText,
  sealFile,
} from "./schedule-syntax.ts";

/** What can be scheduled: the jobs of a master, and `boot`, which starts `serve` when the box starts. */
export type ScheduleKind = "snapshot" | "sweep" | "backup" | "boot";

/** What the files of a schedule are made from. */
export interface ScheduleSetup {
  readonly loaded: LoadedConfig;
  readonly rootDir: string;
  /** Absolute path of the Node.js that shall run us: cron's PATH is not the operator's. */
  readonly nodePath: string;
  /** Absolute path of `bin/fula-master.js`. */
  readonly launcherPath: string;
  readonly user: string;
}

interface Job {
  /** File name in /etc/cron.d and name of the units; the two of the existing fleet are kept, so that none runs twice. */
  readonly name: string;
  readonly command: string;
  readonly description: string;
  readonly schedule: (loaded: LoadedConfig) => string;
}

/** The jobs by kind. */
export const JOBS: Readonly<Record<ScheduleKind, Job>> = {
  snapshot: {
    name: "fula-pinset-snapshot",
    command: "snapshot",
    description: "Signed snapshot of the pinset of fula-master.",
    schedule: ({ config }) => config.snapshot.schedule,
  },
  sweep: {
    name: "fula-replication-sweep",
    command: "sweep",
    description: "Replication sweep of fula-master: finds and repairs under-replicated pins.",
    schedule: ({ config }) => config.sweep.schedule,
  },
  backup: {
    name: "fula-ledger-backup",
    command: "backup create --if-active",
    description: "Base backup of the ledger of fula-master.",
    schedule: ({ config }) => config.backup.schedule,
  },
  boot: {
    name: "fula-master",
    command: "serve",
    description: "Daemon of fula-master.",
    schedule: () => "@reboot",
  },
};

/** Where cron and systemd look for files of a kind; the root of the file system is left out. */
export function filePathsOf(kind: ScheduleKind): {
  readonly cron: readonly string[];
  readonly systemd: readonly string[];
} {
  const { name } = JOBS[kind];
  const units = kind === "boot" ? [`${name}.service`] : [`${name}.service`, `${name}.timer`];
  return { cron: [`etc/cron.d/${name}`], systemd: units.map((unit) => `etc/systemd/system/${unit}`) };
}

/**
 * Settings that only this process has, from a flag or from its environment: a schedule runs without them, so they are
 * written into it. Secrets and what may hold one are not, because everybody may read these files.
 */
function embeddedSettings({ config, sources }: LoadedConfig): Record<string, string> {
  const found = SETTINGS.filter(
    ({ key, setting }) => !setting.isPrivate && (sources[key].kind === "flag" || sources[key].kind === "environment"),
  );
  return Object.fromEntries(found.map((entry) => [envNameOf(entry.key), entry.setting.toText(valueOf(config, entry))]));
}

/** What a schedule runs, and the environment it needs for the same effect as now. */
function invocationOf(kind: ScheduleKind, setup: ScheduleSetup): Invocation {
  const { loaded, nodePath, launcherPath } = setup;
  const { baseDir, configFile } = loaded.paths;
  const ownConfig = configFile === join(baseDir, "fula-master.yaml") ? [] : ["--config", configFile];
  return {
    environment: embeddedSettings(loaded),
    argv: [nodePath, launcherPath, ...JOBS[kind].command.split(" "), "--base-dir", baseDir, ...ownConfig],
  };
}

/** Where cron appends what a job prints. systemd keeps it in its journal. */
export function logFileOf(kind: ScheduleKind, loaded: LoadedConfig): string {
  return kind === "boot"
    ? loaded.paths.serveLogFile
    : join(loaded.paths.logsDir, `${JOBS[kind].command.replace(/ --.*/, "").replaceAll(" ", "-")}.log`);
}

/** A crontab command with its output sent to the log. */
function cronCommand(kind: ScheduleKind, setup: ScheduleSetup): string {
  const log = renderForShell({ environment: {}, argv: [logFileOf(kind, setup.loaded)] });
  return renderForCron(`${renderForShell(invocationOf(kind, setup))} >> ${log} 2>&1`);
}

/** The line for a crontab of one user, which has no user field. */
export function crontabLine(kind: ScheduleKind, setup: ScheduleSetup): string {
  return `${JOBS[kind].schedule(setup.loaded)} ${cronCommand(kind, setup)}`;
}

function cronFile(kind: ScheduleKind, setup: ScheduleSetup): string {
  return fillTemplate("cron/schedule", {
    description: JOBS[kind].description,
    logFile: logFileOf(kind, setup.loaded),
    schedule: JOBS[kind].schedule(setup.loaded),
    user: setup.user,
    command: cronCommand(kind, setup),
  });
}

/** How long after `serve` gave up waiting for its own work systemd kills what is left. */
const STOP_MARGIN_MS = 30_000;

function unitFiles(kind: ScheduleKind, setup: ScheduleSetup): string[] {
  const { loaded } = setup;
  const { environment, argv } = invocationOf(kind, setup);
  const values = {
    description: renderUnitText(JOBS[kind].description),
    environment: renderEnvironment(environment),
    command: renderExecStart(argv),
    writablePaths: renderPaths([
      loaded.paths.baseDir,
      `-${loaded.config.sweep.alertLog}`,
      ...(loaded.config.backup.dir === null ? [] : [`-${loaded.config.backup.dir}`]),
    ]),
  };
  if (kind === "boot") {
    const stopMs = loaded.config.server.shutdownTimeout + STOP_MARGIN_MS;
    const own = {
      baseDir: renderUnitText(loaded.paths.baseDir),
      stopTimeoutSeconds: String(Math.ceil(stopMs / 1_000)),
    };
    return [fillTemplate("systemd/fula-master.service", { ...values, ...own })];
  }
  const onCalendar = calendarsOf(JOBS[kind].schedule(loaded)).map((each) => `OnCalendar=${each}`);
  return [
    fillTemplate("systemd/schedule.service", values),
    fillTemplate("systemd/schedule.timer", { description: values.description, onCalendar: onCalendar.join("\n") }),
  ];
}

/** The files that make a schedule, with their paths below the root directory. */
export function renderFiles(
  kind: ScheduleKind,
  scheduler: "systemd" | "cron",
  setup: ScheduleSetup,
): readonly { readonly path: string; readonly content: string }[] {
  const bodies = scheduler === "cron" ? [cronFile(kind, setup)] : unitFiles(kind, setup);
  return filePathsOf(kind)[scheduler].map((path, index) => ({
    path: join(setup.rootDir, path),
    content: sealFile(setup.loaded.paths.baseDir, bodies[index] ?? ""),
  }));
}

/** cron(8) of Debian takes commands up to this length and skips a longer line with a remark that nobody reads. */
const CRON_COMMAND_LENGTH_MAX = 998;

/** What will not work as meant, for the operator. */
export function warningsOf(kind: ScheduleKind, setup: ScheduleSetup): string[] {
  const { loaded, launcherPath } = setup;
  const fromEnvironment = SECRETS.filter(({ key }) => loaded.sources[key].kind === "environment");
  const secrets = fromEnvironment.map(
    ({ envName }) =>
      `${envName} comes from the environment, which a schedule does not have; put it into ${loaded.paths.envFile}.`,
  );
  const npx = launcherPath.includes("/_npx/")
    ? [`${launcherPath} lies in the cache of npx, which may be emptied; install fula-master with npm install -g first.`]
    : [];
  const long =
    cronCommand(kind, setup).length > CRON_COMMAND_LENGTH_MAX
      ? [
          `The command is longer than the ${CRON_COMMAND_LENGTH_MAX} characters that cron takes; move settings from the environment to ${loaded.paths.configFile}.`,
        ]
      : [];
  return [...secrets, ...npx, ...long];
}
