import type { CID } from "multiformats/cid";
import { assert } from "../../kernel/assert.ts";
import type { ScanRange } from "./bucket-index.ts";
import { compareKeys } from "./key.ts";
import { LevelCursor } from "./level-cursor.ts";
import type { TreeItem, TreeNode } from "./node.ts";
import type { NodeReader } from "./node-store.ts";
import type { EntryRef, KeyRef } from "./object-entry.ts";

/** The first item that does not come before the key, or how many there are. */
function firstFrom(items: readonly TreeItem[], key: string): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (compareKeys(items[middle]?.key ?? "", key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

async function readLeaf(cursor: LevelCursor): Promise<Extract<TreeNode, { kind: "leaf" }>> {
  const node = await cursor.read();
  assert(node.kind === "leaf", "a cursor of level 0 reads leaves");
  return node;
}

/**
 * What the tree has at a key, or null. Reads one node a level.
 * @throws FulaError FULA_INDEX_CORRUPT, and what the reader throws
 */
export async function findInTree(
  reader: NodeReader,
  root: CID,
  key: string,
  signal?: AbortSignal,
): Promise<EntryRef | null> {
  const cursor = await LevelCursor.open(reader, root, 0, signal);
  await cursor.seek(key);
  const leaf = await readLeaf(cursor);
  const found = leaf.items[firstFrom(leaf.items, key)];
  return found?.key === key ? found.ref : null;
}

/**
 * Keys of a range in ascending order. Reads one node a level to begin, and each leaf when its first key is asked for:
 * to begin anew further on is cheap, and whoever stops early has read no more than it took.
 * @throws FulaError FULA_INDEX_CORRUPT, and what the reader throws
 */
export async function* scanTree(
  reader: NodeReader,
  root: CID,
  { prefix = "", after = "", inclusive = false }: ScanRange = {},
  signal?: AbortSignal,
): AsyncGenerator<KeyRef> {
  const startsAtPrefix = compareKeys(prefix, after) > 0;
  const from = startsAtPrefix ? prefix : after;
  const skips = startsAtPrefix || inclusive ? null : from;
  const cursor = await LevelCursor.open(reader, root, 0, signal);
  await cursor.seek(from);
  do {
    const leaf = await readLeaf(cursor);
    for (const item of leaf.items.slice(firstFrom(leaf.items, from))) {
      if (item.key === skips) continue;
      // All keys from the prefix on that begin with it come before all that do not.
      if (!item.key.startsWith(prefix)) return;
      yield item;
    }
  } while (await cursor.next());
}
