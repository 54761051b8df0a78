import type { CID } from "multiformats/cid";
import { mapOrdered } from "../../kernel/map-ordered.ts";
import { corruptLog, type LogBlock, type NamedLogBlock } from "./log-block.ts";
import { emptyChain, extendChain, type LogChain, type LogReader } from "./log-chain.ts";
import { makeDirectory } from "./log-directory.ts";
import { hasDirectory, innerOf, SEGMENT_BLOCKS, segmentsOf } from "./log-shape.ts";

/** Blocks of one log that are read at the same time. */
const READS_AT_ONCE = 16;

async function readAll<T, R>(items: Iterable<T>, read: (item: T) => Promise<R>): Promise<R[]> {
  const all: R[] = [];
  for await (const result of mapOrdered(items, READS_AT_ONCE, read)) all.push(result);
  return all;
}

/** From a block back to the nearest one with a directory, or the first; from the newest. */
async function walkBack(from: NamedLogBlock, read: LogReader, signal?: AbortSignal): Promise<NamedLogBlock[]> {
  const blocks = [from];
  let at = from;
  while (at.block.directory === null && at.block.ordinal > 1) {
    const before = await read.before(at, signal);
    if (before === null) break;
    blocks.push(before);
    at = before;
  }
  return blocks;
}

/** A directory that another one names. */
interface NamedDirectory {
  readonly n: number;
  readonly cid: CID;
  /** False for one inside the range of another, which names what is before it in that range itself. */
  readonly goesUp: boolean;
}

function namedBy({ block: { directory, ordinal } }: NamedLogBlock, goesUp: boolean): readonly NamedDirectory[] {
  if (directory === null) return [];
  const n = ordinal / SEGMENT_BLOCKS;
  const up = n - segmentsOf(n);
  const inner = innerOf(n).flatMap((number, index) => {
    const cid = directory.inner[index];
    return cid === undefined ? [] : [{ n: number, cid, goesUp: false }];
  });
  return goesUp && up > 0 ? [{ n: up, cid: directory.up, goesUp }, ...inner] : inner;
}

/** All directories up to one, each once, a generation at a time: their number doubles with each. */
async function readDirectories(
  newest: NamedLogBlock,
  read: LogReader,
  signal?: AbortSignal,
): Promise<readonly NamedLogBlock[]> {
  const all = [newest];
  let named = namedBy(newest, true);
  while (named.length > 0) {
    const generation = await readAll(named, async ({ n, cid, goesUp }) => {
      const block = await read.read(cid, n * SEGMENT_BLOCKS, signal);
      return { block, named: namedBy(block, goesUp) };
    });
    all.push(...generation.map(({ block }) => block));
    named = generation.flatMap((each) => each.named);
  }
  return all.toSorted((a, b) => a.block.ordinal - b.block.ordinal);
}

/** The blocks of a segment before its directory, from the oldest, the directory's own last. */
async function readSegment(end: NamedLogBlock, read: LogReader, signal?: AbortSignal): Promise<NamedLogBlock[]> {
  const blocks = [end];
  let at = end;
  for (let count = 1; count < SEGMENT_BLOCKS; count += 1) {
    at = await read.read(at.block.link, at.block.ordinal - 1, signal);
    blocks.push(at);
  }
  return blocks.toReversed();
}

function isSameDirectory(a: LogBlock["directory"], b: LogBlock["directory"]): boolean {
  if (a === null || b === null) return a === b;
  return (
    a.up.equals(b.up) &&
    a.inner.length === b.inner.length &&
    a.inner.every((cid, index) => b.inner[index]?.equals(cid) === true) &&
    a.prints.length === b.prints.length &&
    a.prints.every((print, index) => Buffer.compare(print, b.prints[index] ?? new Uint8Array()) === 0)
  );
}

/** Holds the blocks to one another: each names the one before it, counts on from it, and its directory is right. */
function check(blocks: readonly NamedLogBlock[], base: CID): void {
  for (const [index, { cid, block }] of blocks.entries()) {
    const before = blocks[index - 1];
    if (!block.link.equals(before?.cid ?? base)) throw corruptLog(cid, "it does not follow the block before it");
    if (block.total !== (before?.block.total ?? 0) + block.changes.size) {
      throw corruptLog(cid, `it counts ${block.total} changes in the log`);
    }
    const directory = !hasDirectory(block.ordinal) ? null : makeDirectory(block, blocks.slice(0, index), base);
    if (!isSameDirectory(directory, block.directory)) throw corruptLog(cid, "its directory is not that of its log");
  }
}

/**
 * Reads a log wholly, in as many rounds as its directories need, not one a block.
 * @throws FulaError FULA_INDEX_CORRUPT, and what the reader throws
 */
export async function loadChain(head: NamedLogBlock, read: LogReader, signal?: AbortSignal): Promise<LogChain> {
  const tail = (await walkBack(head, read, signal)).toReversed();
  const [oldest] = tail;
  const blocks: NamedLogBlock[] = [];
  if (oldest !== undefined && oldest.block.directory !== null) {
    const directories = await readDirectories(oldest, read, signal);
    blocks.push(...(await readAll(directories, async (end) => await readSegment(end, read, signal))).flat());
    tail.shift();
  }
  blocks.push(...tail);
  const base = blocks[0]?.block.link ?? head.block.link;
  check(blocks, base);
  return extendChain(emptyChain(base), blocks);
}
