import { stat } from "node:fs/promises";
import { systemErrorCode } from "../kernel/errors.ts";
import type { Paths } from "../config/paths.ts";
import { daemonState, startDaemon, stopDaemon } from "./daemon.ts";
import type { JoinRun, JoinStep } from "./join-step.ts";
import { already, todo } from "./plan.ts";

async function mtimeMs(path: string): Promise<number | null> {
  try {
    return (await stat(path)).mtimeMs;
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return null;
    throw error;
  }
}

/** True where settings or secrets were changed after `serve` read them: its pid file is written right after that. */
async function hasOldSettings({ configFile, envFile, servePidFile }: Paths): Promise<boolean> {
  const startedMs = (await mtimeMs(servePidFile)) ?? Number.POSITIVE_INFINITY;
  const changedMs = Math.max((await mtimeMs(configFile)) ?? 0, (await mtimeMs(envFile)) ?? 0);
  return changedMs > startedMs;
}

/** Step: `serve` in the background. */
export function serveStep(run: JoinRun): JoinStep {
  const { box } = run;
  const { clock, env, signal } = box.context;
  return {
    id: "serve",
    title: "serve",
    assess: async () => {
      const state = await daemonState(box.wanted, signal);
      const { host, port } = box.wanted.config.server;
      if (state.status === "stopped") {
        return todo("this is the process that keeps the promises of a master", ["start serve in the background"]);
      }
      if (run.settingsChanged || (await hasOldSettings(box.paths))) {
        return todo("settings were changed since it started", [`restart serve (process ${state.pid})`]);
      }
      if (!state.ready) return todo("it runs, but is not ready", [`wait for serve (process ${state.pid})`]);
      return already(`process ${state.pid} answers on ${host}:${port} since ${state.since}`);
    },
    apply: async (report) => {
      const loaded = await run.load();
      const state = await daemonState(loaded, signal);
      if (state.status === "running" && (run.settingsChanged || (await hasOldSettings(box.paths)))) {
        report(`stopping process ${state.pid}`);
        await stopDaemon(loaded, { clock, env, signal });
      }
      report("starting and waiting until it is ready");
      const { pid } = await startDaemon(loaded, { clock, env, signal });
      return `process ${pid} is ready`;
    },
  };
}
