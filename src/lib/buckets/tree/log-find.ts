import type { CID } from "multiformats/cid";
import { corruptLog, type LogDirectory, type NamedLogBlock } from "./log-block.ts";
import type { Logged, LogReader } from "./log-chain.ts";
import { holdsPrint, printOf } from "./log-directory.ts";
import { innerOf, SEGMENT_BLOCKS, segmentsOf } from "./log-shape.ts";

/** What a log says of one key: its last change, or that the base has to be asked. */
export type LogAnswer =
  | { readonly kind: "logged"; readonly logged: Logged }
  | { readonly kind: "base"; readonly base: CID };

interface Directory {
  /** 1 for the first one of the log. */
  readonly n: number;
  readonly at: NamedLogBlock;
  readonly directory: LogDirectory;
}

function directoryOf(at: NamedLogBlock): Directory {
  const { directory, ordinal } = at.block;
  if (directory === null) throw corruptLog(at.cid, "it has no directory");
  return { n: ordinal / SEGMENT_BLOCKS, at, directory };
}

function changeIn({ cid, block }: NamedLogBlock, key: string): Logged | null {
  const change = block.changes.get(key);
  return change === undefined ? null : { change, block: cid };
}

/** Looks one key up in a log of which only the head is known, and reads no more blocks than the directories ask for. */
export class LogFinder {
  readonly #read: LogReader;
  readonly #key: string;
  readonly #print: Uint8Array;
  readonly #signal: AbortSignal | undefined;

  constructor(read: LogReader, key: string, signal?: AbortSignal) {
    this.#read = read;
    this.#key = key;
    this.#print = printOf(key);
    this.#signal = signal;
  }

  /** @throws FulaError FULA_INDEX_CORRUPT, and what the reader throws */
  async find(head: NamedLogBlock): Promise<LogAnswer> {
    let at = head;
    while (at.block.directory === null) {
      const logged = changeIn(at, this.#key);
      if (logged !== null) return { kind: "logged", logged };
      const before = await this.#read.before(at, this.#signal);
      if (before === null) return { kind: "base", base: at.block.link };
      at = before;
    }
    return await this.#findBefore(directoryOf(at));
  }

  /** In all that a directory and those above it cover. */
  async #findBefore(newest: Directory): Promise<LogAnswer> {
    for (let at = newest; ; ) {
      const logged = await this.#findInRange(at);
      if (logged !== null) return { kind: "logged", logged };
      const up = at.n - segmentsOf(at.n);
      if (up === 0) return { kind: "base", base: at.directory.up };
      at = directoryOf(await this.#read.read(at.directory.up, up * SEGMENT_BLOCKS, this.#signal));
    }
  }

  async #findInRange(range: Directory): Promise<Logged | null> {
    const count = segmentsOf(range.n);
    for (let back = 0; back < count; back += 1) {
      if (!holdsPrint(range.directory.prints[count - 1 - back] ?? new Uint8Array(), this.#print)) continue;
      const logged = await this.#findInSegment(await this.#segmentEnd(range, range.n - back));
      if (logged !== null) return logged;
    }
    return null;
  }

  /** The block with the `n`-th directory, which ends the `n`-th segment, from one whose range it lies in. */
  async #segmentEnd(range: Directory, n: number): Promise<NamedLogBlock> {
    let at = range;
    while (at.n !== n) {
      const index = innerOf(at.n).findIndex((inner) => n <= inner && n > inner - segmentsOf(inner));
      const inner = innerOf(at.n)[index];
      const cid = at.directory.inner[index];
      if (inner === undefined || cid === undefined) throw corruptLog(at.at.cid, "its directory lacks a link");
      at = directoryOf(await this.#read.read(cid, inner * SEGMENT_BLOCKS, this.#signal));
    }
    return at.at;
  }

  async #findInSegment(end: NamedLogBlock): Promise<Logged | null> {
    let at = end;
    for (let count = 1; ; count += 1) {
      const logged = changeIn(at, this.#key);
      if (logged !== null || count === SEGMENT_BLOCKS) return logged;
      at = await this.#read.read(at.block.link, at.block.ordinal - 1, this.#signal);
    }
  }
}
