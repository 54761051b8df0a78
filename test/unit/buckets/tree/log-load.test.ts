import { expect, test } from "vitest";
import type { BucketIndex } from "../../../../src/lib/buckets/tree/bucket-index.ts";
import { emptyIndexBlock, openBucketIndex } from "../../../../src/lib/buckets/tree/open-index.ts";
import { CountingBlocks, entryOf } from "../../../support/index-blocks.ts";

test("a log of any length is read wholly by somebody who knows its head alone", async () => {
  const blocks = new CountingBlocks();
  let index: BucketIndex = await openBucketIndex(emptyIndexBlock().cid, blocks);
  for (let length = 1; length <= 100; length += 1) {
    const next = await index.append([{ key: `key ${length}`, entry: entryOf(length) }]);
    for (const block of next.blocks) await blocks.put(block);
    index = next.index;
    const cold = await openBucketIndex(index.root, blocks);
    expect((await cold.log()).blocks.map(({ cid }) => cid.toString())).toHaveLength(length);
  }
});
