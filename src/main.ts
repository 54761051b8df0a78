import { runCli } from "./cli.ts";
import { COMMANDS } from "./commands/all.ts";
import { FulaError, systemErrorCode } from "./lib/kernel/errors.ts";
import type { CommandSpec } from "./lib/terminal/command.ts";
import { EXIT, reportError } from "./lib/terminal/errors.ts";
import { Output } from "./lib/terminal/output.ts";

const STOP_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

// A terminal sends Ctrl-C to every process of its group, and npm and our launcher pass theirs on besides: one key press
// arrives up to three times within milliseconds. Only what comes later is a second wish to stop.
const SAME_KEY_PRESS_MS = 500;

// A run that is over has nothing left to wait for; what still holds the process is a resource that was not closed.
const EXIT_GRACE_MS = 10_000;
const SHOW_CURSOR = "\u001b[?25h";

function processOutput(): Output {
  const words = new Set(process.argv.slice(2));
  return new Output(process, {
    json: words.has("--json"),
    quiet: false,
    verbose: words.has("--verbose") || words.has("-v"),
    env: process.env,
  });
}

/** Aborts the signal at the first SIGINT, SIGTERM or SIGHUP and ends the process at the second. */
function stopOnSignals(controller: AbortController): () => void {
  let firstMs: number | null = null;
  const stop = (): void => {
    const nowMs = performance.now();
    if (firstMs === null) {
      firstMs = nowMs;
      controller.abort(new FulaError("FULA_INTERRUPTED", "Stopped before the work was done."));
      if (process.stderr.isTTY) process.stderr.write("\nStopping; press Ctrl-C again to stop at once.\n");
    } else if (nowMs - firstMs > SAME_KEY_PRESS_MS) {
      if (process.stderr.isTTY) process.stderr.write(SHOW_CURSOR);
      process.exit(EXIT.interrupted);
    }
  };
  for (const signal of STOP_SIGNALS) process.on(signal, stop);
  return () => {
    for (const signal of STOP_SIGNALS) process.off(signal, stop);
  };
}

/** A closed pipe is no error: `fula-master pin ls | head` has what it wanted. Any other is, for the result is lost. */
function watchStreams(): void {
  process.stdout.on("error", (error) => {
    const errno = systemErrorCode(error);
    if (errno === "EPIPE") return;
    const lost = new FulaError("FULA_OUTPUT_LOST", `The result could not be written to stdout: ${errno}.`, {
      cause: error,
      hint: "make room where the output goes to (df -h), then run the command again.",
    });
    process.exit(reportError(lost, processOutput()));
  });
  // Where even this cannot be written, there is nobody left to tell.
  process.stderr.on("error", () => {});
}

function endAsBug(error: unknown): void {
  const bug = new Error("Something failed that nothing waited for.", { cause: error });
  process.exit(reportError(bug, processOutput()));
}

function exitWhenStuck(exitCode: number): void {
  const timer = setTimeout(() => {
    const held = process.getActiveResourcesInfo().join(", ");
    process.stderr.write(`This is a bug in fula-master: the run is over, but something is still open: ${held}\n`);
    process.exit(exitCode);
  }, EXIT_GRACE_MS);
  timer.unref();
}

/** The process edge: runs the CLI on this process's own arguments, streams and signals, and leaves its exit code. */
export async function main(commands: readonly CommandSpec[] = COMMANDS): Promise<void> {
  const controller = new AbortController();
  watchStreams();
  process.on("unhandledRejection", endAsBug);
  process.on("uncaughtException", endAsBug);
  const restoreSignals = stopOnSignals(controller);
  const { stdin, stdout, stderr, env } = process;
  const environment = { stdin, stdout, stderr, env, cwd: process.cwd(), signal: controller.signal };
  const exitCode = await runCli(process.argv.slice(2), environment, commands);
  restoreSignals();
  // Not process.exit: what was written to a pipe may still be on its way.
  process.exitCode = exitCode;
  exitWhenStuck(exitCode);
}
