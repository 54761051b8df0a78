import { readFile, readdir, stat } from "node:fs/promises";
import { userInfo } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { isWritable } from "../kernel/files.ts";

/** What runs things at set times on this box. */
export type Scheduler =
  | { readonly kind: "systemd" }
  /** `daemonRuns` false: cron is installed, but nothing runs what stands in its files at this moment. */
  | { readonly kind: "cron"; readonly daemonRuns: boolean }
  /** Nothing that we can write to; the lines are printed instead. */
  | { readonly kind: "none"; readonly because: string };

/** How a program ended. */
export interface ProgramResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end; the exit code is 127 where there is no such program. */
export type RunProgram = (file: string, args: readonly string[]) => Promise<ProgramResult>;

const PROGRAM_TIMEOUT_MS = 30_000;

/** Runs a program of this machine. */
export const runProgram: RunProgram = async (file, args) => {
  const { exitCode, stdout, stderr } = await execa(file, args, {
    timeout: PROGRAM_TIMEOUT_MS,
    reject: false,
    stripFinalNewline: false,
  });
  return { exitCode: exitCode ?? 127, stdout, stderr };
};

/** What `detectScheduler` looks at; tests hand in their own. */
export interface DetectOptions {
  /** Root of the file system. Default `/`. */
  readonly rootDir?: string;
  readonly run?: RunProgram;
  /** Default: the user of this process. */
  readonly uid?: number;
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false;
  }
}

const SYSTEMD_ANSWERS = new Set(["running", "degraded", "starting", "initializing", "maintenance"]);

/** systemctl is often installed where systemd does not run (containers); only a manager that answers counts. */
async function systemdRuns(rootDir: string, run: RunProgram): Promise<boolean> {
  // sd_booted(3): this directory exists exactly where systemd is the running init.
  if (!(await isDirectory(join(rootDir, "run/systemd/system")))) return false;
  // The exit code is not asked: a box with one failed unit says "degraded" and exits with 1.
  const { stdout } = await run("systemctl", ["is-system-running"]);
  return SYSTEMD_ANSWERS.has(stdout.trim());
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch {
    return false;
  }
}

const CRON_PROGRAMS = ["usr/sbin/cron", "usr/sbin/crond", "usr/bin/crond", "sbin/crond"] as const;

async function cronIsInstalled(rootDir: string): Promise<boolean> {
  const found = await Promise.all(CRON_PROGRAMS.map((program) => exists(join(rootDir, program))));
  return found.includes(true);
}

async function cronRuns(rootDir: string): Promise<boolean> {
  const pids = (await readdir(join(rootDir, "proc")).catch(() => [])).filter((name) => /^\d+$/.test(name));
  const names = await Promise.all(
    pids.map(async (pid) => readFile(join(rootDir, "proc", pid, "comm"), "utf8").catch(() => "")),
  );
  return names.some((name) => /^(cron|crond)\n?$/.test(name));
}

/** Finds what can run a schedule of this box: systemd where it really runs, else cron where it is installed. Writes nothing. */
export async function detectScheduler(options: DetectOptions = {}): Promise<Scheduler> {
  const { rootDir = "/", run = runProgram, uid = userInfo().uid } = options;
  // Under another root it is a matter of who may write there.
  if (uid !== 0 && rootDir === "/") {
    return { kind: "none", because: "only root may install schedules for the whole box" };
  }
  if (await systemdRuns(rootDir, run)) return { kind: "systemd" };
  const cronDir = join(rootDir, "etc/cron.d");
  if (!(await isDirectory(cronDir))) return { kind: "none", because: "neither systemd nor cron is here" };
  if (!(await cronIsInstalled(rootDir))) {
    return { kind: "none", because: "systemd does not run here, and /etc/cron.d is there but no cron is installed" };
  }
  if (!(await isWritable(cronDir))) return { kind: "none", because: `${cronDir} is read-only` };
  return { kind: "cron", daemonRuns: await cronRuns(rootDir) };
}
