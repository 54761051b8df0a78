import fc from "fast-check";
import { compareKeys } from "../../src/lib/buckets/tree/key.ts";
import type { EntryRef } from "../../src/lib/buckets/tree/object-entry.ts";
import { refOf } from "./tree-box.ts";

/** Keys of which draws often hit the same ones: short ones, ones that share most of themselves, ones beyond ASCII. */
export const treeKeys: fc.Arbitrary<string> = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 0, max: 600 }).map((n) => `photos/${(n * 7919) % 1000}.jpg`) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 60 }).map((n) => `${"deep/".repeat(190)}${n}`) },
  { weight: 1, arbitrary: fc.string({ minLength: 1, maxLength: 3, unit: "binary" }) },
);

/** Changes of some keys: which ref they get, by its seed, or null where they go. In order, each key once. */
export function treeChanges(
  lengthMax: number,
): fc.Arbitrary<readonly { readonly key: string; readonly ref: EntryRef | null }[]> {
  const value = fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 0, max: 5 }) }, fc.constant(null));
  // A size of its own, because an array of any length is short most of the time and a short tree is one node.
  const length = fc.integer({ min: 0, max: lengthMax });
  return length
    .chain((exact) => fc.array(fc.tuple(treeKeys, value), { minLength: exact, maxLength: exact }))
    .map((drawn) => {
      const last = new Map(drawn);
      return [...last]
        .map(([key, seed]) => ({ key, ref: seed === null ? null : refOf(key, seed) }))
        .toSorted((a, b) => compareKeys(a.key, b.key));
    });
}

/** What a map is after changes. */
export function changed(
  model: ReadonlyMap<string, EntryRef>,
  changes: readonly { readonly key: string; readonly ref: EntryRef | null }[],
): Map<string, EntryRef> {
  const next = new Map(model);
  for (const { key, ref } of changes) {
    if (ref === null) next.delete(key);
    else next.set(key, ref);
  }
  return next;
}
