import * as dagCbor from "@ipld/dag-cbor";
import { CID } from "multiformats/cid";
import { blockMatches, createCid, RAW_CODEC, SHA2_256 } from "../../blocks/cid.ts";
import { FulaError, messageOf } from "../../kernel/errors.ts";
import { EntryFault, entryFromTuple, entryToTuple, isEntryTuple, refFromTuple, refToTuple } from "./entry-codec.ts";
import { compareKeys, keyFault } from "./key.ts";
import { hasDirectory, innerOf, PRINT_BYTES, SEGMENT_BLOCKS, segmentsOf } from "./log-shape.ts";
import type { NewBlock } from "./node-store.ts";
import type { EntryRef, ObjectEntry } from "./object-entry.ts";

/** First value of every log block; tells it from a node of the tree, and its format from later ones. */
const LOG_FORMAT = 17;

/** What a log block says of one key. */
export type LogChange =
  | { readonly kind: "put"; readonly entry: ObjectEntry }
  /** After a compaction: the entry stands in an older block. */
  | { readonly kind: "refer"; readonly ref: EntryRef }
  | { readonly kind: "delete" };

/** The table of contents that every few blocks carry; see docs/bucket-index.md. */
export interface LogDirectory {
  /** The directory before the range that this one covers; the base where there is none. */
  readonly up: CID;
  /** Directories inside the range, from the newest one. */
  readonly inner: readonly CID[];
  /** Fingerprints of the keys that each segment of the range changes, from the oldest segment. */
  readonly prints: readonly Uint8Array[];
}

/** One block of the log. */
export interface LogBlock {
  /** 1 for the first block over a base. */
  readonly ordinal: number;
  /** Changes in the log, up to and with this block. */
  readonly total: number;
  /** The block before; the base's root in the first one. */
  readonly link: CID;
  /** In order of the keys' bytes, each key once. */
  readonly changes: ReadonlyMap<string, LogChange>;
  readonly directory: LogDirectory | null;
}

/** A block of the log with its name. */
export interface NamedLogBlock {
  readonly cid: CID;
  readonly block: LogBlock;
  readonly sizeBytes: number;
}

/** A block of an index is not what its place says. */
export function corruptLog(cid: CID, why: string, cause?: unknown): FulaError {
  return new FulaError("FULA_INDEX_CORRUPT", `Block ${cid.toString()} of a bucket's log is damaged: ${why}.`, {
    hint: "its bytes are what their hash says, so they were written like this: bring an older root back with `fula-master buckets rebuild`.",
    details: { cid: cid.toString() },
    ...(cause === undefined ? {} : { cause }),
  });
}

/** The CID by which a ref names the log block that holds its entry: the same bytes, read as bytes. */
export function entryCidOf(logBlock: CID): CID {
  return CID.createV1(RAW_CODEC, logBlock.multihash);
}

/** The log block that a ref names. */
export function logBlockCidOf(entry: CID): CID {
  return CID.createV1(dagCbor.code, entry.multihash);
}

function changeToValue(change: LogChange): unknown {
  if (change.kind === "delete") return null;
  return change.kind === "put" ? entryToTuple(change.entry) : refToTuple(change.ref);
}

/** A block as CBOR, and its name. @throws EntryFault where an entry cannot be given back as it was */
export function encodeLogBlock(block: LogBlock): NewBlock {
  const changes: unknown[] = [];
  for (const [key, change] of block.changes) changes.push(key, changeToValue(change));
  const { directory } = block;
  const values = [LOG_FORMAT, block.ordinal, block.total, block.link, changes];
  const bytes = dagCbor.encode(
    directory === null ? values : [...values, [directory.up, directory.inner, directory.prints]],
  );
  return { cid: createCid(dagCbor.code, bytes), bytes };
}

/** What an entry takes in a log block, its key not counted. @throws EntryFault */
export function encodedEntryBytes(entry: ObjectEntry): number {
  return dagCbor.encode(entryToTuple(entry)).byteLength;
}

/** True for the bytes of a log block, whatever else is wrong with them. */
export function isLogBlock(bytes: Uint8Array): boolean {
  // An array of five or six values, the first of which is the format (RFC 8949 §3: major type 4, major type 0).
  return (bytes[0] === 0x85 || bytes[0] === 0x86) && bytes[1] === LOG_FORMAT;
}

function hold(condition: boolean, what: string): asserts condition {
  if (!condition) throw new EntryFault(what);
}

function readCount(value: unknown, what: string): number {
  hold(typeof value === "number" && Number.isSafeInteger(value) && value > 0, `${what} is no positive number`);
  return value;
}

function readIndexLink(value: unknown, what: string): CID {
  const cid = CID.asCID(value);
  hold(cid !== null && cid.version === 1 && cid.code === dagCbor.code && cid.multihash.code === SHA2_256, what);
  return cid;
}

function readChange(value: unknown): LogChange {
  if (value === null) return { kind: "delete" };
  hold(Array.isArray(value), "a change is no list");
  if (isEntryTuple(value)) return { kind: "put", entry: entryFromTuple(value) };
  const ref = refFromTuple(value);
  hold(ref.entry.code === RAW_CODEC, "a ref names its entry by another codec than raw");
  return { kind: "refer", ref };
}

function readKey(value: unknown): string {
  hold(typeof value === "string", "a key is no text");
  const fault = keyFault(value);
  hold(fault === null, `a key cannot be: ${fault}`);
  return value;
}

function readChanges(value: unknown): ReadonlyMap<string, LogChange> {
  hold(Array.isArray(value) && value.length > 0 && value.length % 2 === 0, "its changes are no pairs");
  const changes = new Map<string, LogChange>();
  let last: string | null = null;
  for (let index = 0; index < value.length; index += 2) {
    const key = readKey(value[index]);
    hold(last === null || compareKeys(last, key) < 0, "its keys are not in order");
    changes.set(key, readChange(value[index + 1]));
    last = key;
  }
  return changes;
}

function readDirectory(value: unknown): LogDirectory {
  hold(Array.isArray(value) && value.length === 3, "its directory has not three values");
  const [up, inner, prints]: unknown[] = value;
  hold(Array.isArray(inner) && Array.isArray(prints), "its directory has no lists");
  return {
    up: readIndexLink(up, "its directory names no block before"),
    inner: inner.map((link) => readIndexLink(link, "its directory names something that is no block")),
    prints: prints.map((print: unknown) => {
      hold(print instanceof Uint8Array && print.byteLength % PRINT_BYTES === 0, "its fingerprints are cut");
      return print;
    }),
  };
}

/** Holds a directory to what its place in the log asks for. */
function checkDirectory({ ordinal, total, changes, directory }: LogBlock): void {
  hold((directory !== null) === hasDirectory(ordinal), "it has a directory where none belongs, or none where one does");
  if (directory === null) return;
  const n = ordinal / SEGMENT_BLOCKS;
  hold(directory.prints.length === segmentsOf(n), "its directory covers another range");
  hold(directory.inner.length === innerOf(n).length, "its directory has other links than its range");
  const keys = directory.prints.reduce((sum, { byteLength }) => sum + byteLength / PRINT_BYTES, 0);
  hold(keys >= changes.size && keys <= total, "its directory has other keys than its log");
}

function readBlock(bytes: Uint8Array): LogBlock {
  const values: unknown = dagCbor.decode(bytes);
  hold(Array.isArray(values) && (values.length === 5 || values.length === 6), "it has not five or six values");
  const [format, ordinal, total, link, changes, directory]: unknown[] = values;
  hold(format === LOG_FORMAT, `its format is not ${LOG_FORMAT}`);
  const block: LogBlock = {
    ordinal: readCount(ordinal, "its ordinal"),
    total: readCount(total, "its number of changes"),
    link: readIndexLink(link, "it names no block before"),
    changes: readChanges(changes),
    directory: values.length === 5 ? null : readDirectory(directory),
  };
  const before = block.total - block.changes.size;
  hold(block.ordinal === 1 ? before === 0 : before >= block.ordinal - 1, "its number of changes cannot be");
  checkDirectory(block);
  return block;
}

/**
 * Reads a log block. Only the one canonical form of a block is taken.
 * @throws FulaError FULA_INDEX_CORRUPT
 */
export function decodeLogBlock(cid: CID, bytes: Uint8Array): NamedLogBlock {
  let block: LogBlock;
  try {
    hold(blockMatches(cid, bytes), "its bytes do not hash to its CID");
    block = readBlock(bytes);
    hold(Buffer.compare(encodeLogBlock(block).bytes, bytes) === 0, "it is not in canonical form");
  } catch (error) {
    throw corruptLog(cid, messageOf(error), error);
  }
  return { cid, block, sizeBytes: bytes.byteLength };
}
