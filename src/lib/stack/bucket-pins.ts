import type { CID } from "multiformats/cid";
import { isEmptyBlock, parseCid } from "../blocks/cid.ts";
import type { BucketName } from "../buckets/roots/root-pointer.ts";
import { readBucket } from "../buckets/roots/root-queries.ts";
import type { BucketIndex } from "../buckets/tree/bucket-index.ts";
import { logBlockCidOf } from "../buckets/tree/log-block.ts";
import type { NodeReader } from "../buckets/tree/node-store.ts";
import { openBucketIndex } from "../buckets/tree/open-index.ts";
import { type WalkedBlock, walkIndex } from "../buckets/walk.ts";
import { currentRoots, type NamedRoot, partContents } from "../buckets/walk-roots.ts";
import { wayTo } from "../buckets/way-to.ts";
import { type FulaError, isFulaError, messageOf } from "../kernel/errors.ts";
import type { BucketPins, BucketRecord, PlacedCid } from "../pinset/ledger-pins.ts";
import type { Pool } from "../postgres/pool.ts";

/** Where a CID stands: in a bucket on the way to a key; where nothing could be read any more; or in an upload. */
type Place =
  | { readonly kind: "key"; readonly name: BucketName; readonly key: string }
  | { readonly kind: "damage"; readonly name: BucketName; readonly cid: string; readonly why: string }
  | { readonly kind: "part" };

function textOf(place: Place): string {
  if (place.kind === "part") return JSON.stringify(["part"]);
  const { ownerId, bucket } = place.name;
  const rest = place.kind === "key" ? [place.key] : [place.cid, place.why];
  return JSON.stringify([place.kind, ownerId, bucket, ...rest]);
}

function placeOf(text: string): Place {
  const values: unknown = JSON.parse(text);
  const [kind, ownerId = "", bucket = "", key = "", why = ""] = Array.isArray(values) ? values.map(String) : [];
  const name = { ownerId, bucket };
  if (kind === "part") return { kind };
  if (kind === "key") return { kind, name, key };
  return { kind: "damage", name, cid: key, why };
}

function cidsOf(block: WalkedBlock): readonly CID[] {
  if (block.kind !== "key") return [block.cid];
  const entry = logBlockCidOf(block.ref.entry);
  // An empty object is not pinned: there is nothing to keep of it.
  return isEmptyBlock(block.ref.content) ? [entry] : [entry, block.ref.content];
}

async function* placesOf(root: NamedRoot, nodes: NodeReader, signal: AbortSignal): AsyncGenerator<PlacedCid> {
  const { ownerId, bucket, movedAtMs: changedMs } = root;
  const name = { ownerId, bucket };
  const damaged: PlacedCid[] = [];
  const onFault = (error: FulaError, cid: CID): void => {
    const place: Place = { kind: "damage", name, cid: cid.toString(), why: error.message };
    damaged.push({ cid: null, place: textOf(place), changedMs });
  };
  try {
    for await (const block of walkIndex(root.root, { reader: nodes, visited: null, onFault }, signal)) {
      const place = textOf({ kind: "key", name, key: block.key });
      for (const cid of cidsOf(block)) yield { cid: cid.toString(), place, changedMs };
      yield* damaged.splice(0);
    }
  } catch (error) {
    signal.throwIfAborted();
    // Of one damaged bucket the others are no worse; a store that does not answer is another matter.
    if (!isFulaError(error) || error.kind === "unavailable") throw error;
    onFault(error, root.root);
  }
  yield* damaged;
}

async function isNeeded(
  index: BucketIndex,
  nodes: NodeReader,
  key: string,
  cid: string,
): Promise<"block" | "content" | null> {
  const { base, blocks } = await index.log();
  if (blocks.some((block) => block.cid.toString() === cid)) return "block";
  if (key === "") return base.toString() === cid ? "block" : null;
  if ((await wayTo(nodes, base, key)).some((node) => node.toString() === cid)) return "block";
  const ref = await index.findRef(key);
  if (ref === null) return null;
  if (logBlockCidOf(ref.entry).toString() === cid) return "block";
  return ref.content.toString() === cid ? "content" : null;
}

async function recordOfKey(
  pool: Pool,
  nodes: NodeReader,
  { name, key }: Place & { kind: "key" },
  cid: string,
): Promise<BucketRecord | null> {
  const state = await readBucket(pool, name);
  if (state === null) return null;
  const kind = await isNeeded(await openBucketIndex(state.root, nodes), nodes, key, cid);
  if (kind === null) return null;
  const changedMs = state.movedAtMs;
  if (kind === "block") return { name: `index-node:${name.bucket}`, mode: "direct", changedMs, damage: null };
  return { name: `object:${name.bucket}/${key}`, mode: "recursive", changedMs, damage: null };
}

async function recordOfDamage(
  pool: Pool,
  nodes: NodeReader,
  { name, cid, why }: Place & { kind: "damage" },
): Promise<BucketRecord | null> {
  const state = await readBucket(pool, name);
  if (state === null) return null;
  try {
    await nodes.get(parseCid(cid));
    // Read, but no better than it was; or it was only away for a moment, which the next sweep finds.
    if (!/damaged/.test(why)) return null;
  } catch (error) {
    if (!isFulaError(error)) throw error;
    return { name: `index-node:${name.bucket}`, mode: "direct", changedMs: state.movedAtMs, damage: messageOf(error) };
  }
  return { name: `index-node:${name.bucket}`, mode: "direct", changedMs: state.movedAtMs, damage: why };
}

async function isPart(pool: Pool, cid: string): Promise<boolean> {
  for await (const content of partContents(pool, cid)) return content.toString() === cid;
  return false;
}

/**
 * What the pinset has to hold for buckets: every block that a current root needs, every content, and the parts of open
 * uploads. A bucket of which something cannot be read is told as damaged, and the others are gone through all the same.
 */
export function bucketPins(pool: Pool, nodes: NodeReader): BucketPins {
  return {
    cids: async function* (signal) {
      for await (const root of currentRoots(pool)) yield* placesOf(root, nodes, signal);
      const place = textOf({ kind: "part" });
      for await (const cid of partContents(pool, null)) yield { cid: cid.toString(), place, changedMs: 0 };
    },
    record: async (cid, text) => {
      const place = placeOf(text);
      if (place.kind === "key") return await recordOfKey(pool, nodes, place, cid);
      if (place.kind === "damage") return await recordOfDamage(pool, nodes, place);
      if (!(await isPart(pool, cid))) return null;
      return { name: "object:upload", mode: "recursive", changedMs: 0, damage: null };
    },
  };
}
