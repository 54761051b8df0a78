import type { CID } from "multiformats/cid";
import { FulaError } from "../../kernel/errors.ts";
import type { IndexChange } from "./bucket-index.ts";
import { EntryFault } from "./entry-codec.ts";
import { checkKey, compareKeys } from "./key.ts";
import { encodedEntryBytes, encodeLogBlock, type LogBlock, type LogChange, type NamedLogBlock } from "./log-block.ts";
import { extendChain, type LogChain } from "./log-chain.ts";
import { makeDirectory } from "./log-directory.ts";
import { hasDirectory } from "./log-shape.ts";
import type { NewBlock } from "./node-store.ts";

/** Longest entry, as its block has it. S3's limits for headers, metadata and tags stay far below. */
const ENTRY_BYTES_MAX = 65_536;
/** A block that has so many bytes of changes takes no more: blocks above 1 MiB are not passed on between peers. */
const BLOCK_BYTES = 262_144;
/** What a change without an entry takes beside its key: links of 41 bytes, numbers, an ETag. */
const REFERENCE_BYTES = 160;

function entryBytes(key: string, change: LogChange): number {
  if (change.kind !== "put") return REFERENCE_BYTES;
  try {
    return encodedEntryBytes(change.entry);
  } catch (error) {
    if (!(error instanceof EntryFault)) throw error;
    throw new FulaError("FULA_ENTRY_TEXT", `The entry of ${JSON.stringify(key)} cannot be kept: ${error.message}.`, {
      hint: "names and values must be well-formed text, sizes and times whole numbers.",
      cause: error,
    });
  }
}

/** What a change takes in a block. @throws FulaError FULA_INDEX_KEY, FULA_ENTRY_TEXT, FULA_ENTRY_TOO_LARGE */
function changeBytes(key: string, change: LogChange): number {
  checkKey(key);
  const bytes = entryBytes(key, change);
  if (bytes > ENTRY_BYTES_MAX) {
    throw new FulaError(
      "FULA_ENTRY_TOO_LARGE",
      `The entry of ${JSON.stringify(key)} has ${bytes} bytes; an index takes ${ENTRY_BYTES_MAX}.`,
      { hint: "store less metadata with the object." },
    );
  }
  return bytes + Buffer.byteLength(key);
}

/**
 * Refuses a change that no index can take, so that it fails before it is put together with others.
 * @throws FulaError FULA_INDEX_KEY, FULA_ENTRY_TEXT, FULA_ENTRY_TOO_LARGE
 */
export function checkChange({ key, entry }: IndexChange): void {
  changeBytes(key, entry === null ? { kind: "delete" } : { kind: "put", entry });
}

/** Changes in order of their keys, in as many lots as blocks are needed. */
function splitIntoLots(changes: ReadonlyMap<string, LogChange>): readonly ReadonlyMap<string, LogChange>[] {
  const lots: Map<string, LogChange>[] = [];
  let room = 0;
  for (const [key, change] of [...changes].toSorted(([a], [b]) => compareKeys(a, b))) {
    const bytes = changeBytes(key, change);
    if (room < bytes) {
      lots.push(new Map());
      room = BLOCK_BYTES;
    }
    lots.at(-1)?.set(key, change);
    room -= bytes;
  }
  return lots;
}

function nextBlock(chain: LogChain, changes: ReadonlyMap<string, LogChange>): LogBlock {
  const last = chain.blocks.at(-1);
  const ordinal = chain.blocks.length + 1;
  return {
    ordinal,
    total: (last?.block.total ?? 0) + changes.size,
    link: last?.cid ?? chain.base,
    changes,
    directory: hasDirectory(ordinal) ? makeDirectory({ ordinal, changes }, chain.blocks, chain.base) : null,
  };
}

/** A log with what came to it. */
export interface AppendedLog {
  readonly chain: LogChain;
  /** In the order in which each names the one before. */
  readonly blocks: readonly NewBlock[];
}

/**
 * The log after changes of several keys: one block, or a few where the changes are large.
 * @throws FulaError FULA_INDEX_KEY, FULA_ENTRY_TEXT, FULA_ENTRY_TOO_LARGE
 */
export function appendToChain(chain: LogChain, changes: ReadonlyMap<string, LogChange>): AppendedLog {
  const blocks: NewBlock[] = [];
  let extended = chain;
  for (const lot of splitIntoLots(changes)) {
    const block = nextBlock(extended, lot);
    const encoded = encodeLogBlock(block);
    const named: NamedLogBlock = { cid: encoded.cid, block, sizeBytes: encoded.bytes.byteLength };
    blocks.push(encoded);
    extended = extendChain(extended, [named]);
  }
  return { chain: extended, blocks };
}

/** Root of an index whose log this is. */
export function rootOf(chain: LogChain): CID {
  return chain.blocks.at(-1)?.cid ?? chain.base;
}
