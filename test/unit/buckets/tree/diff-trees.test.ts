import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { diffTrees, type TreeDifference } from "../../../../src/lib/buckets/tree/diff-trees.ts";
import { compareKeys } from "../../../../src/lib/buckets/tree/key.ts";
import type { EntryRef } from "../../../../src/lib/buckets/tree/object-entry.ts";
import { property, PROPERTY_TIMEOUT_MS } from "../../../support/property.ts";
import { collect, type Model, refOf, rootOf, TreeBox } from "../../../support/tree-box.ts";
import { changed, treeChanges } from "../../../support/tree-keys.ts";

function text(ref: EntryRef | null | undefined): string {
  return ref == null ? "-" : `${ref.entry.toString()} ${ref.sizeBytes}`;
}

function told({ key, before, after }: TreeDifference): string {
  return `${key}: ${text(before)} > ${text(after)}`;
}

/** What a diff has to say, worked out key by key. */
function expected(before: Model, after: Model): string[] {
  return [...new Set([...before.keys(), ...after.keys()])]
    .toSorted(compareKeys)
    .map((key) => ({ key, before: before.get(key) ?? null, after: after.get(key) ?? null }))
    .filter((difference) => text(difference.before) !== text(difference.after))
    .map(told);
}

function numbered(count: number): Map<string, EntryRef> {
  return new Map(Array.from({ length: count }, (_, index) => [`file-${index}`, refOf(`file-${index}`)]));
}

describe("the difference of two trees", () => {
  test("is that of two sorted maps", { timeout: PROPERTY_TIMEOUT_MS }, async () => {
    await fc.assert(
      fc.asyncProperty(treeChanges(500), treeChanges(60), treeChanges(500), async (start, some, other) => {
        const box = new TreeBox();
        const before = changed(new Map(), start);
        for (const after of [changed(before, some), changed(new Map(), other), new Map<string, EntryRef>()]) {
          const roots = [await rootOf(before, box), await rootOf(after, box)] as const;
          expect((await collect(diffTrees(box, ...roots))).map(told)).toEqual(expected(before, after));
        }
      }),
      property(12),
    );
  });

  test("of one key in 5,000 is found in two ways down", async () => {
    const box = new TreeBox();
    const model = numbered(5_000);
    const before = await rootOf(model, box);
    const after = await rootOf(new Map(model).set("file-3777", refOf("file-3777", 2)), box);
    box.reads = 0;
    expect((await collect(diffTrees(box, before, after))).map(({ key }) => key)).toEqual(["file-3777"]);
    expect(box.reads).toBeLessThanOrEqual(6);
  });

  test("of a tree and itself is found without reading any", async () => {
    const box = new TreeBox();
    const root = await rootOf(numbered(100), box);
    box.reads = 0;
    expect(await collect(diffTrees(box, root, root))).toEqual([]);
    expect(box.reads).toBe(0);
  });
});
