import type { CID } from "multiformats/cid";
import { compareKeys } from "./tree/key.ts";
import { emptyChain, extendChain, type LogChain } from "./tree/log-chain.ts";
import { keysOfLog, readLog, refOfChange, type WalkedBlock, type WalkParts, walkTree } from "./walk.ts";

/** What any root of one log needs, from the one after `first` blocks up to the whole log. */
function* blocksOfLog(log: LogChain, first: LogChain): Generator<WalkedBlock> {
  for (const { cid, block } of log.blocks) yield { kind: "log", cid, key: block.changes.keys().next().value ?? "" };
  yield* keysOfLog(first);
  for (const { cid, block } of log.blocks.slice(first.blocks.length)) {
    for (const [key, change] of block.changes) {
      const ref = refOfChange(change, cid);
      if (ref !== null) yield { kind: "key", key, ref };
    }
  }
}

/**
 * Gives what any of several roots of one bucket needs that followed one another. Each log is read once, not once a root:
 * as long as no compaction lies between, the log of a root is the beginning of its successor's.
 * @param roots from the newest one
 * @throws FulaError as `walkIndex`
 */
export async function* walkRecent(
  roots: readonly CID[],
  parts: WalkParts,
  signal: AbortSignal,
): AsyncGenerator<WalkedBlock> {
  const waiting = new Map(roots.map((root) => [root.toString(), root]));
  // What an earlier round has dealt with is gone from the map when its turn would come.
  for (const root of waiting.values()) {
    const log = await readLog(root, parts.reader, signal);
    let oldest = log.blocks.length;
    for (const [index, { cid }] of log.blocks.entries()) {
      if (waiting.delete(cid.toString())) oldest = Math.min(oldest, index + 1);
    }
    if (waiting.delete(log.base.toString())) oldest = 0;
    const first = extendChain(emptyChain(log.base), log.blocks.slice(0, oldest));
    yield* blocksOfLog(log, first);
    yield* walkTree(log.base, [...first.changes.keys()].toSorted(compareKeys), parts, signal);
  }
}
