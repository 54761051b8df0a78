import type { CID } from "multiformats/cid";
import { isDecodingReader } from "./cached-reader.ts";
import { corruptLog, decodeLogBlock, type LogChange, type NamedLogBlock } from "./log-block.ts";
import type { NodeReader } from "./node-store.ts";

/** What the log says of a key, and where. */
export interface Logged {
  readonly change: LogChange;
  /** The block that says it. */
  readonly block: CID;
}

/** The log of one root, read wholly. */
export interface LogChain {
  /** Root of the tree that it lies over. */
  readonly base: CID;
  /** From the oldest one. */
  readonly blocks: readonly NamedLogBlock[];
  /** The last change of every key that it names. */
  readonly changes: ReadonlyMap<string, Logged>;
  /** What its blocks take. */
  readonly sizeBytes: number;
}

/** A log over `base` in which nothing stands. */
export function emptyChain(base: CID): LogChain {
  return { base, blocks: [], changes: new Map(), sizeBytes: 0 };
}

/** The log with blocks that were appended to it. */
export function extendChain(chain: LogChain, blocks: readonly NamedLogBlock[]): LogChain {
  const changes = new Map(chain.changes);
  let { sizeBytes } = chain;
  for (const { cid, block, sizeBytes: ownBytes } of blocks) {
    for (const [key, change] of block.changes) changes.set(key, { change, block: cid });
    sizeBytes += ownBytes;
  }
  return { base: chain.base, blocks: [...chain.blocks, ...blocks], changes, sizeBytes };
}

/** @throws FulaError FULA_INDEX_CORRUPT, and what the reader throws */
export async function readLogBlock(reader: NodeReader, cid: CID, signal?: AbortSignal): Promise<NamedLogBlock> {
  if (isDecodingReader(reader)) return await reader.decoded(cid, decodeLogBlock, signal);
  return decodeLogBlock(cid, await reader.get(cid, signal));
}

/** Reads blocks of one log, and holds each to what the block that named it says of it. */
export class LogReader {
  readonly #reader: NodeReader;
  readonly #known: ReadonlyMap<string, NamedLogBlock>;

  /** @param known blocks that need not be read again */
  constructor(reader: NodeReader, known: readonly NamedLogBlock[] = []) {
    this.#reader = reader;
    this.#known = new Map(known.map((block) => [block.cid.toString(), block]));
  }

  /** @throws FulaError FULA_INDEX_CORRUPT, and what the reader throws */
  async read(cid: CID, ordinal: number, signal?: AbortSignal): Promise<NamedLogBlock> {
    const named = this.#known.get(cid.toString()) ?? (await readLogBlock(this.#reader, cid, signal));
    if (named.block.ordinal === ordinal) return named;
    throw corruptLog(cid, `it is the ${named.block.ordinal}. of its log and stands at ${ordinal}`);
  }

  /** The block before; null for the first one. */
  async before({ block }: NamedLogBlock, signal?: AbortSignal): Promise<NamedLogBlock | null> {
    if (block.ordinal === 1) return null;
    return await this.read(block.link, block.ordinal - 1, signal);
  }
}
