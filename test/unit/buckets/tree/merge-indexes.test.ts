import { expect, test } from "vitest";
import type { BucketIndex } from "../../../../src/lib/buckets/tree/bucket-index.ts";
import { mergeSteps } from "../../../../src/lib/buckets/tree/merge-indexes.ts";
import { openBucketIndex } from "../../../../src/lib/buckets/tree/open-index.ts";
import { collect, type Model, refOf, rootOf, TreeBox } from "../../../support/tree-box.ts";

test("a merge reads where the three differ, not all of them", async () => {
  const box = new TreeBox();
  const model: Model = new Map(Array.from({ length: 5_000 }, (_, index) => [`file-${index}`, refOf(`file-${index}`)]));
  const indexOf = async (changes: Model): Promise<BucketIndex> =>
    await openBucketIndex(await rootOf(new Map([...model, ...changes]), box), box);
  const base = await indexOf(new Map());
  const ours = await indexOf(new Map([["file-1", refOf("file-1", 1)]]));
  const theirs = await indexOf(new Map([["file-4999", refOf("file-4999", 2)]]));
  box.reads = 0;
  const steps = await collect(mergeSteps({ base, ours, theirs }, box, new AbortController().signal));
  expect(steps.map(({ key, isConflict }) => [key, isConflict])).toEqual([["file-4999", false]]);
  expect(box.reads).toBeLessThanOrEqual(20);
});
