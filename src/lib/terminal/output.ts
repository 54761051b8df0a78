import { createInterface } from "node:readline/promises";
import type { Readable, Writable } from "node:stream";
import { Chalk, type ChalkInstance } from "chalk";
import { FulaError } from "../kernel/errors.ts";

/** The streams of one run; tests hand in their own. */
export interface TerminalStreams {
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  readonly stderr: Writable & { readonly isTTY?: boolean; readonly columns?: number };
}

/** How one run of the CLI speaks. */
export interface OutputOptions {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Running display of a long piece of work, on stderr: one updated line on a terminal, plain lines on a pipe. */
export interface Progress {
  /** `total` null = unknown. `unit` such as "pins". */
  update(done: number, total: number | null): void;
  end(): void;
}

const PROGRESS_TTY_INTERVAL_MS = 100;
const PROGRESS_PIPE_INTERVAL_MS = 5_000;

/**
 * The only way a command prints. The result goes to stdout (text, or JSON with `--json`); everything about the way
 * there goes to stderr, so that a pipe gets the result alone.
 */
export class Output {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  /** Styles for text on stdout; without colour where stdout is no terminal or NO_COLOR is set. */
  readonly style: ChalkInstance;
  /** Styles for text on stderr. */
  readonly errorStyle: ChalkInstance;
  readonly #streams: TerminalStreams;

  constructor(streams: TerminalStreams, options: OutputOptions) {
    this.#streams = streams;
    this.json = options.json;
    this.quiet = options.quiet;
    this.verbose = options.verbose;
    this.style = new Chalk({ level: colorLevel(streams.stdout, options.env) });
    this.errorStyle = new Chalk({ level: colorLevel(streams.stderr, options.env) });
  }

  /** True where a person can be asked. */
  get interactive(): boolean {
    return this.#streams.stdin.isTTY === true && this.#streams.stderr.isTTY === true && !this.json;
  }

  /** Where listr2 and other renderers write. */
  get stderr(): TerminalStreams["stderr"] {
    return this.#streams.stderr;
  }

  get stdout(): TerminalStreams["stdout"] {
    return this.#streams.stdout;
  }

  /** Prints the command's result: one JSON document with `--json`, else the text. */
  result(value: unknown, text: () => string): void {
    const body = this.json ? JSON.stringify(value, null, 2) : text();
    if (body !== "") this.#streams.stdout.write(body.endsWith("\n") ? body : `${body}\n`);
  }

  /** Prints one record of a streaming result: one NDJSON line with `--json`, else the text. */
  record(value: unknown, text: () => string): void {
    this.#streams.stdout.write(`${this.json ? JSON.stringify(value) : text()}\n`);
  }

  /** A remark on the way, on stderr; silent with `--quiet`. */
  note(text: string): void {
    if (!this.quiet) this.#streams.stderr.write(`${text}\n`);
  }

  /** A remark that is only wanted with `--verbose`. */
  detail(text: string): void {
    if (this.verbose) this.#streams.stderr.write(`${this.errorStyle.dim(text)}\n`);
  }

  /** Something the operator should look at; printed even with `--quiet`. */
  warn(text: string): void {
    this.#streams.stderr.write(`${this.errorStyle.yellow("warning:")} ${text}\n`);
  }

  /** Starts a progress display labelled `label`, counting `unit`s. */
  progress(label: string, unit: string, monotonicMs: () => number = () => performance.now()): Progress {
    if (this.quiet) return { update: () => {}, end: () => {} };
    const stderr = this.#streams.stderr;
    const live = stderr.isTTY === true;
    const intervalMs = live ? PROGRESS_TTY_INTERVAL_MS : PROGRESS_PIPE_INTERVAL_MS;
    const startedMs = monotonicMs();
    let shownMs = live ? Number.NEGATIVE_INFINITY : startedMs;
    let drawn = false;
    return {
      update: (done, total) => {
        const nowMs = monotonicMs();
        if (nowMs - shownMs < intervalMs) return;
        shownMs = nowMs;
        const text = `${label}: ${total === null ? done : `${done} of ${total}`} ${unit}`;
        stderr.write(live ? `\r\u001b[2K${text}` : `${text}\n`);
        drawn = true;
      },
      end: () => {
        if (live && drawn) stderr.write("\r\u001b[2K");
      },
    };
  }

  /**
   * Asks before something is destroyed.
   * @throws FulaError FULA_CONFIRMATION_REQUIRED when nobody can be asked, or the answer is not yes.
   */
  async confirm(question: string, assumeYes: boolean): Promise<void> {
    if (assumeYes) return;
    if (!this.interactive) {
      throw new FulaError("FULA_CONFIRMATION_REQUIRED", `${question} Nobody can be asked here.`, {
        hint: "add --yes if you mean it, or --dry-run to see what would be done.",
      });
    }
    const prompt = createInterface({ input: this.#streams.stdin, output: this.#streams.stderr });
    try {
      const answer = await prompt.question(`${question} [y/N] `);
      if (/^y(es)?$/i.test(answer.trim())) return;
    } finally {
      prompt.close();
    }
    throw new FulaError("FULA_CONFIRMATION_REQUIRED", `${question} The answer was not yes; nothing was changed.`);
  }
}

function colorLevel(stream: { readonly isTTY?: boolean }, env: OutputOptions["env"]): 0 | 1 {
  // https://no-color.org: set to anything but the empty string means no colour, whatever else is set.
  if ((env["NO_COLOR"] ?? "") !== "") return 0;
  if ((env["FORCE_COLOR"] ?? "") !== "" && env["FORCE_COLOR"] !== "0") return 1;
  return stream.isTTY === true && env["TERM"] !== "dumb" ? 1 : 0;
}
