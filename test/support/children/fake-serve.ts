import { createServer } from "node:http";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { loadConfig } from "../../../src/lib/config/load.ts";
import { removeDaemonFile, writeDaemonFile } from "../../../src/lib/stack/daemon-file.ts";

/**
 * Stands in for the launcher: `fake-serve.ts serve --base-dir <dir> [--config <file>]`. FAKE_SERVE says how it behaves:
 * "crash" ends at once, "deaf" ignores SIGTERM, "silent" never listens, "unready" answers 503; nothing = like serve.
 */
const args = process.argv.slice(2);
const after = (name: string): string | undefined => (args.includes(name) ? args[args.indexOf(name) + 1] : undefined);
const [baseDir, config] = [after("--base-dir"), after("--config")];
const behaviour = process.env["FAKE_SERVE"] ?? "";
process.stdout.write(`arguments ${JSON.stringify(args)}\n`);
if (behaviour === "crash") {
  process.stderr.write("the ledger is on fire\n");
  process.exit(3);
}
const globals = { ...(baseDir === undefined ? {} : { baseDir }), ...(config === undefined ? {} : { config }) };
const { paths, config: settings } = await loadConfig({ globals, env: {}, cwd: "/" });
const server = createServer((_request, response) => {
  response.statusCode = behaviour === "unready" ? 503 : 200;
  response.end(behaviour === "unready" ? "the ledger is on fire" : "ready");
});
process.on("SIGTERM", () => {
  if (behaviour === "deaf") return;
  server.close();
  server.closeAllConnections();
  void removeDaemonFile(paths.servePidFile).then(() => process.exit(0));
});
await writeDaemonFile(paths.servePidFile, systemClock);
if (behaviour === "silent") setInterval(() => {}, 60_000);
else server.listen({ host: settings.server.host, port: settings.server.port });
