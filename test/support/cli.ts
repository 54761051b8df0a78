import { Readable, Writable } from "node:stream";
import { runCli } from "../../src/cli.ts";
import { COMMANDS } from "../../src/commands/all.ts";
import type { CommandSpec } from "../../src/lib/terminal/command.ts";

/** What one run of the CLI printed and how it ended. */
export interface CliRun {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** What a test hands to one run; nothing is taken from the test process. */
export interface CliTestOptions {
  /** The whole environment of the run; default `{ HOME, PATH }` of the test process alone. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** What stands on stdin; default nothing. */
  readonly stdin?: string;
  /** Passed as `--base-dir`, after the other arguments. */
  readonly baseDir?: string;
  readonly cwd?: string;
  readonly signal?: AbortSignal;
  /** Makes all three streams look like terminals of this width. */
  readonly terminalColumns?: number;
  /** Other commands than fula-master's own. */
  readonly commands?: readonly CommandSpec[];
}

class Capture extends Writable {
  text = "";
  readonly isTTY: boolean;
  readonly columns?: number;

  constructor(terminalColumns: number | undefined) {
    super({ decodeStrings: false });
    this.isTTY = terminalColumns !== undefined;
    if (terminalColumns !== undefined) this.columns = terminalColumns;
  }

  override _write(chunk: string | Uint8Array, _encoding: string, done: () => void): void {
    this.text += typeof chunk === "string" ? chunk : Buffer.from(chunk).toString("utf8");
    done();
  }
}

/** Runs one command line in this process, as `bin/fula-master.js` would, on streams of its own. */
export async function runCliForTest(argv: readonly string[], options: CliTestOptions = {}): Promise<CliRun> {
  const stdout = new Capture(options.terminalColumns);
  const stderr = new Capture(options.terminalColumns);
  const stdin = Object.assign(Readable.from([options.stdin ?? ""]), { isTTY: options.terminalColumns !== undefined });
  const words = options.baseDir === undefined ? argv : [...argv, "--base-dir", options.baseDir];
  const environment = {
    stdin,
    stdout,
    stderr,
    env: options.env ?? { HOME: process.env["HOME"], PATH: process.env["PATH"] },
    cwd: options.cwd ?? process.cwd(),
    signal: options.signal ?? new AbortController().signal,
  };
  const exitCode = await runCli(words, environment, options.commands ?? COMMANDS);
  return { exitCode, stdout: stdout.text, stderr: stderr.text };
}

const TOLD_LINES = 40;

function endOf(text: string): string {
  const lines = text.trimEnd().split("\n");
  return lines.length <= TOLD_LINES ? text.trimEnd() : ["…", ...lines.slice(-TOLD_LINES)].join("\n");
}

/** The lines in which a command says why it failed, without the progress before them. */
function reasonOf({ stderr, stdout }: CliRun): string {
  const lines = stderr.trimEnd().split("\n");
  const first = lines.findLastIndex((line) => /^(?:FULA_[A-Z_]+:|\{"error":|This is a bug)/u.test(line));
  // What fails without an error, as a check that is not so, says so in its result.
  return first === -1 ? endOf(stdout) : lines.slice(first).join("\n");
}

export const isWell = ({ exitCode }: CliRun): boolean => exitCode === 0;

/** Succeeds, or fails with what the run said: the reason first, because reports are cut at their end. */
export function expectDone(run: CliRun, what: string): CliRun {
  if (run.exitCode === 0) return run;
  const rest = `--- end of stderr:\n${endOf(run.stderr)}\n--- end of stdout:\n${endOf(run.stdout)}`;
  throw new Error(`${what} ended with ${run.exitCode}: ${reasonOf(run)}\n${rest}`);
}
