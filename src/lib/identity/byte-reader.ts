import { Refusal } from "./refusal.ts";

const LF = 0x0a;

/** Reads lines and counted bytes from a stream that may be cut anywhere. Holds one piece of the stream at a time. */
export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  #piece: Uint8Array = new Uint8Array(0);

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /**
   * The next line without its line end, as Latin-1; null at the end of the stream.
   * @param bytesMax most bytes of the line, its line end not counted
   * @throws Refusal InvalidRequest for a longer line, IncompleteBody where the stream ends within one
   */
  async readLine(bytesMax: number): Promise<string | null> {
    const parts: Uint8Array[] = [];
    let length = 0;
    for (;;) {
      if (!(await this.#fill())) {
        if (length === 0) return null;
        throw new Refusal("IncompleteBody", "The body ended within a line of its framing.");
      }
      const end = this.#piece.indexOf(LF);
      const part = this.#piece.subarray(0, end === -1 ? this.#piece.byteLength : end);
      length += part.byteLength;
      // One more for the carriage return.
      if (length > bytesMax + 1) throw new Refusal("InvalidRequest", "A line of the aws-chunked framing is too long.");
      parts.push(part);
      this.#piece = this.#piece.subarray(end === -1 ? this.#piece.byteLength : end + 1);
      if (end !== -1) return stripReturn(Buffer.concat(parts).toString("latin1"), bytesMax);
    }
  }

  /** At least one byte, at most `bytesMax`. @throws Refusal IncompleteBody at the end of the stream */
  async readSome(bytesMax: number): Promise<Uint8Array> {
    if (!(await this.#fill())) throw new Refusal("IncompleteBody", "The body ended within a chunk.");
    const some = this.#piece.subarray(0, bytesMax);
    this.#piece = this.#piece.subarray(some.byteLength);
    return some;
  }

  async #fill(): Promise<boolean> {
    while (this.#piece.byteLength === 0) {
      const next = await this.#source.next();
      if (next.done === true) return false;
      this.#piece = next.value;
    }
    return true;
  }
}

function stripReturn(line: string, bytesMax: number): string {
  const text = line.endsWith("\r") ? line.slice(0, -1) : line;
  if (text.length > bytesMax) throw new Refusal("InvalidRequest", "A line of the aws-chunked framing is too long.");
  return text;
}
