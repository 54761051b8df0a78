import { join } from "node:path";
import { createInterface } from "node:readline";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import type { LogFields } from "../../../src/lib/kernel/log.ts";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { ensureEmbeddedPostgres } from "../../../src/lib/runtime/embedded-postgres.ts";

/**
 * A process that uses the embedded server: says in JSON lines what happens, and stops when it reads a line. Its
 * argument is JSON: `{ baseDir, binDir?, port?, password?, uid?, gid? }`, or only the base directory.
 */
const argument = process.argv[2] ?? "";
const settings: Readonly<Record<string, string | number | null>> = argument.startsWith("{")
  ? JSON.parse(argument)
  : { baseDir: join(argument, "base") };

function text(name: string): string | null {
  const value = settings[name];
  return typeof value === "string" ? value : null;
}

function say(event: string, fields: LogFields = {}): void {
  process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);
}

if (typeof settings["uid"] === "number") {
  // All modules are loaded: a checkout that this user cannot read does not matter from here on.
  process.setgroups?.([]);
  process.setgid?.(Number(settings["gid"]));
  process.setuid?.(settings["uid"]);
}
const baseDir = text("baseDir") ?? "";
try {
  const running = await ensureEmbeddedPostgres({
    baseDir,
    stateDir: join(baseDir, "state"),
    locksDir: join(baseDir, "state", "locks"),
    logsDir: join(baseDir, "logs"),
    binDir: text("binDir"),
    runAs: text("runAs"),
    port: Number(settings["port"] ?? 0),
    database: text("database") ?? "ledger",
    user: text("user") ?? "owner",
    password: new Secret(text("password") ?? "a password of a test"),
    purpose: text("purpose") ?? "test",
    clock: systemClock,
    random: systemRandom,
    log: { ...silentLog, info: say, warn: say },
  });
  say("ready", { pid: running.pid, port: running.port, attached: running.attached, by: process.pid });
  for await (const _line of createInterface({ input: process.stdin })) break;
  const report = await running.stop();
  say("stopped", { stopped: report.stopped, usedBy: report.usedBy });
} catch (error) {
  const known = error instanceof FulaError;
  say("failed", { code: known ? error.code : null, message: String(error), hint: known ? error.hint : null });
  process.exitCode = 1;
}
process.stdin.destroy();
