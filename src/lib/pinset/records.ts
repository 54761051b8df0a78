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

/** The records of a pinset as they go into the data file, and how many there were once they have all passed. */
export interface RecordChunks extends AsyncIterable<Buffer> {
  readonly pinCount: number;
}

/** Characters that are turned into bytes, hashed and compressed together. */
const CHUNK_CHARS = 256 * 1024;

/** Progress is told once in that many pins. */
const PROGRESS_PINS = 4_096;

/**
 * Lists the pinset as sorted canonical lines, in flat memory, and checks each of them just as `verify` will.
 * @param sortDir where an unsorted listing may put sorted runs
 * @throws (while it is read) FulaError FULA_SNAPSHOT_SOURCE, FULA_CLUSTER_UNREADABLE, FULA_DISK_FULL
 */
export function recordChunks(source: RecordSource, sortDir: string, total: number | null): RecordChunks {
  const check = new RecordCheck();
  const lines = source.cluster.sorted ? sortedLines(source, total) : mergedLines(source, sortDir, total);
  return {
    get pinCount() {
      return check.count;
    },
    [Symbol.asyncIterator]: () => checkedChunks(lines, check),
  };
}

/** Counts the pins by listing them. @throws FulaError FULA_CLUSTER_UNREADABLE */
export async function countPins(source: RecordSource): Promise<number> {
  let pins = 0;
  for await (const _ of listPins(source, null)) pins += 1;
  return pins;
}

async function* checkedChunks(lines: AsyncIterable<string>, check: RecordCheck): AsyncGenerator<Buffer> {
  for await (const text of lines) {
    const chunk = Buffer.from(text);
    check.add(chunk);
    assertSound(check);
    yield chunk;
  }
  check.finish();
  assertSound(check);
}

function assertSound(check: RecordCheck): void {
  const [first] = check.problems;
  if (first === undefined) return;
  throw contradiction(first.message);
}

/** Joins the lines of a source that is in order by itself into pieces of some size. */
async function* sortedLines(source: RecordSource, total: number | null): AsyncGenerator<string> {
  let text = "";
  for await (const pin of listPins(source, total)) {
    text += `${lineOf(pin)}\n`;
    if (text.length < CHUNK_CHARS) continue;
    yield text;
    text = "";
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
  for await (const pin of listPins(source, total)) yield { key: pin.cid, line: lineOf(pin) };
}

/** The pins as the cluster lists them; what it throws becomes an error that an operator understands. */
async function* listPins({ cluster, signal, onProgress }: RecordSource, total: number | null): AsyncGenerator<Pin> {
  let done = 0;
  try {
    for await (const pin of cluster.pins(signal)) {
      yield pin;
      done += 1;
      if (done % PROGRESS_PINS !== 0) continue;
      signal?.throwIfAborted();
      onProgress?.(done, total);
    }
  } catch (error) {
    if (isFulaError(error) || signal?.aborted === true) throw error;
    throw new FulaError(
      "FULA_CLUSTER_UNREADABLE",
      `The pinset could not be listed to its end; it broke off after ${done} pins: ${messageOf(error)}. No snapshot was taken.`,
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
