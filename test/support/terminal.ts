import { PassThrough, Writable } from "node:stream";
import { Output, type OutputOptions } from "../../src/lib/terminal/output.ts";

/** A stream that keeps what was written to it, and looks like a terminal where it is given a width. */
class Screen extends Writable {
  text = "";
  readonly isTTY: boolean;
  readonly columns: number;

  constructor(columns: number | null) {
    super({ decodeStrings: false });
    this.isTTY = columns !== null;
    this.columns = columns ?? 0;
  }

  override _write(chunk: string | Uint8Array, _encoding: string, done: () => void): void {
    this.text += typeof chunk === "string" ? chunk : Buffer.from(chunk).toString("utf8");
    done();
  }
}

/** An Output on screens that a test can read. */
export function testOutput(columns: number | null, options: Partial<OutputOptions> = {}) {
  const stdout = new Screen(columns);
  const stderr = new Screen(columns);
  const stdin = Object.assign(new PassThrough(), { isTTY: columns !== null });
  const out = new Output({ stdin, stdout, stderr }, { json: false, quiet: false, verbose: false, env: {}, ...options });
  return { out, stdin, stdout, stderr };
}
