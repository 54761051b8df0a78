import { type FileHandle, open, rm } from "node:fs/promises";
import { join } from "node:path";

/** A line and what it is sorted by. Neither may hold a tab or a newline. */
export interface KeyedLine {
  readonly key: string;
  readonly line: string;
}

/** How much `sortLines` holds and keeps open. */
export interface SortOptions {
  /** An existing directory for runs; they are removed when the sort ends, however it ends. */
  readonly dir: string;
  readonly signal?: AbortSignal | undefined;
  /** Characters held before a run is written; default 16 Mi, which is about 50,000 pins. */
  readonly runCharsMax?: number;
  /** Runs merged at once, which is also how many files are open; default 64. */
  readonly fanIn?: number;
}

const RUN_CHARS_MAX = 16 * 1024 * 1024;
const FAN_IN = 64;

/** What a run is read by, and how many lines are handed on together. */
const BLOCK_BYTES = 256 * 1024;
const BATCH_LINES = 512;

/**
 * Sorts any number of lines by their keys (UTF-16 code units, which for ASCII are the bytes) in flat memory: sorted
 * runs on disk, merged. Equal keys stay next to each other. Gives the lines in batches.
 */
export async function* sortLines(
  source: AsyncIterable<KeyedLine>,
  options: SortOptions,
): AsyncGenerator<readonly KeyedLine[]> {
  const { dir, runCharsMax = RUN_CHARS_MAX, fanIn = FAN_IN } = options;
  const files = new RunFiles(dir);
  try {
    let runs: string[] = [];
    let held: string[] = [];
    let heldChars = 0;
    for await (const { key, line } of source) {
      held.push(`${key}\t${line}`);
      heldChars += key.length + line.length + 2;
      if (heldChars < runCharsMax) continue;
      options.signal?.throwIfAborted();
      runs.push(await files.write([sorted(held)]));
      held = [];
      heldChars = 0;
    }
    const last = sorted(held);
    while (runs.length > fanIn) {
      const merged = runs.slice(0, fanIn);
      runs = [...runs.slice(fanIn), await files.write(merge(await files.openAll(merged)))];
      await files.drop(merged);
    }
    const readers: RunReader[] = [...(await files.openAll(runs)), new MemoryRun(last)];
    for await (const batch of merge(readers)) {
      options.signal?.throwIfAborted();
      yield batch.map(split);
    }
  } finally {
    await files.dispose();
  }
}

function sorted(lines: string[]): string[] {
  // oxlint-disable-next-line unicorn/no-array-sort -- a copy would double the memory, and the array is ours alone
  return lines.sort(compareKeyed);
}

// A tab sorts before every character of a key, so comparing whole texts compares keys first.
function compareKeyed(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function split(text: string): KeyedLine {
  const tab = text.indexOf("\t");
  return { key: text.slice(0, tab), line: text.slice(tab + 1) };
}

/** Gives the lines of one sorted run. */
interface RunReader {
  /** The smallest line that was not taken yet; null at the end. */
  readonly head: string | null;
  /** Takes it. False where the next one must be fetched with `refill` first. */
  advance(): boolean;
  refill(): Promise<void>;
}

class MemoryRun implements RunReader {
  readonly #lines: readonly string[];
  #next = 0;

  constructor(lines: readonly string[]) {
    this.#lines = lines;
  }

  get head(): string | null {
    return this.#lines[this.#next] ?? null;
  }

  advance(): boolean {
    this.#next += 1;
    return true;
  }

  async refill(): Promise<void> {}
}

class FileRun implements RunReader {
  head: string | null = null;
  readonly #handle: FileHandle;
  readonly #block = Buffer.alloc(BLOCK_BYTES);
  #lines: string[] = [];
  #next = 0;
  #rest = Buffer.alloc(0);
  #ended = false;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  advance(): boolean {
    this.#next += 1;
    this.head = this.#lines[this.#next] ?? null;
    return this.head !== null || this.#ended;
  }

  async refill(): Promise<void> {
    for (;;) {
      const { bytesRead } = await this.#handle.read(this.#block, 0, BLOCK_BYTES, null);
      if (bytesRead === 0) {
        this.#ended = true;
        this.head = null;
        return;
      }
      const bytes = Buffer.concat([this.#rest, this.#block.subarray(0, bytesRead)]);
      const end = bytes.lastIndexOf(0x0a);
      this.#rest = Buffer.from(bytes.subarray(end + 1));
      if (end === -1) continue;
      this.#lines = bytes.toString("utf8", 0, end).split("\n");
      this.#next = 0;
      this.head = this.#lines[0] ?? null;
      return;
    }
  }
}

async function* merge(readers: readonly RunReader[]): AsyncGenerator<readonly string[]> {
  for (const reader of readers) if (reader.head === null) await reader.refill();
  const heap = readers.filter((reader) => reader.head !== null);
  for (let at = Math.floor(heap.length / 2) - 1; at >= 0; at -= 1) sink(heap, at);
  let batch: string[] = [];
  for (let top = heap[0]; top !== undefined; top = heap[0]) {
    if (top.head !== null) batch.push(top.head);
    if (!top.advance()) await top.refill();
    if (top.head === null) removeTop(heap);
    sink(heap, 0);
    if (batch.length < BATCH_LINES) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

function removeTop(heap: RunReader[]): void {
  const last = heap.pop();
  if (last !== undefined && heap.length > 0) heap[0] = last;
}

function sink(heap: RunReader[], start: number): void {
  for (let at = start; ; ) {
    let least = at;
    for (const child of [2 * at + 1, 2 * at + 2]) if (isLess(heap[child], heap[least])) least = child;
    if (least === at) return;
    const moved = heap[at];
    const risen = heap[least];
    if (moved === undefined || risen === undefined) return;
    heap[at] = risen;
    heap[least] = moved;
    at = least;
  }
}

function isLess(a: RunReader | undefined, b: RunReader | undefined): boolean {
  if (a === undefined || a.head === null) return false;
  return b === undefined || b.head === null || a.head < b.head;
}

/** The files of one sort. */
class RunFiles {
  readonly #dir: string;
  readonly #open = new Map<string, FileHandle>();
  readonly #written = new Set<string>();
  #count = 0;

  constructor(dir: string) {
    this.#dir = dir;
  }

  async write(batches: Iterable<readonly string[]> | AsyncIterable<readonly string[]>): Promise<string> {
    const path = join(this.#dir, `run-${this.#count}.tmp`);
    this.#count += 1;
    const handle = await open(path, "wx", 0o600);
    this.#written.add(path);
    try {
      for await (const batch of batches) {
        for (let from = 0; from < batch.length; from += BATCH_LINES) {
          await handle.writeFile(`${batch.slice(from, from + BATCH_LINES).join("\n")}\n`);
        }
      }
    } finally {
      await handle.close();
    }
    return path;
  }

  async openAll(paths: readonly string[]): Promise<readonly FileRun[]> {
    const runs: FileRun[] = [];
    for (const path of paths) {
      const handle = await open(path, "r");
      this.#open.set(path, handle);
      runs.push(new FileRun(handle));
    }
    return runs;
  }

  async drop(paths: readonly string[]): Promise<void> {
    for (const path of paths) {
      await this.#open.get(path)?.close();
      this.#open.delete(path);
      await rm(path, { force: true });
      this.#written.delete(path);
    }
  }

  async dispose(): Promise<void> {
    await this.drop([...this.#written]);
  }
}
