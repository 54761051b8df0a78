import type { CID } from "multiformats/cid";
import { mapOrdered } from "../../kernel/map-ordered.ts";
import type { BucketIndex, NewRoot } from "./bucket-index.ts";
import { CachedReader, isDecodingReader } from "./cached-reader.ts";
import { editTree } from "./edit-tree.ts";
import { compareKeys } from "./key.ts";
import { logBlockCidOf, type LogChange, type NamedLogBlock } from "./log-block.ts";
import { appendToChain, rootOf } from "./log-append.ts";
import { emptyChain, extendChain, type LogChain } from "./log-chain.ts";
import { refOf } from "./log-overlay.ts";
import type { NodeReader, NodeWriter } from "./node-store.ts";
import type { EntryRef } from "./object-entry.ts";
import { indexOfChain } from "./open-index.ts";
import { findInTree } from "./scan-tree.ts";

/**
 * A log may have so many times more changes than blocks before it is worked in: flushes of many changes cost a reader
 * no more blocks, and a base takes many changes at once for less each.
 */
const CHANGES_PER_BLOCK = 8;

/** Ways through the base that are read at the same time. */
const READS_AT_ONCE = 16;
/** Nodes on the ways to the keys of one log, which are gone more than once. */
const CACHE_BYTES = 32e6;

/**
 * True where the log is to be worked into the base.
 * @param limit blocks that a log holds at most; a reader of one key goes through some of them
 */
export function needsCompaction(index: BucketIndex, limit: number): boolean {
  return index.logBlocks >= limit || index.logChanges >= limit * CHANGES_PER_BLOCK;
}

/** A base that has taken in the log of one root. Nothing refers to it before it is adopted. */
export interface CompactedBase {
  readonly base: CID;
  /** What it has taken in. */
  readonly covers: LogChain;
  /** CIDs that the root needed whose log it took in, and that the new base does not: what was replaced or deleted. */
  readonly garbage: readonly CID[];
}

/** A root over a new base. */
export interface AdoptedRoot extends NewRoot {
  /** CIDs that the present root needs and this one does not. */
  readonly garbage: readonly CID[];
}

/** What compacting needs. */
export interface CompactionParts {
  readonly reader: NodeReader;
  /** Takes the new nodes of the base. */
  readonly writer: NodeWriter;
  readonly signal?: AbortSignal;
}

/** CIDs that lost a reference, and those that did not lose their last one. */
class Losses {
  readonly #lost = new Map<string, CID>();
  readonly #kept = new Set<string>();

  lose(cid: CID): void {
    this.#lost.set(cid.toString(), cid);
  }

  loseRef(ref: EntryRef): void {
    this.lose(logBlockCidOf(ref.entry));
    this.lose(ref.content);
  }

  keepRef(ref: EntryRef): void {
    this.#kept.add(logBlockCidOf(ref.entry).toString());
    this.#kept.add(ref.content.toString());
  }

  /** What is known to be referred to no more. Others may still refer to it: the collector looks. */
  toList(): readonly CID[] {
    return [...this.#lost].filter(([text]) => !this.#kept.has(text)).map(([, cid]) => cid);
  }
}

/** Takes blocks of a log out of use: what their changes left at a key is kept, everything else of them is lost. */
function retire(blocks: readonly NamedLogBlock[], { changes }: LogChain, losses: Losses): void {
  for (const { cid, block } of blocks) {
    losses.lose(cid);
    for (const change of block.changes.values()) {
      const ref = refOf({ change, block: cid });
      if (ref !== null) losses.loseRef(ref);
    }
  }
  for (const logged of changes.values()) {
    const ref = refOf(logged);
    if (ref !== null) losses.keepRef(ref);
  }
}

/** What the base has at the keys of the log, which all get something else or go. */
async function refsInBase(reader: NodeReader, { base, changes }: LogChain, signal?: AbortSignal): Promise<EntryRef[]> {
  const find = async (key: string): Promise<EntryRef | null> => await findInTree(reader, base, key, signal);
  const found: EntryRef[] = [];
  for await (const ref of mapOrdered(changes.keys(), READS_AT_ONCE, find)) if (ref !== null) found.push(ref);
  return found;
}

/**
 * Works the log of an index into its base: writes the nodes of the new base that the old one has not. The index stays
 * what it is. What comes to its log meanwhile is put over the new base by `adoptBase`.
 * @returns null where the log is empty
 * @throws FulaError FULA_INDEX_CORRUPT, and what reader and writer throw
 */
export async function compactIndex(index: BucketIndex, parts: CompactionParts): Promise<CompactedBase | null> {
  const { writer, signal } = parts;
  const reader = isDecodingReader(parts.reader) ? parts.reader : new CachedReader(parts.reader, CACHE_BYTES);
  const chain = await index.log(signal);
  if (chain.blocks.length === 0) return null;
  const changes = [...chain.changes]
    .map(([key, logged]) => ({ key, ref: refOf(logged) }))
    .toSorted((a, b) => compareKeys(a.key, b.key));
  const losses = new Losses();
  // Before the edit, which goes down to the same leaves one after the other: here they are read side by side.
  for (const ref of await refsInBase(reader, chain, signal)) losses.loseRef(ref);
  const edited = await editTree(reader, chain.base, changes, writer, signal);
  retire(chain.blocks, chain, losses);
  for (const cid of edited.replaced) losses.lose(cid);
  return { base: edited.root, covers: chain, garbage: losses.toList() };
}

/** The log of what came after `covers`; null where this index is not what became of it. */
function logAfter(chain: LogChain, covers: LogChain): LogChain | null {
  if (!chain.base.equals(covers.base)) return null;
  const count = covers.blocks.length;
  const covered = covers.blocks.at(-1);
  const present = chain.blocks[count - 1];
  if (covered === undefined || present === undefined || !present.cid.equals(covered.cid)) return null;
  return extendChain(emptyChain(chain.base), chain.blocks.slice(count));
}

/**
 * Puts a new base under an index. What came to the log since stands in it by reference: the entries stay where they are.
 * @param current the bucket as it is now
 * @returns null where it is not what became of the root that was compacted: somebody else was faster
 * @throws FulaError FULA_INDEX_CORRUPT, and what the reader throws
 */
export async function adoptBase(
  { base, covers, garbage }: CompactedBase,
  current: BucketIndex,
  { reader, signal }: Omit<CompactionParts, "writer">,
): Promise<AdoptedRoot | null> {
  const later = logAfter(await current.log(signal), covers);
  if (later === null) return null;
  const losses = new Losses();
  for (const cid of garbage) losses.lose(cid);
  retire(later.blocks, later, losses);
  const changes = new Map<string, LogChange>();
  for (const [key, logged] of later.changes) {
    const ref = refOf(logged);
    changes.set(key, ref === null ? { kind: "delete" } : { kind: "refer", ref });
  }
  const { chain, blocks } = appendToChain(emptyChain(base), changes);
  return { root: rootOf(chain), blocks, index: indexOfChain(chain, reader), garbage: losses.toList() };
}
