import type { CID } from "multiformats/cid";
import { type FulaError, isFulaError } from "../kernel/errors.ts";
import type { BucketIndex } from "./tree/bucket-index.ts";
import { compareKeys } from "./tree/key.ts";
import { decodeLogBlock, isLogBlock } from "./tree/log-block.ts";
import type { NodeReader } from "./tree/node-store.ts";
import type { EntryRef, KeyRef } from "./tree/object-entry.ts";
import { type KeyRange, refOfChange, walkIndex, walkTree } from "./walk.ts";

/** What is left of an index of which blocks cannot be read. */
export interface DamagedIndex {
  /** What the readable blocks of the log say last of their keys; null = deleted. */
  readonly logged: ReadonlyMap<string, EntryRef | null>;
  /** Root of its tree; null where the log broke off before it named it. */
  readonly base: CID | null;
  /** In order. */
  readonly lost: readonly KeyRange[];
  /** Why blocks could not be read. */
  readonly reasons: readonly string[];
}

const REASONS_MAX = 20;

function isDamage(error: unknown): error is FulaError {
  return (
    isFulaError(error, "FULA_INDEX_CORRUPT") ||
    isFulaError(error, "FULA_BLOCK_MISSING") ||
    isFulaError(error, "FULA_BLOCK_CORRUPT")
  );
}

/** Goes back through a log as far as it can be read. */
async function readLogBack(
  root: CID,
  nodes: NodeReader,
  reasons: string[],
  signal: AbortSignal,
): Promise<Omit<DamagedIndex, "lost" | "reasons">> {
  const logged = new Map<string, EntryRef | null>();
  let at = root;
  try {
    for (;;) {
      const bytes = await nodes.get(at, signal);
      if (!isLogBlock(bytes)) return { logged, base: at };
      const { block } = decodeLogBlock(at, bytes);
      for (const [key, change] of block.changes) if (!logged.has(key)) logged.set(key, refOfChange(change, at));
      at = block.link;
    }
  } catch (error) {
    signal.throwIfAborted();
    if (!isDamage(error)) throw error;
    reasons.push(error.message);
    return { logged, base: null };
  }
}

/** Finds out what of an index can be read. @throws FulaError where the blocks' store does not answer */
export async function surveyIndex(root: CID, nodes: NodeReader, signal: AbortSignal): Promise<DamagedIndex> {
  const reasons: string[] = [];
  const log = await readLogBack(root, nodes, reasons, signal);
  if (log.base === null) return { ...log, lost: [{ from: "", end: null }], reasons };
  const lost: KeyRange[] = [];
  const onFault = (error: FulaError, _cid: CID, range: KeyRange): void => {
    if (!isDamage(error)) throw error;
    if (reasons.length < REASONS_MAX) reasons.push(error.message);
    lost.push(range);
  };
  for await (const _ of walkTree(log.base, [], { reader: nodes, visited: null, onFault }, signal));
  return { ...log, lost, reasons };
}

/** True where every block of the index at a root can be read and is in its place. */
export async function isWhole(root: CID, nodes: NodeReader, signal: AbortSignal): Promise<boolean> {
  try {
    for await (const _ of walkIndex(root, { reader: nodes, visited: null }, signal));
    return true;
  } catch (error) {
    signal.throwIfAborted();
    if (!isDamage(error)) throw error;
    return false;
  }
}

/** How many keys came from where. */
export interface SalvageCounts {
  /** Read from the damaged index itself. */
  salvaged: number;
  /** From the older root, in the place of what could not be read: they may have been changed or deleted since. */
  older: number;
  /** Told of each key from the older root, before it is given. */
  readonly onOlder: (item: KeyRef) => Promise<void>;
}

function isIn({ from, end }: KeyRange, key: string): boolean {
  return compareKeys(key, from) >= 0 && (end === null || compareKeys(key, end) < 0);
}

/** Keys of the tree that can be read, and of the older root where it cannot, in order. */
async function* readable(
  { base, lost, logged }: DamagedIndex,
  older: BucketIndex | null,
  nodes: NodeReader,
  counts: SalvageCounts,
  signal: AbortSignal,
): AsyncGenerator<KeyRef> {
  let next = 0;
  async function* fillUntil(key: string | null): AsyncGenerator<KeyRef> {
    for (let range = lost[next]; range !== undefined; range = lost[next]) {
      if (key !== null && compareKeys(range.from, key) > 0) return;
      next += 1;
      for await (const item of older?.scan({ after: range.from, inclusive: true }, signal) ?? []) {
        if (!isIn(range, item.key)) break;
        if (logged.has(item.key)) continue;
        counts.older += 1;
        await counts.onOlder(item);
        yield item;
      }
    }
  }
  if (base !== null) {
    const parts = { reader: nodes, visited: null, onFault: () => {} };
    for await (const block of walkTree(base, [], parts, signal)) {
      if (block.kind !== "key") continue;
      yield* fillUntil(block.key);
      if (logged.has(block.key)) continue;
      counts.salvaged += 1;
      yield { key: block.key, ref: block.ref };
    }
  }
  yield* fillUntil(null);
}

/**
 * Gives every key that can be saved of a damaged index, in order: what its log says last, else what its tree says, and
 * from the older root what lies where the tree cannot be read.
 */
export async function* salvage(
  damaged: DamagedIndex,
  older: BucketIndex | null,
  nodes: NodeReader,
  counts: SalvageCounts,
  signal: AbortSignal,
): AsyncGenerator<KeyRef> {
  const logged = [...damaged.logged].toSorted(([a], [b]) => compareKeys(a, b));
  let next = 0;
  function* loggedUntil(key: string | null): Generator<KeyRef> {
    for (let entry = logged[next]; entry !== undefined; entry = logged[next]) {
      const [loggedKey, ref] = entry;
      if (key !== null && compareKeys(loggedKey, key) > 0) return;
      next += 1;
      if (ref === null) continue;
      counts.salvaged += 1;
      yield { key: loggedKey, ref };
    }
  }
  for await (const item of readable(damaged, older, nodes, counts, signal)) {
    yield* loggedUntil(item.key);
    yield item;
  }
  yield* loggedUntil(null);
}
