import { execa, ExecaError, parseCommandString } from "execa";
import { messageOf } from "../kernel/errors.ts";

/** Longest that the alert command may take: a sweep must be over before the next one begins. */
const ALERT_COMMAND_PATIENCE_MS = 60_000;

/** What it printed is shown up to that many characters. */
const SHOWN_MAX = 300;

/**
 * Runs the command of `sweep.alertCommand`, without a shell, with the lines on its standard input. A blank separates its
 * arguments; one that belongs to an argument has a backslash before it.
 * @returns null where it exited with 0; else what went wrong
 */
export async function runAlertCommand(
  command: string,
  lines: Iterable<string>,
  signal: AbortSignal,
  patienceMs = ALERT_COMMAND_PATIENCE_MS,
): Promise<string | null> {
  const [program, ...args] = parseCommandString(command);
  if (program === undefined) return "sweep.alertCommand names no program";
  try {
    await execa(program, args, {
      stdin: asBytes(lines),
      stdout: "ignore",
      timeout: patienceMs,
      forceKillAfterDelay: 2_000,
      cancelSignal: signal,
    });
    return null;
  } catch (error) {
    signal.throwIfAborted();
    return explain(error, patienceMs);
  }
}

function explain(error: unknown, patienceMs: number): string {
  if (error instanceof ExecaError && error.timedOut) {
    return `it was ended because it had not finished after ${patienceMs / 1_000} s`;
  }
  // What execa says ends with what the program wrote to stderr.
  return messageOf(error).replaceAll(/\s+/g, " ").slice(0, SHOWN_MAX);
}

function* asBytes(lines: Iterable<string>): Generator<Uint8Array> {
  for (const line of lines) yield Buffer.from(line);
}
