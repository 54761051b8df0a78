import type { CID } from "multiformats/cid";
import { compareKeys } from "./tree/key.ts";
import type { NodeReader } from "./tree/node-store.ts";
import { readNode } from "./tree/read-node.ts";

/**
 * The nodes of a tree on the way to a key, from the root, whether the key is there or not.
 * @throws FulaError FULA_INDEX_CORRUPT, and what the reader throws
 */
export async function wayTo(reader: NodeReader, root: CID, key: string): Promise<readonly CID[]> {
  const way = [root];
  let node = await readNode(reader, root, null);
  let end: string | null = null;
  while (node.kind === "inner") {
    const after = node.items.findIndex((child) => compareKeys(child.key, key) > 0);
    const child = node.items.at(after === -1 ? -1 : Math.max(after - 1, 0));
    if (child === undefined) return way;
    end = (after > 0 ? node.items[after]?.key : undefined) ?? end;
    way.push(child.link);
    node = await readNode(reader, child.link, { level: node.level - 1, child, end });
  }
  return way;
}
