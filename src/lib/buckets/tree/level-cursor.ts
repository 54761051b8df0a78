import type { CID } from "multiformats/cid";
import { assert } from "../../kernel/assert.ts";
import { compareKeys } from "./key.ts";
import type { ChildRef, TreeNode } from "./node.ts";
import type { NodeReader } from "./node-store.ts";
import { type Expected, readNode } from "./read-node.ts";

type InnerNode = Extract<TreeNode, { kind: "inner" }>;

/** An inner node on the way down, and which child the way goes to. */
interface Step {
  readonly node: InnerNode;
  /** Where the next node of this one's level begins. */
  readonly end: string | null;
  index: number;
}

/** The last child that begins at or before the key; never one before `from`. */
function childFor(children: readonly ChildRef[], key: string, from: number): number {
  let low = from;
  let high = children.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (compareKeys(children[middle]?.key ?? "", key) <= 0) low = middle;
    else high = middle - 1;
  }
  return low;
}

/**
 * Goes over the nodes of one level, forward only. Holds the way down to where it is, so memory grows with the height,
 * and a node is read once however many steps are made below it.
 */
export class LevelCursor {
  readonly #reader: NodeReader;
  readonly #level: number;
  readonly #root: Expected;
  readonly #rootNode: TreeNode;
  readonly #signal: AbortSignal | undefined;
  readonly #path: Step[] = [];

  private constructor(reader: NodeReader, level: number, root: Expected, rootNode: TreeNode, signal?: AbortSignal) {
    this.#reader = reader;
    this.#level = level;
    this.#root = root;
    this.#rootNode = rootNode;
    this.#signal = signal;
    if (rootNode.level > level) this.#enter(root, rootNode);
  }

  /**
   * Stands at no node yet: `seek` comes first.
   * @param level of the tree, at most that of the root
   * @throws FulaError as `readNode`
   */
  static async open(reader: NodeReader, root: CID, level: number, signal?: AbortSignal): Promise<LevelCursor> {
    const node = await readNode(reader, root, null, signal);
    assert(level <= node.level, `level ${level} is in a tree of ${node.level + 1} levels`);
    const child: ChildRef = { key: "", link: root, keys: node.keys, bytes: node.bytes };
    return new LevelCursor(reader, level, { level: node.level, child, end: null }, node, signal);
  }

  /** The node where the cursor is, as its parent names it. */
  get current(): Expected {
    const step = this.#path.at(-1);
    if (step === undefined) return this.#root;
    const child = step.node.items[step.index];
    assert(child !== undefined, "a step goes to a child that is there");
    return { level: step.node.level - 1, child, end: step.node.items[step.index + 1]?.key ?? step.end };
  }

  /** Reads the node where the cursor is. @throws FulaError as `readNode` */
  async read(): Promise<TreeNode> {
    if (this.#path.length === 0) return this.#rootNode;
    const { current } = this;
    return readNode(this.#reader, current.child.link, current, this.#signal);
  }

  /** Moves to the node in whose range a key is, which is not before the present one. @throws FulaError as `readNode` */
  async seek(key: string): Promise<void> {
    let step = this.#path.at(-1);
    while (step !== undefined && step.end !== null && compareKeys(key, step.end) >= 0) {
      this.#path.pop();
      step = this.#path.at(-1);
    }
    if (step === undefined) return;
    const before = step.index;
    step.index = childFor(step.node.items, key, before);
    await this.#descend((node) => childFor(node.items, key, 0));
  }

  /** Moves to the next node of the level. @returns false, and stays, where there is none. @throws FulaError as `readNode` */
  async next(): Promise<boolean> {
    const depth = this.#path.findLastIndex(({ node, index }) => index + 1 < node.items.length);
    const step = this.#path[depth];
    if (step === undefined) return false;
    this.#path.length = depth + 1;
    step.index += 1;
    await this.#descend(() => 0);
    return true;
  }

  /** The last key of the leaf before the present one; null for the first. @throws FulaError as `readNode` */
  async lastKeyBefore(): Promise<string | null> {
    const step = this.#path.findLast(({ index }) => index > 0);
    let child = step?.node.items[step.index - 1];
    if (step === undefined || child === undefined) return null;
    const end = step.node.items[step.index]?.key ?? null;
    for (let level = step.node.level - 1; ; level -= 1) {
      const node = await readNode(this.#reader, child.link, { level, child, end }, this.#signal);
      const last = node.items.at(-1);
      assert(last !== undefined, "a node that is a child has items");
      if (!("link" in last)) return last.key;
      child = last;
    }
  }

  #enter(expected: Expected, node: TreeNode): void {
    assert(node.kind === "inner", "the way down goes through inner nodes");
    this.#path.push({ node, end: expected.end, index: 0 });
  }

  async #descend(choose: (node: InnerNode) => number): Promise<void> {
    while (this.current.level > this.#level) {
      const expected = this.current;
      const node = await readNode(this.#reader, expected.child.link, expected, this.#signal);
      this.#enter(expected, node);
      const step = this.#path.at(-1);
      if (step !== undefined) step.index = choose(step.node);
    }
  }
}
