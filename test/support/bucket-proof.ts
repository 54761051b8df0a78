import { code as DAG_CBOR } from "@ipld/dag-cbor";
import { CID } from "multiformats/cid";
import { blockLinks, checkDag } from "../../src/lib/blocks/dag.ts";
import type { BlockStore } from "../../src/lib/blocks/block-store.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { openBlocks, openPinCluster } from "../../src/lib/stack/pinset.ts";
import type { ServingBox } from "./serving.ts";

const RAW = 0x55;
const DAG_PB = 0x70;

/** What was found of a bucket by reading blocks and pins alone. */
export interface BucketProof {
  /** Nodes of the index, and objects' contents or entries, that its root reaches. */
  readonly nodes: number;
  readonly leaves: number;
  /** Blocks that are not there, and those that no pin keeps. */
  readonly missing: readonly string[];
  readonly unpinned: readonly string[];
}

const multihashOf = (cid: CID): string => Buffer.from(cid.multihash.bytes).toString("hex");

async function hasWhole(cid: CID, blocks: BlockStore): Promise<boolean> {
  if (cid.code !== DAG_PB) return await blocks.has(cid);
  return (await checkDag(cid, blocks)).missing === 0;
}

/**
 * Reads everything that a root reaches, by nothing but its links, and compares it with the pinset: the index, which links
 * to entries and contents, must be there whole, and a pin of its own must keep each.
 */
export async function proveBucket(box: ServingBox, root: CID): Promise<BucketProof> {
  const loaded = await box.load();
  const blocks = await openBlocks(loaded);
  await using pins = await openPinCluster(loaded, { clock: systemClock, blocks });
  const pinned = new Set<string>();
  for await (const pin of pins.pins()) pinned.add(multihashOf(CID.parse(pin.cid)));
  const missing: string[] = [];
  const unpinned: string[] = [];
  const seen = new Set<string>();
  let nodes = 0;
  const waiting = [root];
  for (let cid = waiting.pop(); cid !== undefined; cid = waiting.pop()) {
    if (seen.has(cid.toString())) continue;
    seen.add(cid.toString());
    if (!(await hasWhole(cid, blocks))) {
      missing.push(cid.toString());
      continue;
    }
    if (!pinned.has(multihashOf(cid)) && !isEmpty(cid)) unpinned.push(cid.toString());
    if (cid.code !== DAG_CBOR) continue;
    nodes += 1;
    waiting.push(...blockLinks(cid, await blocks.get(cid)));
  }
  return { nodes, leaves: seen.size - nodes - missing.length, missing, unpinned };
}

/** A block of no bytes is no pin: no peer could fetch it from another. */
function isEmpty(cid: CID): boolean {
  return cid.code === RAW && cid.toString() === "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";
}
