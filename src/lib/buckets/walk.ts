import { setImmediate as nextTurn } from "node:timers/promises";
import type { CID } from "multiformats/cid";
import type { VisitedSet } from "../blocks/visited-set.ts";
import { type FulaError, isFulaError } from "../kernel/errors.ts";
import { EMPTY_TREE } from "./tree/build-tree.ts";
import { compareKeys } from "./tree/key.ts";
import { decodeLogBlock, entryCidOf, isLogBlock, type LogChange, type NamedLogBlock } from "./tree/log-block.ts";
import { emptyChain, type LogChain, LogReader } from "./tree/log-chain.ts";
import { loadChain } from "./tree/log-load.ts";
import type { ChildRef, TreeNode } from "./tree/node.ts";
import type { NodeReader } from "./tree/node-store.ts";
import type { EntryRef } from "./tree/object-entry.ts";
import { type Expected, readNode } from "./tree/read-node.ts";

/** A block that a root needs, and what for. */
export type WalkedBlock =
  /** Part of the index: a block of its log or a node of its tree. `key` is one that leads to it from the root. */
  | { readonly kind: "log" | "node"; readonly cid: CID; readonly key: string }
  /** What the index tells of a key that is there: it needs the block with the entry, and the content. */
  | { readonly kind: "key"; readonly key: string; readonly ref: EntryRef };

const NODES_PER_TURN = 64;

/** The log of a root, from its oldest block; without any where the root is that of a tree. */
export async function readLog(root: CID, reader: NodeReader, signal: AbortSignal): Promise<LogChain> {
  // Its bytes are known to all: nobody has to have them for that bucket to be whole.
  if (root.equals(EMPTY_TREE.cid)) return emptyChain(root);
  const bytes = await reader.get(root, signal);
  if (!isLogBlock(bytes)) return emptyChain(root);
  const head: NamedLogBlock = decodeLogBlock(root, bytes);
  return await loadChain(head, new LogReader(reader, [head]), signal);
}

/** What a change in a block of a log tells of its key; null where it deletes it. */
export function refOfChange(change: LogChange, block: CID): EntryRef | null {
  if (change.kind === "refer") return change.ref;
  if (change.kind === "delete") return null;
  const { content, sizeBytes, modifiedMs, etag } = change.entry;
  return { entry: entryCidOf(block), content, sizeBytes, modifiedMs, etag };
}

/** What a log tells of the keys that it puts there and does not take away again. */
export function* keysOfLog({ changes }: LogChain): Generator<WalkedBlock> {
  for (const [key, { change, block }] of changes) {
    const ref = refOfChange(change, block);
    if (ref !== null) yield { kind: "key", key, ref };
  }
}

/** What blocks of a log name, and a later one of them replaces or deletes. */
function* hiddenInLog({ blocks, changes }: LogChain): Generator<EntryRef> {
  for (const { cid, block } of blocks) {
    for (const [key, change] of block.changes) {
      const ref = changes.get(key)?.block.equals(cid) === true ? null : refOfChange(change, cid);
      if (ref !== null) yield ref;
    }
  }
}

/** A node that is still to be gone through. */
interface OpenNode {
  readonly cid: CID;
  /** Null for the root. */
  readonly expected: Expected | null;
}

function childrenOf(items: readonly ChildRef[], level: number, end: string | null): OpenNode[] {
  return items.map((child, index) => ({
    cid: child.link,
    expected: { level: level - 1, child, end: items[index + 1]?.key ?? end },
  }));
}

/** True where one of the keys, which are in order, may lie below a node. */
function coversAny(keys: readonly string[], expected: Expected | null): boolean {
  if (expected === null) return keys.length > 0;
  const { child, end } = expected;
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareKeys(keys[middle] ?? "", child.key) < 0) low = middle + 1;
    else high = middle;
  }
  const first = keys[low];
  return first !== undefined && (end === null || compareKeys(first, end) < 0);
}

async function readOrTell(
  { reader, onFault }: WalkParts,
  cid: CID,
  expected: Expected | null,
  signal: AbortSignal,
): Promise<TreeNode | null> {
  try {
    return await readNode(reader, cid, expected, signal);
  } catch (error) {
    signal.throwIfAborted();
    if (onFault === undefined || !isFulaError(error)) throw error;
    onFault(error, cid, { from: expected?.child.key ?? "", end: expected?.end ?? null });
    return null;
  }
}

/**
 * Goes through a tree, except for keys that are hidden by what is newer. Memory holds one path.
 * @param hidden in order
 */
export async function* walkTree(
  base: CID,
  hidden: readonly string[],
  parts: WalkParts,
  signal: AbortSignal,
): AsyncGenerator<WalkedBlock> {
  const { visited } = parts;
  if (base.equals(EMPTY_TREE.cid)) {
    yield { kind: "node", cid: base, key: "" };
    return;
  }
  const isHidden = new Set(hidden);
  const open: OpenNode[][] = [[{ cid: base, expected: null }]];
  for (let nodes = 1; open.length > 0; nodes += 1) {
    signal.throwIfAborted();
    if (nodes % NODES_PER_TURN === 0) await nextTurn();
    const next = open.at(-1)?.shift();
    if (next === undefined) {
      open.pop();
      continue;
    }
    const { cid, expected } = next;
    // What is hidden from this root may be there for another, so such a node is not done with.
    if (visited !== null && !coversAny(hidden, expected) && !visited.add(cid.bytes)) continue;
    const node = await readOrTell(parts, cid, expected, signal);
    if (node === null) continue;
    yield { kind: "node", cid, key: node.items[0]?.key ?? "" };
    if (node.kind === "inner") {
      open.push(childrenOf(node.items, node.level, expected?.end ?? null));
      continue;
    }
    for (const { key, ref } of node.items) {
      if (!isHidden.has(key)) yield { kind: "key", key, ref };
      else parts.onHidden?.(ref);
    }
  }
}

/** Keys from `from` on and before `end`; null = to the last one. */
export interface KeyRange {
  readonly from: string;
  readonly end: string | null;
}

/** What walks through several roots have in common. */
export interface WalkParts {
  readonly reader: NodeReader;
  /** Nodes below which a walk with the same set has been; null goes through everything. */
  readonly visited: VisitedSet | null;
  /** Told of a node that cannot be read, and of what is below it nothing is given; without it the walk ends with the error. */
  readonly onFault?: ((error: FulaError, cid: CID, range: KeyRange) => void) | undefined;
  /**
   * Told of what blocks of the index still name though something newer replaced or deleted it: no reader asks for it, but
   * whoever follows links does, until a compaction.
   */
  readonly onHidden?: ((ref: EntryRef) => void) | undefined;
}

/**
 * Gives every block of an index at one root, and every key that is there: in the order of the log and of the tree, not in
 * one order. What the log has replaced or deleted is left out. Memory does not grow with the bucket.
 * @throws FulaError FULA_INDEX_CORRUPT where a block is not what its place says, and what the reader throws: an index that
 *   cannot be read is never a smaller one
 */
export async function* walkIndex(root: CID, parts: WalkParts, signal: AbortSignal): AsyncGenerator<WalkedBlock> {
  const log = await readLog(root, parts.reader, signal);
  for (const { cid, block } of log.blocks) yield { kind: "log", cid, key: block.changes.keys().next().value ?? "" };
  if (parts.onHidden !== undefined) for (const ref of hiddenInLog(log)) parts.onHidden(ref);
  yield* keysOfLog(log);
  yield* walkTree(log.base, [...log.changes.keys()].toSorted(compareKeys), parts, signal);
}
