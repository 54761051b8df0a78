import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { Chalk, type ChalkInstance } from "chalk";
import { FulaError } from "../kernel/errors.ts";
import { colorLevel } from "./color.ts";
import { type Progress, silentProgress, startProgress } from "./progress.ts";
import { renderTable, type TableCell, type TableColumn } from "./table.ts";

/** The streams of one run; tests hand in their own. */
export interface TerminalStreams {
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number; readonly rows?: number };
  readonly stderr: Writable & { readonly isTTY?: boolean; readonly columns?: number };
}

/** How one run of the CLI speaks. */
export interface OutputOptions {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Ends a question that nobody has answered yet. */
  readonly signal?: AbortSignal;
}

/** No option takes more than this from standard input. */
const INPUT_LENGTH_MAX = 1_048_576;

/** Thrown when whoever reads our stdout has closed it, as `head` does; ends the run quietly. */
export class StdoutClosedError extends Error {
  override readonly name = "StdoutClosedError";
}

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
  readonly #signal: AbortSignal | undefined;

  constructor(streams: TerminalStreams, options: OutputOptions) {
    this.#streams = streams;
    this.#signal = options.signal;
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

  /**
   * Prints one record of a streaming result: one NDJSON line with `--json`, else the text.
   * @throws StdoutClosedError when nobody reads any more
   */
  record(value: unknown, text: () => string): void {
    const { stdout } = this.#streams;
    if (stdout.destroyed || stdout.errored !== null) throw new StdoutClosedError("stdout has been closed");
    stdout.write(`${this.json ? JSON.stringify(value) : text()}\n`);
  }

  /** Like `record`, for long lists: waits while the reader is slower than we are, so that nothing piles up in memory. */
  async recordSlowly(value: unknown, text: () => string): Promise<void> {
    this.record(value, text);
    const { stdout } = this.#streams;
    if (!stdout.writableNeedDrain) return;
    await new Promise<void>((resolve) => {
      const resume = (): void => {
        for (const event of ["drain", "close", "error"]) stdout.off(event, resume);
        resolve();
      };
      // A stream that closed or failed is what the next record() reports.
      for (const event of ["drain", "close", "error"]) stdout.on(event, resume);
    });
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

  /** Renders a table for stdout, as wide as the terminal at most; rows are as many cells as there are columns. */
  table(columns: readonly TableColumn[], rows: readonly (readonly TableCell[])[]): string {
    const { isTTY, columns: width } = this.#streams.stdout;
    return renderTable(columns, rows, {
      width: isTTY === true && width !== undefined && width > 0 ? width : null,
      styleTitle: (text) => this.style.bold(text),
    });
  }

  /** Starts a progress display labelled `label`, counting `unit`s; the caller ends it, also when the work fails. */
  progress(label: string, unit: string, monotonicMs: () => number = () => performance.now()): Progress {
    if (this.quiet) return silentProgress;
    return startProgress({ stderr: this.#streams.stderr, label, unit, monotonicMs });
  }

  /**
   * Asks before something is destroyed.
   * @throws FulaError FULA_CONFIRMATION_REQUIRED when nobody can be asked, or the answer is not yes; FULA_INTERRUPTED on Ctrl-C
   */
  async confirm(question: string, assumeYes: boolean): Promise<void> {
    if (assumeYes) return;
    if (!this.interactive) {
      throw new FulaError("FULA_CONFIRMATION_REQUIRED", `${question} Nobody can be asked here.`, {
        hint: "add --yes if you mean it, or --dry-run to see what would be done.",
      });
    }
    const answer = await this.#ask(question, `${question} [y/N] `);
    if (/^y(es)?$/i.test(answer.trim())) return;
    throw new FulaError("FULA_CONFIRMATION_REQUIRED", `${question} The answer was not yes; nothing was changed.`);
  }

  /**
   * What an option that was given as `-` stands for: one line where a person types, else all of standard input.
   * @throws FulaError FULA_INTERRUPTED on Ctrl-C, FULA_USAGE for more than 1 MiB
   */
  async readInput(name: string): Promise<string> {
    if (this.interactive) return await this.#ask(`${name} was asked for.`, `${name}: `);
    let text = "";
    for await (const piece of this.#streams.stdin) {
      text += String(piece);
      if (text.length > INPUT_LENGTH_MAX) {
        throw new FulaError("FULA_USAGE", `There is more than 1 MiB on standard input, which is no ${name}.`);
      }
    }
    return text;
  }

  /**
   * Asks for a name to be typed before something is destroyed for good.
   * @throws FulaError as `confirm` does
   */
  async confirmByName(question: string, name: string, assumeYes: boolean): Promise<void> {
    if (assumeYes) return;
    if (!this.interactive) await this.confirm(question, false);
    const answer = await this.#ask(question, `${question} Type ${name} to go on: `);
    if (answer.trim() === name) return;
    throw new FulaError(
      "FULA_CONFIRMATION_REQUIRED",
      `${question} What was typed was not ${name}; nothing was changed.`,
    );
  }

  /** The line that is typed, or nothing at the end of input (Ctrl-D). @throws FulaError FULA_INTERRUPTED on Ctrl-C */
  async #ask(question: string, prompted: string): Promise<string> {
    const prompt = createInterface({ input: this.#streams.stdin, output: this.#streams.stderr });
    const interrupted = new FulaError("FULA_INTERRUPTED", `${question} There was no answer; nothing was changed.`);
    try {
      return await new Promise<string>((resolve, reject) => {
        // While a line is read, the terminal gives Ctrl-C to us as a key and sends no signal.
        prompt.on("SIGINT", () => reject(interrupted));
        prompt.on("close", () => resolve(""));
        this.#signal?.addEventListener("abort", () => reject(interrupted), { once: true });
        prompt.question(prompted, resolve);
      });
    } finally {
      prompt.close();
    }
  }
}
