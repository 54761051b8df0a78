import type { CID } from "multiformats/cid";
import { FulaError } from "../../kernel/errors.ts";
import { BoundaryRule } from "./boundary.ts";
import type { TreeItem, TreeNode } from "./node.ts";
import type { NodeReader } from "./node-store.ts";
import { corruptNode, type Expected, placeOf, readNode } from "./read-node.ts";
import { shortestSeparator } from "./shared-prefix.ts";

/** Why a node does not end where the rule says, or null. The last node of a level may end anywhere before that. */
function boundaryFault(level: number, items: readonly TreeItem[], isLastOfLevel: boolean): string | null {
  const rule = new BoundaryRule(level);
  for (const [index, { key }] of items.entries()) {
    const isLast = index === items.length - 1;
    const ends = rule.endsAfter(key);
    if (ends && !isLast) return `it goes on after ${JSON.stringify(key)}, where it should end`;
    if (isLast && !ends && !isLastOfLevel) return `it ends after ${JSON.stringify(key)}, where it should go on`;
  }
  return null;
}

class TreeCheck {
  readonly #reader: NodeReader;
  readonly #signal: AbortSignal | undefined;
  /** Last key of the leaf before; null for the first, undefined where that leaf could not be read. */
  #before: string | null | undefined = null;

  constructor(reader: NodeReader, signal: AbortSignal | undefined) {
    this.#reader = reader;
    this.#signal = signal;
  }

  async *check(cid: CID, expected: Expected | null): AsyncGenerator<FulaError> {
    let node: TreeNode;
    try {
      node = await readNode(this.#reader, cid, expected, this.#signal);
    } catch (error) {
      this.#signal?.throwIfAborted();
      if (!(error instanceof FulaError) || error.kind === "unavailable") throw error;
      this.#before = undefined;
      yield error;
      return;
    }
    for (const why of this.#faultsOf(node, expected)) yield corruptNode(cid, placeOf(expected), why);
    if (node.kind === "leaf") {
      this.#before = node.items.at(-1)?.key ?? null;
      return;
    }
    for (const [index, child] of node.items.entries()) {
      const end = node.items[index + 1]?.key ?? expected?.end ?? null;
      yield* this.check(child.link, { level: node.level - 1, child, end });
    }
  }

  *#faultsOf(node: TreeNode, expected: Expected | null): Generator<string> {
    const { level, items } = node;
    // The end of a node is null where nothing of its level comes after it.
    const boundary = boundaryFault(level, items, expected === null || expected.end === null);
    if (boundary !== null) yield boundary;
    if (expected === null) {
      if (node.kind === "inner" && items.length === 1)
        yield "it is the root and has one child, which should be the root";
      return;
    }
    const first = items[0]?.key;
    if (node.kind === "inner" || first === undefined || this.#before === undefined) return;
    const begins = shortestSeparator(this.#before, first);
    if (expected.child.key !== begins) {
      yield `it begins at ${JSON.stringify(expected.child.key)}, and ${JSON.stringify(begins)} is the shortest`;
    }
  }
}

/**
 * Looks at every node of a tree: that it is what its place says, and that the tree has the one shape that its keys give
 * it, so that what it holds is all that any reader can come upon. Gives what is wrong, as it is found, and goes on with
 * what can be read; nothing where all is well. Memory grows with the height alone.
 * @throws FulaError what the reader throws where it does not answer: that is no verdict
 */
export function verifyTree(reader: NodeReader, root: CID, signal?: AbortSignal): AsyncGenerator<FulaError> {
  return new TreeCheck(reader, signal).check(root, null);
}
