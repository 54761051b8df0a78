import { defineCommand } from "../lib/terminal/command.ts";

/** `start`: serve in the background. */
export const startCommand = defineCommand<{ readonly dryRun?: boolean }>({
  name: "start",
  summary: "start serve in the background",
  description:
    "Starts serve as a background process, waits until it is ready, and returns. Does nothing where it runs already. " +
    "Its output goes to logs/serve.log. Under a service manager run serve itself instead.",
  examples: [
    { command: "fula-master start", explains: "bring this master up; returns when it answers" },
    { command: "fula-master start --json", explains: "pid, since, already and logFile as JSON" },
  ],
  changes: true,
  run: async (context, { dryRun = false }) => {
    const { loadConfig } = await import("../lib/config/load.ts");
    const { daemonState, startDaemon } = await import("../lib/stack/daemon.ts");
    const { clock, env, out, signal } = context;
    const loaded = await loadConfig(context);
    if (dryRun) {
      const state = await daemonState(loaded, signal);
      const runs = state.status === "running";
      out.result({ dryRun: true, changes: !runs }, () =>
        runs
          ? `Already so: serve runs as process ${state.pid}.`
          : `Would start serve; log: ${loaded.paths.serveLogFile}`,
      );
      return;
    }
    out.detail(`Waiting for /readyz on ${loaded.config.server.host}:${loaded.config.server.port}`);
    const started = await startDaemon(loaded, { clock, env, signal });
    out.result(started, () =>
      started.already
        ? `Already so: serve runs as process ${started.pid} since ${started.since}.`
        : `serve is ready: process ${started.pid}, log ${started.logFile}.`,
    );
  },
});
