import fc from "fast-check";
import type { CID } from "multiformats/cid";
import { expect, test } from "vitest";
import { EMPTY_TREE } from "../../../../src/lib/buckets/tree/build-tree.ts";
import { editTree } from "../../../../src/lib/buckets/tree/edit-tree.ts";
import type { EntryRef } from "../../../../src/lib/buckets/tree/object-entry.ts";
import { findInTree, scanTree } from "../../../../src/lib/buckets/tree/scan-tree.ts";
import { property, PROPERTY_TIMEOUT_MS } from "../../../support/property.ts";
import { collect, refOf, sortedItems, TreeBox } from "../../../support/tree-box.ts";

/** A kilobyte long and different early, so that a few dozen of them make a tree of several leaves. */
const longKey = fc.integer({ min: 0, max: 40 }).map((n) => `${n}`.padEnd(900, "x"));
const operation = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("put" as const), key: longKey, seed: fc.integer({ min: 0, max: 9 }) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("delete" as const), key: longKey }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("find" as const), key: longKey }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("scan" as const), key: longKey, inclusive: fc.boolean() }) },
);
const operations = fc
  .integer({ min: 1, max: 40 })
  .chain((length) => fc.array(operation, { minLength: length, maxLength: length }));

test("a tree answers as a sorted map would, through any sequence of operations, each a root of its own", {
  timeout: PROPERTY_TIMEOUT_MS,
}, async () => {
  await fc.assert(
    fc.asyncProperty(operations, async (sequence) => {
      const box = new TreeBox();
      await box.put(EMPTY_TREE);
      const model = new Map<string, EntryRef>();
      let root: CID = EMPTY_TREE.cid;
      for (const step of sequence) {
        const { kind, key } = step;
        if (kind === "find") {
          expect((await findInTree(box, root, key))?.entry.toString()).toBe(model.get(key)?.entry.toString());
        } else if (kind === "scan") {
          const { inclusive } = step;
          const wanted = sortedItems(model).filter((item) => item.key > key || (inclusive && item.key === key));
          const got = await collect(scanTree(box, root, { after: key, inclusive }));
          expect(got.map((item) => item.key)).toEqual(wanted.map((item) => item.key));
        } else {
          const ref = kind === "put" ? refOf(key, step.seed) : null;
          if (ref === null) model.delete(key);
          else model.set(key, ref);
          const edited = await editTree(box, root, [{ key, ref }], box);
          expect(edited.keys).toBe(model.size);
          // What an edit no longer needs is never needed again by the new root: the next steps would miss it.
          for (const gone of edited.replaced) box.blocks.delete(gone.toString());
          ({ root } = edited);
        }
      }
      const got = await collect(scanTree(box, root));
      expect(got.map(({ key, ref }) => [key, ref.etag])).toEqual(
        sortedItems(model).map(({ key, ref }) => [key, ref.etag]),
      );
    }),
    property(60, 100_000),
  );
});
