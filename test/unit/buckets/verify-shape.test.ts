import type { CID } from "multiformats/cid";
import { expect, test } from "vitest";
import { buildTree } from "../../../src/lib/buckets/tree/build-tree.ts";
import { encodeNode } from "../../../src/lib/buckets/tree/node.ts";
import type { NewBlock } from "../../../src/lib/buckets/tree/node-store.ts";
import { type BucketFinding, verifyBucket } from "../../../src/lib/buckets/verify.ts";
import { MemoryBlocks } from "../../support/memory-blocks.ts";
import { refOf } from "../../support/tree-box.ts";

const ITEMS = ["a", "b", "c", "d"].map((key) => ({ key, ref: refOf(key) }));

/** What is wrong with the index of a bucket that has these four keys. Their entries and contents are not there. */
async function indexFindings(blocks: MemoryBlocks, root: CID): Promise<readonly BucketFinding[]> {
  const state = {
    ownerId: "0".repeat(32),
    bucket: "photos",
    userId: null,
    root,
    version: 1n,
    objectCount: BigInt(ITEMS.length),
    totalBytes: ITEMS.reduce((sum, { ref }) => sum + BigInt(ref.sizeBytes), 0n),
    metadata: { tags: {} },
    createdAtMs: 0,
    movedAtMs: 0,
  };
  const parts = { blocks, nodes: blocks, pins: { pin: async () => null } };
  const { findings } = await verifyBucket(state, parts, { deep: false, signal: new AbortController().signal });
  return findings.filter(({ fault }) => fault === "index" || fault === "counts");
}

test("a tree that answers rightly, but is not the one that its keys make, is told of", async () => {
  const blocks = new MemoryBlocks();
  const put = async ({ cid, bytes }: NewBlock): Promise<void> => blocks.put(cid, bytes);
  const { root } = await buildTree(ITEMS, { put });
  expect(await indexFindings(blocks, root)).toEqual([]);

  const leaves = [ITEMS.slice(0, 2), ITEMS.slice(2)].map((items, index) => {
    const { block, keys, bytes } = encodeNode(0, items);
    return { block, child: { key: index === 0 ? "" : "c", link: block.cid, keys, bytes } };
  });
  const other = encodeNode(
    1,
    leaves.map(({ child }) => child),
  );
  for (const { block } of [...leaves, other]) await put(block);
  expect(await indexFindings(blocks, other.block.cid)).toEqual([
    expect.objectContaining({ message: expect.stringContaining('it ends after "b", where it should go on') }),
  ]);
});
