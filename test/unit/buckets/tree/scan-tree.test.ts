import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { buildTree, EMPTY_TREE } from "../../../../src/lib/buckets/tree/build-tree.ts";
import type { ScanRange } from "../../../../src/lib/buckets/tree/bucket-index.ts";
import { compareKeys } from "../../../../src/lib/buckets/tree/key.ts";
import { findInTree, scanTree } from "../../../../src/lib/buckets/tree/scan-tree.ts";
import { property, PROPERTY_TIMEOUT_MS } from "../../../support/property.ts";
import { collect, refOf, rootOf, sortedItems, TreeBox } from "../../../support/tree-box.ts";
import { changed, treeChanges, treeKeys } from "../../../support/tree-keys.ts";

const EMPTY = { keys: 0, bytes: 0n };

function inRange(key: string, { prefix = "", after = "", inclusive = false }: ScanRange): boolean {
  const order = compareKeys(key, after);
  return key.startsWith(prefix) && (order > 0 || (inclusive && order === 0));
}

/** 3,000 keys in 60 folders. */
async function folders(): Promise<{ readonly box: TreeBox; readonly root: Awaited<ReturnType<typeof rootOf>> }> {
  const box = new TreeBox();
  const keys = Array.from({ length: 3_000 }, (_, index) => `folder-${index % 60}/file-${index}`);
  const root = await rootOf(new Map(keys.map((key) => [key, refOf(key)])), box);
  return { box, root };
}

describe("scanning a tree", () => {
  test("gives the keys of every kind of range, and finds each key that is there and no other", {
    timeout: PROPERTY_TIMEOUT_MS,
  }, async () => {
    const edge = fc.oneof(
      treeKeys,
      fc.constant(""),
      treeKeys.map((key) => Array.from(key).slice(0, 3).join("")),
    );
    const range = fc.record({ prefix: edge, after: edge, inclusive: fc.boolean() }, { requiredKeys: [] });
    await fc.assert(
      fc.asyncProperty(treeChanges(500), fc.array(range, { maxLength: 12 }), async (changes, ranges) => {
        const box = new TreeBox();
        const model = changed(new Map(), changes);
        const root = await rootOf(model, box);
        const keys = sortedItems(model).map(({ key }) => key);
        for (const asked of ranges) {
          const got = await collect(scanTree(box, root, asked));
          expect(got.map(({ key }) => key)).toEqual(keys.filter((key) => inRange(key, asked)));
        }
        for (const { key } of changes.slice(0, 50)) {
          expect((await findInTree(box, root, key))?.entry.toString()).toBe(model.get(key)?.entry.toString());
        }
      }),
      property(15),
    );
  });

  test("orders keys by their bytes, where JavaScript would not", async () => {
    // U+FF01 is one code unit above those of a surrogate pair; its UTF-8 comes before all of four bytes.
    const keys = ["a", "z", "é", "！", "😀", "😀a"];
    const box = new TreeBox();
    const root = await rootOf(new Map(keys.toReversed().map((key) => [key, refOf(key)])), box);
    expect((await collect(scanTree(box, root))).map(({ key }) => key)).toEqual(keys);
    expect(keys.toSorted()).not.toEqual(keys);
    expect((await collect(scanTree(box, root, { after: "！" }))).map(({ key }) => key)).toEqual(["😀", "😀a"]);
  });

  test("reads one way down to begin, wherever that is, and no leaf before its first key is asked for", async () => {
    const { box, root } = await folders();
    for (const after of ["", "folder-3/", "folder-42/file-102", "zzz"]) {
      box.reads = 0;
      await scanTree(box, root, { after, inclusive: true }).next();
      expect(box.reads).toBeLessThanOrEqual(4);
    }
    box.reads = 0;
    let taken = 0;
    for await (const _ of scanTree(box, root)) {
      taken += 1;
      if (taken === 100) break;
    }
    expect(box.reads).toBeLessThanOrEqual(3 + 100 / 5);
  });

  test("lists 60 folders of 50 files each by going on behind every one, without reading what is in them", async () => {
    const { box, root } = await folders();
    box.reads = 0;
    const found: string[] = [];
    for (let after = ""; ; ) {
      const { value } = await scanTree(box, root, { after, inclusive: true }).next();
      if (value === undefined) break;
      const folder = value.key.slice(0, value.key.indexOf("/") + 1);
      found.push(folder);
      // Behind everything that begins with the folder: "0" comes after "/".
      after = `${folder.slice(0, -1)}0`;
    }
    expect(found).toHaveLength(60);
    expect(box.reads).toBeLessThanOrEqual(61 * 5);
  });

  test("of an empty tree gives nothing", async () => {
    const box = new TreeBox();
    expect(await buildTree([], box)).toEqual({ root: EMPTY_TREE.cid, ...EMPTY });
    expect(await collect(scanTree(box, EMPTY_TREE.cid, { prefix: "a" }))).toEqual([]);
    expect(await findInTree(box, EMPTY_TREE.cid, "a")).toBeNull();
  });
});
