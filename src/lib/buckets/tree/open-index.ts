import type { CID } from "multiformats/cid";
import type { BucketIndex, FoundEntry, IndexChange, NewRoot, ScanRange } from "./bucket-index.ts";
import { EMPTY_TREE } from "./build-tree.ts";
import { appendToChain, rootOf } from "./log-append.ts";
import { corruptLog, decodeLogBlock, type LogChange, logBlockCidOf, type NamedLogBlock } from "./log-block.ts";
import { emptyChain, type LogChain, type Logged, LogReader, readLogBlock } from "./log-chain.ts";
import { LogFinder } from "./log-find.ts";
import { loadChain } from "./log-load.ts";
import { mergeOverlay, Overlay, refOf } from "./log-overlay.ts";
import { isTreeNode } from "./node.ts";
import type { NewBlock, NodeReader } from "./node-store.ts";
import type { EntryRef, KeyRef, ObjectEntry } from "./object-entry.ts";
import { findInTree, scanTree } from "./scan-tree.ts";

/** Keys looked up one by one in a log before it is read wholly, which answers all further ones. */
const COLD_FINDS_MAX = 4;

/** The log of an index, as far as it is known. */
type Log =
  | { readonly kind: "whole"; readonly chain: LogChain }
  | { readonly kind: "head"; readonly head: NamedLogBlock; readonly read: LogReader };

function isSameRef(ref: EntryRef, { content, sizeBytes, modifiedMs, etag }: ObjectEntry): boolean {
  return (
    ref.content.equals(content) && ref.sizeBytes === sizeBytes && ref.modifiedMs === modifiedMs && ref.etag === etag
  );
}

class OpenIndex implements BucketIndex {
  readonly root: CID;
  readonly logChanges: number;
  readonly logBlocks: number;
  readonly #reader: NodeReader;
  #log: Log;
  #loading: Promise<LogChain> | null = null;
  #overlay: Overlay | null = null;
  #coldFinds = 0;

  constructor(root: CID, reader: NodeReader, log: Log) {
    this.root = root;
    this.#reader = reader;
    this.#log = log;
    const last = log.kind === "head" ? log.head : log.chain.blocks.at(-1);
    this.logChanges = last?.block.total ?? 0;
    this.logBlocks = last?.block.ordinal ?? 0;
  }

  get heldBytes(): number {
    if (this.#log.kind === "whole") return this.#log.chain.sizeBytes;
    return this.#log.head.sizeBytes * this.logBlocks;
  }

  async log(signal?: AbortSignal): Promise<LogChain> {
    if (this.#log.kind === "whole") return this.#log.chain;
    // Whoever asks meanwhile waits for the same reads, which therefore go on when one of them leaves.
    this.#loading ??= this.#load(this.#log.head, this.#log.read);
    const chain = await this.#loading;
    signal?.throwIfAborted();
    return chain;
  }

  async find(key: string, signal?: AbortSignal): Promise<FoundEntry | null> {
    const found = await this.#look(key, signal);
    if (found === null) return null;
    const { ref, change } = found;
    if (change?.kind === "put") return { ref, entry: change.entry };
    return { ref, entry: await this.readEntry(key, ref, signal) };
  }

  async findRef(key: string, signal?: AbortSignal): Promise<EntryRef | null> {
    return (await this.#look(key, signal))?.ref ?? null;
  }

  async *scan(range: ScanRange = {}, signal?: AbortSignal): AsyncGenerator<KeyRef> {
    const chain = await this.log(signal);
    this.#overlay ??= new Overlay(chain);
    yield* mergeOverlay(scanTree(this.#reader, chain.base, range, signal), this.#overlay.within(range));
  }

  async readEntry(key: string, ref: EntryRef, signal?: AbortSignal): Promise<ObjectEntry> {
    const cid = logBlockCidOf(ref.entry);
    const { block } = await readLogBlock(this.#reader, cid, signal);
    const change = block.changes.get(key);
    if (change?.kind !== "put") throw corruptLog(cid, `it has no entry of ${JSON.stringify(key)}`);
    if (!isSameRef(ref, change.entry))
      throw corruptLog(cid, `its entry of ${JSON.stringify(key)} is of another object`);
    return change.entry;
  }

  async append(changes: readonly IndexChange[], signal?: AbortSignal): Promise<NewRoot> {
    const byKey = new Map<string, LogChange>();
    for (const { key, entry } of changes) byKey.set(key, entry === null ? { kind: "delete" } : { kind: "put", entry });
    const { chain, blocks } = appendToChain(await this.log(signal), byKey);
    return { root: rootOf(chain), blocks, index: indexOfChain(chain, this.#reader) };
  }

  async #load(head: NamedLogBlock, read: LogReader): Promise<LogChain> {
    try {
      const chain = await loadChain(head, read);
      this.#log = { kind: "whole", chain };
      return chain;
    } finally {
      this.#loading = null;
    }
  }

  async #look(key: string, signal?: AbortSignal): Promise<{ ref: EntryRef; change: LogChange | null } | null> {
    const { logged, base } = await this.#lookInLog(key, signal);
    if (logged === null) {
      const ref = await findInTree(this.#reader, base, key, signal);
      return ref === null ? null : { ref, change: null };
    }
    const ref = refOf(logged);
    return ref === null ? null : { ref, change: logged.change };
  }

  async #lookInLog(key: string, signal?: AbortSignal): Promise<{ logged: Logged | null; base: CID }> {
    if (this.#log.kind === "head" && this.#coldFinds < COLD_FINDS_MAX) {
      const { head, read } = this.#log;
      this.#coldFinds += 1;
      const answer = await new LogFinder(read, key, signal).find(head);
      return answer.kind === "base" ? { logged: null, base: answer.base } : { logged: answer.logged, base: this.root };
    }
    const { changes, base } = await this.log(signal);
    return { logged: changes.get(key) ?? null, base };
  }
}

/** An index whose log is known wholly. */
export function indexOfChain(chain: LogChain, reader: NodeReader): BucketIndex {
  return new OpenIndex(rootOf(chain), reader, { kind: "whole", chain });
}

/**
 * Opens the index at a root. Reads one block, and of the log only as much as is asked for.
 * @throws FulaError FULA_INDEX_CORRUPT, and what the reader throws
 */
export async function openBucketIndex(
  root: CID,
  reader: NodeReader,
  options: { readonly signal?: AbortSignal } = {},
): Promise<BucketIndex> {
  if (root.equals(EMPTY_TREE.cid)) return indexOfChain(emptyChain(root), reader);
  const bytes = await reader.get(root, options.signal);
  if (isTreeNode(bytes)) return indexOfChain(emptyChain(root), reader);
  const head = decodeLogBlock(root, bytes);
  return new OpenIndex(root, reader, { kind: "head", head, read: new LogReader(reader) });
}

/** The one block of an index in which nothing is: the root of every fresh bucket. */
export function emptyIndexBlock(): NewBlock {
  return EMPTY_TREE;
}
