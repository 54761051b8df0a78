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
  /** Bytes held before a run is written; default 16 MiB, which is about 40,000 pins. */
  readonly runBytesMax?: number;
  /** Runs merged at once, which is also how many files are open; default 64. */
  readonly fanIn?: number;
}

const RUN_BYTES_MAX = 16 * 1024 * 1024;
const FAN_IN = 64;

/** What a run is written and read by. */
const BLOCK_BYTES = 64 * 1024;
const BATCH_LINES = 512;

/**
 * Sorts any number of lines by their keys, then by themselves (UTF-16 code units, which for ASCII are the bytes), in
 * flat memory: sorted runs on disk, merged. Gives the lines in batches.
 */
export async function* sortLines(
  source: AsyncIterable<KeyedLine>,
  options: SortOptions,
): AsyncGenerator<readonly KeyedLine[]> {
  const { dir, runBytesMax = RUN_BYTES_MAX, fanIn = FAN_IN } = options;
  const files = new RunFiles(dir);
  const held = new HeldLines();
  try {
    let runs: string[] = [];
    for await (const { key, line } of source) {
      held.add(key, line);
      if (held.bytes < runBytesMax) continue;
      options.signal?.throwIfAborted();
      runs.push(await files.write(held.inOrder()));
      held.clear();
    }
    while (runs.length > fanIn) {
      const merged = runs.slice(0, fanIn);
      runs = [...runs.slice(fanIn), await files.write(asBytes(merge(await files.openAll(merged))))];
      await files.drop(merged);
    }
    const readers: RunReader[] = [...(await files.openAll(runs)), new HeldRun(held.inOrder())];
    for await (const batch of merge(readers)) {
      options.signal?.throwIfAborted();
      yield batch.map(split);
    }
  } finally {
    await files.dispose();
  }
}

/**
 * Lines that wait to be sorted, as bytes in one buffer that is used again for every run: as strings they take up to four
 * times as much, and long after they are gone.
 */
class HeldLines {
  bytes = 0;
  #buffer = Buffer.alloc(BLOCK_BYTES);
  #keys: string[] = [];
  #starts: number[] = [];

  add(key: string, line: string): void {
    const text = `${key}\t${line}\n`;
    // No UTF-16 code unit has more than three bytes in UTF-8.
    const needed = this.bytes + text.length * 3;
    if (needed > this.#buffer.length) this.#grow(needed);
    this.#keys.push(key);
    this.#starts.push(this.bytes);
    this.bytes += this.#buffer.write(text, this.bytes);
  }

  /** Each line with its key and its newline, in order. */
  *inOrder(): Generator<Buffer> {
    const keys = this.#keys;
    const order = Uint32Array.from(keys.keys()).toSorted(
      (a, b) => compare(keys[a] ?? "", keys[b] ?? "") || compare(this.#line(a).toString(), this.#line(b).toString()),
    );
    for (const index of order) yield this.#line(index);
  }

  clear(): void {
    this.bytes = 0;
    this.#keys = [];
    this.#starts = [];
  }

  #line(index: number): Buffer {
    return this.#buffer.subarray(this.#starts[index], this.#starts[index + 1] ?? this.bytes);
  }

  #grow(needed: number): void {
    const larger = Buffer.alloc(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(larger, 0, 0, this.bytes);
    this.#buffer = larger;
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function split(text: string): KeyedLine {
  const tab = text.indexOf("\t");
  return { key: text.slice(0, tab), line: text.slice(tab + 1) };
}

async function* asBytes(batches: AsyncIterable<readonly string[]>): AsyncGenerator<Buffer> {
  for await (const batch of batches) yield Buffer.from(`${batch.join("\n")}\n`);
}

/** Gives the lines of one sorted run. */
interface RunReader {
  /** The smallest line that was not taken yet; null at the end. */
  readonly head: string | null;
  /** Takes it. False where the next one must be fetched with `refill` first. */
  advance(): boolean;
  refill(): Promise<void>;
}

class HeldRun implements RunReader {
  head: string | null = null;
  readonly #lines: Iterator<Buffer>;

  constructor(lines: Iterator<Buffer>) {
    this.#lines = lines;
    this.advance();
  }

  advance(): boolean {
    const next = this.#lines.next();
    this.head = next.done === true ? null : next.value.toString("utf8", 0, next.value.length - 1);
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

  async write(lines: Iterable<Buffer> | AsyncIterable<Buffer>): Promise<string> {
    const path = join(this.#dir, `run-${this.#count}.tmp`);
    this.#count += 1;
    const handle = await open(path, "wx", 0o600);
    this.#written.add(path);
    try {
      const block = Buffer.alloc(BLOCK_BYTES);
      let used = 0;
      for await (const line of lines) {
        if (used + line.length > BLOCK_BYTES) {
          await handle.writeFile(block.subarray(0, used));
          used = 0;
        }
        if (line.length > BLOCK_BYTES) await handle.writeFile(line);
        else used += line.copy(block, used);
      }
      await handle.writeFile(block.subarray(0, used));
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
