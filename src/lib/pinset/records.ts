import type { Pin, PinCluster } from "../cluster/pins.ts";
import { FulaError, isFulaError, messageOf } from "../kernel/errors.ts";
import { explainWriteError } from "../kernel/files.ts";
import { canonicalPin } from "./canonical.ts";
import { type KeyedLine, sortLines } from "./external-sort.ts";
import { RecordCheck } from "./record-check.ts";

/** What a listing of the pinset is read with. */
export interface RecordSource {
  readonly cluster: PinCluster;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number | null) => void) | undefined;
}

/** Characters that are turned into bytes, hashed and compressed together. */
const CHUNK_CHARS = 256 * 1024;

/** Progress is told once in that many pins. */
const PROGRESS_PINS = 4_096;

/**
 * Lists the pinset as sorted canonical lines, joined into larger texts, in flat memory.
 * @param sortDir where an unsorted listing may put sorted runs
 * @throws (while it is read) FulaError FULA_SNAPSHOT_SOURCE, FULA_CLUSTER_UNREADABLE, FULA_DISK_FULL
 */
export function recordTexts(source: RecordSource, sortDir: string, total: number | null): AsyncIterable<string> {
  return source.cluster.sorted ? sortedLines(source, total) : mergedLines(source, sortDir, total);
}

/** What a listing is checked with while it is written: just what `verify` will check. @throws FulaError FULA_SNAPSHOT_SOURCE */
export class SourceCheck {
  readonly #check = new RecordCheck();

  get pinCount(): number {
    return this.#check.count;
  }

  add(chunk: Buffer): void {
    this.#check.add(chunk);
    const [first] = this.#check.problems;
    if (first !== undefined) throw contradiction(first.message);
  }
}

/** Counts the pins by listing them. @throws FulaError FULA_CLUSTER_UNREADABLE */
export async function countPins(source: RecordSource): Promise<number> {
  const watch = new ListingWatch(source, null);
  let pins = 0;
  try {
    for await (const _ of source.cluster.pins(source.signal)) {
      pins += 1;
      watch.step();
    }
  } catch (error) {
    throw watch.explain(error);
  }
  return pins;
}

/** Joins the lines of a source that is in order by itself into pieces of some size. */
async function* sortedLines(source: RecordSource, total: number | null): AsyncGenerator<string> {
  const watch = new ListingWatch(source, total);
  let text = "";
  try {
    for await (const pin of source.cluster.pins(source.signal)) {
      text += `${lineOf(pin)}\n`;
      watch.step();
      if (text.length < CHUNK_CHARS) continue;
      yield text;
      text = "";
    }
  } catch (error) {
    throw watch.explain(error);
  }
  if (text !== "") yield text;
}

async function* mergedLines(source: RecordSource, sortDir: string, total: number | null): AsyncGenerator<string> {
  let text = "";
  try {
    for await (const batch of sortLines(keyed(source, total), { dir: sortDir, signal: source.signal })) {
      for (const { line } of batch) text += `${line}\n`;
      if (text.length < CHUNK_CHARS) continue;
      yield text;
      text = "";
    }
  } catch (error) {
    throw explainWriteError(error, sortDir);
  }
  if (text !== "") yield text;
}

async function* keyed(source: RecordSource, total: number | null): AsyncGenerator<KeyedLine> {
  const watch = new ListingWatch(source, total);
  try {
    for await (const pin of source.cluster.pins(source.signal)) {
      yield { key: pin.cid, line: lineOf(pin) };
      watch.step();
    }
  } catch (error) {
    throw watch.explain(error);
  }
}

/** Counts the pins of a listing, and turns what breaks it off into an error that an operator understands. */
class ListingWatch {
  #done = 0;
  readonly #source: RecordSource;
  readonly #total: number | null;

  constructor(source: RecordSource, total: number | null) {
    this.#source = source;
    this.#total = total;
  }

  step(): void {
    this.#done += 1;
    if (this.#done % PROGRESS_PINS !== 0) return;
    this.#source.signal?.throwIfAborted();
    this.#source.onProgress?.(this.#done, this.#total);
  }

  explain(error: unknown): unknown {
    if (isFulaError(error) || this.#source.signal?.aborted === true) return error;
    return new FulaError(
      "FULA_CLUSTER_UNREADABLE",
      `The pinset could not be listed to its end; it broke off after ${this.#done} pins: ${messageOf(error)}. No snapshot was taken.`,
      { cause: error, hint: "fula-master status tells how the cluster is; then run the command again." },
    );
  }
}

function lineOf(pin: Pin): string {
  try {
    return canonicalPin(pin);
  } catch (error) {
    throw contradiction(`The record of ${pin.cid} cannot be written: ${messageOf(error)}.`);
  }
}

function contradiction(what: string): FulaError {
  return new FulaError(
    "FULA_SNAPSHOT_SOURCE",
    `The listing of the pinset cannot be right. ${what} No snapshot was taken.`,
    {
      hint: "run it again; if it stays like this, report it together with the line above.",
    },
  );
}
