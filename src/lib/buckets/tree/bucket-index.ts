import type { CID } from "multiformats/cid";
import type { LogChain } from "./log-chain.ts";
import type { NewBlock } from "./node-store.ts";
import type { KeyRef, ObjectEntry } from "./object-entry.ts";

/** One change of one key: its new entry, or null where the key goes. */
export interface IndexChange {
  readonly key: string;
  readonly entry: ObjectEntry | null;
}

/** Another root of an index, and what it has that the old one did not have. */
export interface NewRoot {
  readonly root: CID;
  /** In an order in which none names a later one. */
  readonly blocks: readonly NewBlock[];
  /** The index at this root, opened; it reads the base alone, and the new blocks not at all. */
  readonly index: BucketIndex;
}

/** Which keys a scan gives, in ascending order of their UTF-8 bytes. */
export interface ScanRange {
  /** Only keys that begin with it; default all. */
  readonly prefix?: string;
  /** Only keys after this one, or from it on with `inclusive`. */
  readonly after?: string;
  readonly inclusive?: boolean;
}

/** One key as the index has it, with its entry. */
export interface FoundEntry {
  readonly ref: KeyRef["ref"];
  readonly entry: ObjectEntry;
}

/**
 * The index of a bucket at one root: a log of the last flushes over a search tree of everything before them. It never
 * changes; a change makes another root. Whatever cannot be read or is not what its place in the index says is an error,
 * never a wrong answer.
 */
export interface BucketIndex {
  readonly root: CID;
  /** Changes of keys in the log, which a reader goes through before the tree. */
  readonly logChanges: number;
  /** Blocks of the log: one a flush, unless it was large. */
  readonly logBlocks: number;
  /** Bytes of the blocks that it holds in memory, or comes to hold when its log is read: those of the log, about. */
  readonly heldBytes: number;
  /** The log, read wholly; at once where this index was made by `append`. @throws as `find` does */
  log(signal?: AbortSignal): Promise<LogChain>;
  /** The key with its entry; null where it is not there. @throws FulaError FULA_INDEX_CORRUPT, and what the reader throws */
  find(key: string, signal?: AbortSignal): Promise<FoundEntry | null>;
  /** What the index tells of a key without its entry; reads no block for it where the tree has it. */
  findRef(key: string, signal?: AbortSignal): Promise<KeyRef["ref"] | null>;
  /** Keys in order, in memory that does not grow with their number; whoever stops early has read no more than it took. */
  scan(range?: ScanRange, signal?: AbortSignal): AsyncGenerator<KeyRef>;
  /** The entry of a key that a scan gave. */
  readEntry(key: string, ref: KeyRef["ref"], signal?: AbortSignal): Promise<ObjectEntry>;
  /**
   * The root after these changes; of several changes of one key the last one counts. Stores nothing. What a key loses
   * stays in reach of the root until a compaction.
   * @throws FulaError FULA_INDEX_KEY, FULA_ENTRY_TEXT, FULA_ENTRY_TOO_LARGE (see `checkChange`), and as `find` does
   */
  append(changes: readonly IndexChange[], signal?: AbortSignal): Promise<NewRoot>;
}
