import type { CID } from "multiformats/cid";
import { assert } from "../../kernel/assert.ts";
import { BoundaryRule } from "./boundary.ts";
import { compareKeys } from "./key.ts";
import type { LevelCursor } from "./level-cursor.ts";
import { Lookahead } from "./lookahead.ts";
import { type ChildRef, encodeNode, type TreeItem, type TreeNode } from "./node.ts";
import type { NodeWriter } from "./node-store.ts";
import { shortestSeparator } from "./shared-prefix.ts";

/** What becomes of the item at one key of a level; null where it goes. */
export interface LevelChange {
  readonly key: string;
  readonly item: TreeItem | null;
}

/** Where an edit puts its nodes, and which it no longer needs. */
export interface EditSink {
  readonly writer: NodeWriter;
  readonly replaced: CID[];
}

/**
 * A run of neighbouring nodes that are made anew, from the first that a change falls into to the first old end that is
 * an end again. Old nodes come in by `replace`, new ones go out as changes of the level above, both in order.
 */
class Span {
  readonly #level: number;
  readonly #sink: EditSink;
  readonly #rule: BoundaryRule;
  /** Where the first new node begins, if that is known; else it is worked out from the key before. */
  #begins: string | null;
  /** Last key of the node before the one in the making. */
  #before: string | null;
  #items: TreeItem[] = [];
  /** Old nodes that the level above has not been told of, and links of all old ones: true where a new one is the same. */
  #pending: ChildRef[] = [];
  readonly #old = new Map<string, { readonly link: CID; isKept: boolean }>();
  lastKey: string | null = null;

  constructor(
    level: number,
    sink: EditSink,
    start: { readonly begins: string | null; readonly before: string | null },
  ) {
    this.#level = level;
    this.#sink = sink;
    this.#rule = new BoundaryRule(level);
    this.#begins = start.begins;
    this.#before = start.before;
  }

  /** True where the last item that was pushed ended a node. */
  get isAtEnd(): boolean {
    return this.#items.length === 0;
  }

  replace(old: ChildRef): void {
    this.#pending.push(old);
    this.#old.set(old.link.toString(), { link: old.link, isKept: false });
  }

  async *push(item: TreeItem): AsyncGenerator<LevelChange> {
    this.#items.push(item);
    this.lastKey = item.key;
    if (this.#rule.endsAfter(item.key)) yield* this.#close();
  }

  /** @param isLast whether the level ends here, and with it the node in the making */
  async *finish(isLast: boolean): AsyncGenerator<LevelChange> {
    if (!this.isAtEnd) {
      assert(isLast, "a span within a level ends where a node ends");
      yield* this.#close();
    }
    for (const { key } of this.#pending) yield { key, item: null };
    for (const { link, isKept } of this.#old.values()) if (!isKept) this.#sink.replaced.push(link);
  }

  async *#close(): AsyncGenerator<LevelChange> {
    const made = await this.#make(this.#items);
    this.#items = [];
    for (let old = this.#pending[0]; old !== undefined; old = this.#pending[0]) {
      const order = compareKeys(old.key, made.key);
      if (order > 0) break;
      this.#pending.shift();
      if (order < 0) yield { key: old.key, item: null };
      else if (old.link.equals(made.link)) return;
    }
    yield { key: made.key, item: made };
  }

  async #make(items: readonly TreeItem[]): Promise<ChildRef> {
    const first = items[0];
    const last = items.at(-1);
    assert(first !== undefined && last !== undefined, "a node that is closed has items");
    // The only node of its level with the only node of the level below: the root is further down.
    if (items.length === 1 && "link" in first && first.key === "") return first;
    const { block, keys, bytes } = encodeNode(this.#level, items);
    const old = this.#old.get(block.cid.toString());
    if (old === undefined) await this.#sink.writer.put(block);
    else old.isKept = true;
    const key = this.#level > 0 ? first.key : (this.#begins ?? shortestSeparator(this.#before, first.key));
    this.#begins = null;
    this.#before = last.key;
    return { key, link: block.cid, keys, bytes };
  }
}

/** Items of a node with the changes that fall before `end`, in order. */
async function* withChanges(
  items: readonly TreeItem[],
  changes: Lookahead<LevelChange>,
  end: string | null,
): AsyncGenerator<TreeItem> {
  let index = 0;
  for (let next = await changes.peek(); next !== null; next = await changes.peek()) {
    if (end !== null && compareKeys(next.key, end) >= 0) break;
    let item = items[index];
    for (; item !== undefined && compareKeys(item.key, next.key) < 0; item = items[index]) {
      yield item;
      index += 1;
    }
    if (item?.key === next.key) index += 1;
    if (next.item !== null) yield next.item;
    changes.skip();
  }
  for (; index < items.length; index += 1) {
    const item = items[index];
    if (item !== undefined) yield item;
  }
}

/** Where the first node of a span begins: as before, unless its first key goes or another one comes before it. */
async function startOf(
  cursor: LevelCursor,
  node: TreeNode,
  next: LevelChange,
): Promise<{ readonly begins: string | null; readonly before: string | null }> {
  const first = node.items[0]?.key;
  const order = first === undefined ? -1 : compareKeys(next.key, first);
  const stays = order > 0 || (order === 0 && next.item !== null);
  if (stays || node.level > 0) return { begins: cursor.current.child.key, before: null };
  return { begins: null, before: await cursor.lastKeyBefore() };
}

async function* editSpan(
  cursor: LevelCursor,
  changes: Lookahead<LevelChange>,
  next: LevelChange,
  sink: EditSink,
): AsyncGenerator<LevelChange> {
  let node = await cursor.read();
  const span = new Span(node.level, sink, await startOf(cursor, node, next));
  for (;;) {
    const { child, end } = cursor.current;
    span.replace(child);
    for await (const item of withChanges(node.items, changes, end)) yield* span.push(item);
    // Where a leaf ends with another key than before, the next one may begin elsewhere and is gone through as well.
    const isSame = span.isAtEnd && (node.level > 0 || span.lastKey === node.items.at(-1)?.key);
    if (isSame || !(await cursor.next())) break;
    node = await cursor.read();
  }
  yield* span.finish(cursor.current.end === null);
}

/**
 * Makes changes in one level of a tree and gives the changes that follow from them for the level above, in order. Reads
 * and writes the nodes that change, and hardly any others; holds one run of them at a time.
 * @param cursor on the level
 * @param changes in ascending order, each key once
 * @throws FulaError as `readNode`, and what the writer throws
 */
export async function* editLevel(
  cursor: LevelCursor,
  changes: AsyncIterable<LevelChange>,
  sink: EditSink,
): AsyncGenerator<LevelChange> {
  const ahead = new Lookahead(changes);
  for (let next = await ahead.peek(); next !== null; next = await ahead.peek()) {
    await cursor.seek(next.key);
    yield* editSpan(cursor, ahead, next, sink);
  }
}
