import type { CID } from "multiformats/cid";
import { assert } from "../../kernel/assert.ts";
import { buildAbove, EMPTY_TREE, type TreeRoot } from "./build-tree.ts";
import { CachedReader, isDecodingReader } from "./cached-reader.ts";
import { editLevel, type EditSink, type LevelChange } from "./edit-level.ts";
import { checkKey, compareKeys } from "./key.ts";
import { LevelCursor } from "./level-cursor.ts";
import type { ChildRef } from "./node.ts";
import type { NodeReader, NodeWriter } from "./node-store.ts";
import type { EntryRef } from "./object-entry.ts";
import { readNode } from "./read-node.ts";

/** Every level of an edit goes down from the root by itself; what they have in common is read once. */
const CACHE_BYTES = 32e6;

/** What becomes of one key; null where it goes. */
export interface TreeChange {
  readonly key: string;
  readonly ref: EntryRef | null;
}

/** A tree that was made from another one. */
export interface EditedTree extends TreeRoot {
  /** Nodes of the old tree that the new one does not have. */
  readonly replaced: readonly CID[];
}

async function* checked(changes: AsyncIterable<TreeChange> | Iterable<TreeChange>): AsyncGenerator<LevelChange> {
  let before = "";
  for await (const { key, ref } of changes) {
    checkKey(key);
    assert(compareKeys(before, key) < 0, `key ${JSON.stringify(key)} comes after ${JSON.stringify(before)}`);
    before = key;
    yield { key, item: ref === null ? null : { key, ref } };
  }
}

/** The nodes of the root's level after the changes that follow for it. */
async function* topNodes(root: ChildRef, changes: AsyncIterable<LevelChange>): AsyncGenerator<ChildRef> {
  let isRootThere = true;
  for await (const { key, item } of changes) {
    if (isRootThere && key !== "") yield root;
    isRootThere = false;
    if (item !== null && "link" in item) yield item;
  }
  if (isRootThere) yield root;
}

/**
 * Makes changes in a tree: the tree that comes out is the one that would have been built of its keys at once. Reads and
 * writes the nodes on the ways to the changed keys, and few besides; memory grows with the number of changes at most.
 * Every block is put after those that it names, and none that the new tree does not have.
 * @param changes in ascending order, each key once; a key that goes need not be there
 * @throws FulaError FULA_INDEX_CORRUPT, FULA_INDEX_KEY, and what reader and writer throw
 */
export async function editTree(
  reader: NodeReader,
  root: CID,
  changes: AsyncIterable<TreeChange> | Iterable<TreeChange>,
  writer: NodeWriter,
  signal?: AbortSignal,
): Promise<EditedTree> {
  const cached = isDecodingReader(reader) ? reader : new CachedReader(reader, CACHE_BYTES);
  const { level: topLevel, keys, bytes } = await readNode(cached, root, null, signal);
  const sink: EditSink = { writer, replaced: [] };
  let following: AsyncGenerator<LevelChange> = checked(changes);
  for (let level = 0; level <= topLevel; level += 1) {
    following = editLevel(await LevelCursor.open(cached, root, level, signal), following, sink);
  }
  const top = await buildAbove(topNodes({ key: "", link: root, keys, bytes }, following), topLevel + 1, writer);
  const { replaced } = sink;
  if (top !== null) return { root: top.link, keys: top.keys, bytes: top.bytes, replaced };
  // No level has a node for no keys: that of the empty tree goes and comes here.
  if (!root.equals(EMPTY_TREE.cid)) await writer.put(EMPTY_TREE);
  return { root: EMPTY_TREE.cid, keys: 0, bytes: 0n, replaced: replaced.filter((cid) => !cid.equals(EMPTY_TREE.cid)) };
}
