import type { CID } from "multiformats/cid";
import { compareKeys } from "./key.ts";
import type { TreeItem, TreeNode } from "./node.ts";
import type { NodeReader } from "./node-store.ts";
import type { EntryRef, KeyRef } from "./object-entry.ts";
import { type Expected, readNode } from "./read-node.ts";

/** One key that two trees do not have alike; null where one of them does not have it. */
export interface TreeDifference {
  readonly key: string;
  readonly before: EntryRef | null;
  readonly after: EntryRef | null;
}

/** What comes next of a tree: a key, or a node that nobody has looked into. */
type Head =
  | { readonly kind: "key"; readonly key: string; readonly item: KeyRef }
  | { readonly kind: "node"; readonly key: string; readonly expected: Expected };

/** True where two refs say the same of a key. */
export function sameRef(a: EntryRef | null, b: EntryRef | null): boolean {
  if (a === null || b === null) return a === b;
  return (
    a.entry.equals(b.entry) &&
    a.content.equals(b.content) &&
    a.sizeBytes === b.sizeBytes &&
    a.modifiedMs === b.modifiedMs &&
    a.etag === b.etag
  );
}

/** Goes through a tree from left to right and down only where it is told to. Holds one way down. */
class Frontier {
  readonly #reader: NodeReader;
  readonly #signal: AbortSignal | undefined;
  readonly #path: {
    readonly items: readonly TreeItem[];
    readonly level: number;
    readonly end: string | null;
    next: number;
  }[] = [];

  constructor(reader: NodeReader, root: TreeNode, signal: AbortSignal | undefined) {
    this.#reader = reader;
    this.#signal = signal;
    this.#enter(root, null);
  }

  /** Null at the end. */
  get head(): Head | null {
    const step = this.#path.at(-1);
    const item = step?.items[step.next];
    if (step === undefined || item === undefined) return null;
    if ("ref" in item) return { kind: "key", key: item.key, item };
    const end = step.items[step.next + 1]?.key ?? step.end;
    return { kind: "node", key: item.key, expected: { level: step.level - 1, child: item, end } };
  }

  /** Passes by what comes next, whole. */
  pass(): void {
    for (let step = this.#path.at(-1); step !== undefined; step = this.#path.at(-1)) {
      step.next += 1;
      if (step.next < step.items.length) return;
      this.#path.pop();
    }
  }

  /** Goes into the node that comes next. @throws FulaError as `readNode` */
  async open({ expected }: Extract<Head, { kind: "node" }>): Promise<void> {
    this.#enter(await readNode(this.#reader, expected.child.link, expected, this.#signal), expected.end);
  }

  #enter({ items, level }: TreeNode, end: string | null): void {
    this.#path.push({ items, level, end, next: 0 });
  }
}

function isSameNode(left: Head, right: Head): boolean {
  return left.kind === "node" && right.kind === "node" && left.expected.child.link.equals(right.expected.child.link);
}

/** Which of two heads has to be looked into before anything can be said; null where both are keys or one comes first. */
function toOpen(left: Head | null, right: Head | null): "left" | "right" | null {
  if (left?.kind === "node" && right?.kind === "node") {
    // The higher one, so that nodes of one level come to stand side by side, and then the one that begins first.
    const byLevel = left.expected.level - right.expected.level;
    return byLevel > 0 || (byLevel === 0 && compareKeys(left.key, right.key) <= 0) ? "left" : "right";
  }
  if (left?.kind === "node") return right === null || compareKeys(right.key, left.key) >= 0 ? "left" : null;
  if (right?.kind === "node") return left === null || compareKeys(left.key, right.key) >= 0 ? "right" : null;
  return null;
}

/**
 * The keys that two trees do not have alike, in order. What they have in common is passed by without being read, node by
 * node; memory grows with the height alone.
 * @throws FulaError FULA_INDEX_CORRUPT, and what the reader throws
 */
export async function* diffTrees(
  reader: NodeReader,
  before: CID,
  after: CID,
  signal?: AbortSignal,
): AsyncGenerator<TreeDifference> {
  if (before.equals(after)) return;
  const old = new Frontier(reader, await readNode(reader, before, null, signal), signal);
  const now = new Frontier(reader, await readNode(reader, after, null, signal), signal);
  for (let [left, right] = [old.head, now.head]; left !== null || right !== null; left = old.head, right = now.head) {
    const opened = toOpen(left, right);
    if (left !== null && right !== null && isSameNode(left, right)) {
      old.pass();
      now.pass();
    } else if (opened === "left" && left?.kind === "node") {
      await old.open(left);
    } else if (opened === "right" && right?.kind === "node") {
      await now.open(right);
    } else {
      const order = left === null ? 1 : right === null ? -1 : compareKeys(left.key, right.key);
      const was = order <= 0 && left?.kind === "key" ? left.item : null;
      const is = order >= 0 && right?.kind === "key" ? right.item : null;
      if (was !== null) old.pass();
      if (is !== null) now.pass();
      const key = was?.key ?? is?.key ?? "";
      if (!sameRef(was?.ref ?? null, is?.ref ?? null)) yield { key, before: was?.ref ?? null, after: is?.ref ?? null };
    }
  }
}
