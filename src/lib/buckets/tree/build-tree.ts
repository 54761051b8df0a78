import type { CID } from "multiformats/cid";
import { assert } from "../../kernel/assert.ts";
import { BoundaryRule } from "./boundary.ts";
import { checkKey, compareKeys } from "./key.ts";
import { type ChildRef, encodeNode, type TreeItem } from "./node.ts";
import type { NewBlock, NodeWriter } from "./node-store.ts";
import type { KeyRef } from "./object-entry.ts";
import { shortestSeparator } from "./shared-prefix.ts";

/** The tree of no keys: what a fresh bucket begins with. The same in every bucket. */
export const EMPTY_TREE: NewBlock = encodeNode(0, []).block;

/** A tree and what its root says of it. */
export interface TreeRoot {
  readonly root: CID;
  readonly keys: number;
  /** Sum of the sizes of all objects. */
  readonly bytes: bigint;
}

/** Builds one level and, through it, all above. Holds one node of each. */
class LevelBuilder {
  readonly #level: number;
  readonly #writer: NodeWriter;
  readonly #rule: BoundaryRule;
  #items: TreeItem[] = [];
  #before: string | null = null;
  #above: LevelBuilder | null = null;

  constructor(level: number, writer: NodeWriter) {
    this.#level = level;
    this.#writer = writer;
    this.#rule = new BoundaryRule(level);
  }

  async push(item: TreeItem): Promise<void> {
    this.#items.push(item);
    if (this.#rule.endsAfter(item.key)) await this.#close();
  }

  async #close(): Promise<void> {
    const items = this.#items;
    this.#items = [];
    const first = items[0];
    const last = items.at(-1);
    assert(first !== undefined && last !== undefined, "a node that is closed has items");
    const { block, keys, bytes } = encodeNode(this.#level, items);
    await this.#writer.put(block);
    const key = this.#level === 0 ? shortestSeparator(this.#before, first.key) : first.key;
    this.#before = last.key;
    this.#above ??= new LevelBuilder(this.#level + 1, this.#writer);
    await this.#above.push({ key, link: block.cid, keys, bytes });
  }

  /** The root: the node of the lowest level that has but one. Null where nothing was pushed. */
  async finish(): Promise<ChildRef | null> {
    const only = this.#items[0];
    // A level of one node has a level above with one item, which is no node: the root is below.
    if (this.#above === null && this.#items.length === 1 && only !== undefined && "link" in only) return only;
    if (this.#items.length > 0) await this.#close();
    return this.#above === null ? null : this.#above.finish();
  }
}

/** The root over nodes of a level, which come in order. Null where there are none. */
export async function buildAbove(
  children: AsyncIterable<ChildRef>,
  level: number,
  writer: NodeWriter,
): Promise<ChildRef | null> {
  const builder = new LevelBuilder(level, writer);
  for await (const child of children) await builder.push(child);
  return builder.finish();
}

/**
 * Builds the tree of these keys, which come in ascending order, each once. Holds one node a level, so that memory
 * grows with the height alone. Every block is put after those that it names.
 * @throws FulaError FULA_INDEX_KEY, and what the writer throws
 */
export async function buildTree(
  items: AsyncIterable<KeyRef> | Iterable<KeyRef>,
  writer: NodeWriter,
): Promise<TreeRoot> {
  const builder = new LevelBuilder(0, writer);
  let before = "";
  for await (const item of items) {
    checkKey(item.key);
    assert(compareKeys(before, item.key) < 0, `key ${JSON.stringify(item.key)} comes after ${JSON.stringify(before)}`);
    before = item.key;
    await builder.push(item);
  }
  const root = await builder.finish();
  if (root !== null) return { root: root.link, keys: root.keys, bytes: root.bytes };
  await writer.put(EMPTY_TREE);
  return { root: EMPTY_TREE.cid, keys: 0, bytes: 0n };
}
