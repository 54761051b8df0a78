import { dirname } from "node:path";
import { z } from "zod";
import { readBoxFacts } from "../config/box-facts.ts";
import { checkConfig } from "../config/check.ts";
import type { ConfigReading } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import type { Random } from "../kernel/random.ts";
import { toolVersion } from "../kernel/project.ts";
import { diskRoom, hostFacts, isClockSynchronized } from "../runtime/host.ts";
import { probeHttp } from "../runtime/http-probe.ts";
import { findPortOwner } from "../runtime/port-owner.ts";
import { readDaemonFile } from "./daemon-file.ts";
import { doubtful, type DoctorCheck, failed, fine } from "./doctor.ts";
import { readInstallation } from "./installation.ts";
import { expectedPaths, importantFiles, newestFile } from "./join-checks.ts";
import { findUnfinishedRun } from "./join-journal.ts";
import { findLastLeave } from "./leave-journal.ts";
import { LONG_LOOK_MS } from "./look.ts";
import type { Finding } from "./preflight.ts";
import { checkWritable, judgeDisk, judgeOwnership, judgeVersions, readOwnership } from "./preflight-base-dir.ts";
import { judgeClock, judgeNode } from "./preflight-host.ts";
import { readServe } from "./status-serve.ts";
import { settingWarnings } from "./warnings.ts";

/** The box that doctor looks at. */
export interface DoctorBox {
  /** What the settings say, also where something in them is wrong. */
  readonly loaded: ConfigReading;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
}

/** Everything about the configuration that is wrong or doubtful, one finding each. */
async function checkSettings(loaded: ConfigReading): Promise<readonly Finding[]> {
  const problems = checkConfig(loaded, await readBoxFacts(loaded.paths));
  const found = problems.map(({ severity, code, message, hint }): Finding => {
    const remedy = hint ?? "fula-master config check explains it.";
    return severity === "warning" ? doubtful(message, remedy) : { state: "failed", code, message, remedy };
  });
  const told = settingWarnings(loaded)
    // The same is among the doubts of the configuration itself.
    .filter(({ id }) => id !== "billing-off" && id !== "encryption-key-missing")
    .map(({ message, remedy }) => doubtful(message, remedy));
  if (found.length + told.length > 0) return [...found, ...told];
  return [
    fine(`${loaded.paths.configFile} and ${loaded.paths.envFile} can be read, and nobody else can read the secrets`),
  ];
}

const healthzSchema = z.object({ version: z.string() });

/** The version of the process that serves, which may be an older one than lies on the disk by now. */
async function runningVersion({ loaded, signal }: DoctorBox): Promise<string | null> {
  const { host, port } = loaded.config.server;
  const answer = await probeHttp({ host, port, path: "/healthz" }, 3_000, signal);
  try {
    return healthzSchema.parse(JSON.parse(answer?.body ?? "")).version;
  } catch {
    return null;
  }
}

async function checkVersions(box: DoctorBox): Promise<readonly Finding[]> {
  const { paths } = box.loaded;
  const own = toolVersion();
  const base = judgeVersions(await readInstallation(paths.stateDir), own);
  if ((await readDaemonFile(paths.servePidFile)).status !== "running") return [base];
  const running = await runningVersion(box);
  if (running === null)
    return [base, failed("serve runs, but /healthz does not tell its version.", "fula-master status")];
  if (running === own) return [base, fine(`serve runs ${running}`)];
  return [
    base,
    doubtful(
      `serve runs ${running}, but ${own} is installed.`,
      "fula-master stop && fula-master start, when it suits.",
    ),
  ];
}

async function checkJournal({ loaded: { paths } }: DoctorBox): Promise<Finding> {
  const leave = await findLastLeave(paths.journalDir);
  if (leave !== null) {
    const what = leave.finishedAt === null ? "stopped before its end" : "took this box out of service";
    return failed(`The leave of ${leave.startedAt} ${what}.`, "fula-master join brings it back.");
  }
  const run = await findUnfinishedRun(paths.journalDir);
  if (run === null) return fine("no join or leave stopped before its end");
  const at = run.stoppedAt === null ? "before its first step" : `at the step "${run.stoppedAt}"`;
  return failed(
    `The join of ${run.startedAt} stopped ${at} (${run.path}).`,
    "fula-master join goes on where it stopped.",
  );
}

async function checkPort(
  setting: string,
  { host, port }: { readonly host: string; readonly port: number },
  servePid: number | null,
): Promise<Finding> {
  const owner = await findPortOwner(port);
  const where = `${host}:${port} (${setting})`;
  if (owner === null) {
    if (servePid === null) return fine(`${where} is free for serve`);
    return failed(
      `serve runs as process ${servePid}, but nobody listens on ${where}.`,
      "fula-master stop && fula-master start",
    );
  }
  if (owner.pid === servePid) return fine(`${where} is held by serve (process ${owner.pid})`);
  const who = `process ${owner.pid} (${owner.command})`;
  return failed(
    `${where} is held by ${who}, which is not serve.`,
    `stop it, or take another port: fula-master config set ${setting} <port>`,
  );
}

async function checkPorts({ loaded }: DoctorBox): Promise<readonly Finding[]> {
  const { node, server, gateway, api } = loaded.config;
  const presence = await readDaemonFile(loaded.paths.servePidFile);
  const servePid = presence.status === "running" ? presence.record.pid : null;
  const ours = [
    ...(gateway.mode === "own" ? ([["gateway.port", gateway]] as const) : []),
    ...(node.role === "master" ? ([["api.port", api]] as const) : []),
  ];
  return await Promise.all(
    ([["server.port", server], ...ours] as const).map(async ([key, at]) => await checkPort(key, at, servePid)),
  );
}

async function checkServe({ loaded, clock, signal }: DoctorBox): Promise<Finding> {
  const { state, problem, pid, since, checks } = await readServe(loaded, { clock, signal, limitMs: LONG_LOOK_MS });
  const troubles = checks
    .filter((check) => check.state !== "ok")
    .map(({ name, error }) => `${name}: ${error ?? "not ok"}`);
  const message = [problem ?? `process ${pid} since ${since}, /readyz is ready`, ...troubles].join("\n");
  const remedy = `look into ${loaded.paths.serveLogFile}; fula-master start starts it where it does not run.`;
  if (state === "bad") return failed(message, remedy);
  return state === "attention" ? doubtful(message, remedy) : fine(message);
}

/** Checks of the box itself: files, settings, disk, clock. */
export function boxChecks(box: DoctorBox): readonly DoctorCheck[] {
  const { loaded, clock, signal } = box;
  const { paths } = loaded;
  return [
    { name: "node", run: async () => judgeNode(hostFacts().nodeVersion) },
    { name: "base-dir", run: async () => await checkWritable(paths.baseDir, expectedPaths(paths)) },
    {
      name: "permissions",
      run: async () => {
        const found = judgeOwnership(await readOwnership(importantFiles(paths)), hostFacts().uid);
        return found.state === "warning"
          ? { ...found, remedy: "fula-master join takes these permissions away." }
          : found;
      },
    },
    { name: "settings", run: async () => await checkSettings(loaded) },
    { name: "versions", run: async () => await checkVersions(box) },
    { name: "journal", run: async () => await checkJournal(box) },
    {
      name: "disk",
      run: async () => {
        const stores = dirname(paths.blocksDir);
        return judgeDisk(await diskRoom(stores), stores);
      },
    },
    {
      name: "clock",
      run: async () =>
        judgeClock({
          nowMs: clock.nowMs(),
          newestFile: await newestFile(paths),
          synchronized: await isClockSynchronized(signal),
        }),
    },
  ];
}

/** Checks of the process that serves, which only a master has. */
export function serveChecks(box: DoctorBox): readonly DoctorCheck[] {
  return [
    { name: "ports", run: async () => await checkPorts(box) },
    { name: "serve", run: async () => await checkServe(box) },
  ];
}
