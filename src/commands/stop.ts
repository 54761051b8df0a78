import type { DaemonStop } from "../lib/stack/daemon.ts";
import { defineCommand } from "../lib/terminal/command.ts";

function serveText({ pid, manner }: DaemonStop): string {
  if (pid === null) return "Already so: serve does not run.";
  return manner === "killed" ? `serve (process ${pid}) was killed.` : `serve (process ${pid}) has ended.`;
}

function postgresText({ postgres }: DaemonStop): string {
  if (postgres.stopped !== null) return "\nThe embedded PostgreSQL that it had left behind was stopped.";
  const users = postgres.usedBy.map(({ pid, purpose }) => `process ${pid} (${purpose})`);
  return users.length === 0 ? "" : `\nThe embedded PostgreSQL runs on for ${users.join(", ")}.`;
}

/** `stop`: ends the background serve. */
export const stopCommand = defineCommand<{ readonly dryRun?: boolean; readonly force?: boolean }>({
  name: "stop",
  summary: "stop serve",
  description:
    "Asks serve to end, waits until the work in flight is done, and stops an embedded PostgreSQL that nobody uses. " +
    "Nothing that is stored is touched; fula-master start brings everything back.",
  examples: [
    { command: "fula-master stop", explains: "finish what is in flight, then end" },
    { command: "fula-master stop --force", explains: "the same, but kill it where it does not end in time" },
    { command: "fula-master stop --json", explains: "pid, manner and postgres as JSON" },
  ],
  options: [{ flags: "--force", description: "kill it when it has not ended after its shutdown timeout" }],
  changes: true,
  run: async (context, { dryRun = false, force = false }) => {
    const { loadConfig } = await import("../lib/config/load.ts");
    const { daemonState, stopDaemon } = await import("../lib/stack/daemon.ts");
    const { clock, env, out, signal } = context;
    const loaded = await loadConfig(context);
    if (dryRun) {
      const state = await daemonState(loaded, signal);
      const runs = state.status === "running";
      out.result({ dryRun: true, changes: runs, pid: runs ? state.pid : null }, () =>
        runs ? `Would stop serve (process ${state.pid}).` : "Already so: serve does not run.",
      );
      return;
    }
    const stopped = await stopDaemon(loaded, { clock, env, signal }, { force });
    out.result(stopped, () => `${serveText(stopped)}${postgresText(stopped)}`);
  },
});
