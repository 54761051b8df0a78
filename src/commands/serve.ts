import { defineCommand } from "../lib/terminal/command.ts";

export const serveCommand = defineCommand({
  name: "serve",
  summary: "run this master in the foreground",
  description:
    "Runs this master in the foreground, for a service manager or a container: the S3 gateway, the API for " +
    "accounts, and beside them /healthz, /readyz and /metrics. Starts the embedded PostgreSQL where the settings ask " +
    "for it. Where billing is on it takes part in the cron lease, and charges hours and credits deposits while it holds " +
    "it. Writes its log to stdout, one JSON object a line. SIGTERM or Ctrl-C gives the lease back, finishes the requests " +
    "in flight (at most server.shutdownTimeout) and ends with 0; a second one ends at once.",
  examples: [
    { command: "fula-master serve", explains: "Runs until it is told to stop." },
    { command: "fula-master start", explains: "Runs it in the background instead, and waits until it is ready." },
  ],
  run: async ({ globals, env, cwd, out, clock, random, signal }) => {
    const { loadConfig } = await import("../lib/config/load.ts");
    const { createJsonLog } = await import("../lib/server/json-log.ts");
    const { startServer } = await import("../lib/server/start.ts");
    const loaded = await loadConfig({ globals, env, cwd });
    const log = createJsonLog({
      level: loaded.config.server.logLevel,
      base: { node: loaded.config.node.name },
      destination: { write: (line) => out.stdout.write(line) },
    });
    await using server = await startServer(loaded, { clock, random, log, signal });
    const { ops, gateway, api } = server.endpoints;
    const own = gateway === null || api === null ? "" : `S3 is at ${gateway}, the API for accounts at ${api}; `;
    out.note(`${own}/readyz and /metrics are at ${ops}.`);
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener("abort", () => {
        resolve();
      });
    });
  },
});
