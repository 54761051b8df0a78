import type { CID } from "multiformats/cid";
import { VisitedSet } from "../blocks/visited-set.ts";
import type { Pool } from "../postgres/pool.ts";
import type { Reached } from "./collector.ts";
import type { NodeReader } from "./tree/node-store.ts";
import type { EntryRef } from "./tree/object-entry.ts";
import { type WalkedBlock, walkIndex, type WalkParts } from "./walk.ts";
import { walkRecent } from "./walk-recent.ts";
import { currentRoots, type NamedRoot, partContents, recentRoots, waitingContents } from "./walk-roots.ts";

async function* cidsOf(blocks: AsyncIterable<WalkedBlock>, by: "current" | "recent"): AsyncGenerator<Reached> {
  for await (const block of blocks) {
    if (block.kind === "key") {
      yield { cid: block.ref.entry, by };
      yield { cid: block.ref.content, by };
    } else yield { cid: block.cid, by };
  }
}

/** Everything that a current root needs, and what it only names. */
async function* reachOfRoot(name: NamedRoot, parts: WalkParts, signal: AbortSignal): AsyncGenerator<Reached> {
  let hidden: CID[] = [];
  const onHidden = ({ entry, content }: EntryRef): void => {
    hidden.push(entry, content);
  };
  for await (const reached of cidsOf(walkIndex(name.root, { ...parts, onHidden }, signal), "current")) {
    yield reached;
    for (const cid of hidden) yield { cid, by: "hidden", bucket: { ownerId: name.ownerId, bucket: name.bucket } };
    hidden = [];
  }
  for (const cid of hidden) yield { cid, by: "hidden", bucket: { ownerId: name.ownerId, bucket: name.bucket } };
}

function isSameBucket(a: NamedRoot, b: NamedRoot): boolean {
  return a.ownerId === b.ownerId && a.bucket === b.bucket;
}

/** The roots of one bucket after the other, each bucket's from the newest one. */
async function* byBucket(roots: AsyncIterable<NamedRoot>): AsyncGenerator<readonly CID[]> {
  let held: NamedRoot[] = [];
  for await (const root of roots) {
    const [first] = held;
    if (first !== undefined && !isSameBucket(first, root)) {
      yield held.map((each) => each.root).toReversed();
      held = [];
    }
    held.push(root);
  }
  if (held.length > 0) yield held.map((each) => each.root).toReversed();
}

/**
 * Everything that buckets refer to: from their current roots, from open uploads, from what waits for its import, and from roots that were current within
 * the grace time. What several roots share is read once.
 * @throws FulaError where anything of it cannot be read
 */
export async function* reachOfBuckets(
  pool: Pool,
  reader: NodeReader,
  graceMs: number,
  signal: AbortSignal,
): AsyncGenerator<Reached> {
  using visited = new VisitedSet();
  const parts: WalkParts = { reader, visited };
  for await (const name of currentRoots(pool)) yield* reachOfRoot(name, parts, signal);
  for await (const cid of partContents(pool, null)) yield { cid, by: "current" };
  for await (const cid of waitingContents(pool)) yield { cid, by: "current" };
  for await (const roots of byBucket(recentRoots(pool, graceMs))) {
    yield* cidsOf(walkRecent(roots, parts, signal), "recent");
  }
}
