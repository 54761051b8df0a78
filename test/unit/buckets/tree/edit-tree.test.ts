import fc from "fast-check";
import type { CID } from "multiformats/cid";
import { describe, expect, test } from "vitest";
import { buildTree, EMPTY_TREE } from "../../../../src/lib/buckets/tree/build-tree.ts";
import { editTree } from "../../../../src/lib/buckets/tree/edit-tree.ts";
import { compareKeys } from "../../../../src/lib/buckets/tree/key.ts";
import type { EntryRef } from "../../../../src/lib/buckets/tree/object-entry.ts";
import { scanTree } from "../../../../src/lib/buckets/tree/scan-tree.ts";
import { property, PROPERTY_TIMEOUT_MS } from "../../../support/property.ts";
import { seededRandom } from "../../../support/seeded-random.ts";
import { listed, type Model, refOf, rootOf, shown, sortedItems, TreeBox } from "../../../support/tree-box.ts";
import { changed, treeChanges } from "../../../support/tree-keys.ts";

/** The CIDs of all nodes of a tree. */
async function nodesOf(box: TreeBox, root: CID): Promise<ReadonlySet<string>> {
  const alone = new TreeBox();
  const again = await buildTree(scanTree(box, root), alone);
  expect(again.root.toString()).toBe(root.toString());
  return new Set(alone.blocks.keys());
}

async function emptyBox(): Promise<TreeBox> {
  const box = new TreeBox();
  await box.put(EMPTY_TREE);
  return box;
}

function bytesOf(model: Model): bigint {
  return [...model.values()].reduce((sum, ref) => sum + BigInt(ref.sizeBytes), 0n);
}

function randomKey(seed: string): string {
  return `Qm${Buffer.from(seededRandom(Number(seed)).bytes(22)).toString("hex")}`;
}

describe("editing a tree", () => {
  test("gives the tree that building it at once gives, writes no block too many and tells which went", {
    timeout: PROPERTY_TIMEOUT_MS,
  }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(treeChanges(400), { minLength: 1, maxLength: 5 }), async (batches) => {
        const box = await emptyBox();
        let model = new Map<string, EntryRef>();
        let root: CID = EMPTY_TREE.cid;
        for (const batch of batches) {
          model = changed(model, batch);
          const before = await nodesOf(box, root);
          box.puts.length = 0;
          const edited = await editTree(box, root, batch, box);
          const built = new TreeBox();
          expect(edited.root.toString()).toBe((await rootOf(model, built)).toString());
          expect({ keys: edited.keys, bytes: edited.bytes }).toEqual({ keys: model.size, bytes: bytesOf(model) });
          expect(await listed(box, edited.root)).toEqual(sortedItems(model).map(shown));
          const after = [...built.blocks.keys()];
          const wrote = box.puts.map(({ cid }) => cid.toString());
          expect(wrote.toSorted()).toEqual(after.filter((cid) => !before.has(cid)).toSorted());
          const gone = [...before].filter((cid) => !built.blocks.has(cid));
          expect(edited.replaced.map(String).toSorted()).toEqual(gone.toSorted());
          root = edited.root;
        }
      }),
      property(12),
    );
  });

  test("gives one root for the same keys, in whatever order and batches they came and went", {
    timeout: PROPERTY_TIMEOUT_MS,
  }, async () => {
    const order = fc.array(fc.integer({ min: 0, max: 2 ** 30 }), { minLength: 300, maxLength: 300 });
    await fc.assert(
      fc.asyncProperty(order, fc.integer({ min: 1, max: 120 }), async (weights, batchSize) => {
        const box = await emptyBox();
        const kept = weights.map((_, index) => `2026/${index}`);
        const visitors = weights.slice(0, 50).map((_, index) => `2026/${index}-draft`);
        const steps = [
          ...kept.map((key, index) => ({ key, at: weights[index] ?? 0, ref: refOf(key) })),
          ...visitors.map((key, index) => ({ key, at: weights[index] ?? 0, ref: refOf(key) })),
        ].toSorted((a, b) => a.at - b.at);
        let root: CID = EMPTY_TREE.cid;
        for (let from = 0; from < steps.length; from += batchSize) {
          const batch = steps.slice(from, from + batchSize).toSorted((a, b) => compareKeys(a.key, b.key));
          ({ root } = await editTree(box, root, batch, box));
        }
        const gone = visitors.toSorted(compareKeys).map((key) => ({ key, ref: null }));
        ({ root } = await editTree(box, root, gone, box));
        expect(root.toString()).toBe((await rootOf(new Map(kept.map((key) => [key, refOf(key)])))).toString());
      }),
      property(5),
    );
  });

  test("puts no block before one that it names", async () => {
    const box = await emptyBox();
    const known = new Set<string>([EMPTY_TREE.cid.toString()]);
    const { blockLinks } = await import("../../../../src/lib/blocks/dag.ts");
    const items = Array.from({ length: 2_000 }, (_, index) => randomKey(String(index)))
      .toSorted(compareKeys)
      .map((key) => ({ key, ref: refOf(key) }));
    await editTree(box, EMPTY_TREE.cid, items, box);
    expect(box.puts.length).toBeGreaterThan(100);
    for (const { cid, bytes } of box.puts) {
      const nodes = blockLinks(cid, bytes).filter((link) => link.code === EMPTY_TREE.cid.code);
      expect(nodes.filter((link) => !known.has(link.toString()))).toEqual([]);
      known.add(cid.toString());
    }
  });

  test("of one key in 5,000 reads one way down and writes it", async () => {
    const box = new TreeBox();
    const keys = Array.from({ length: 5_000 }, (_, index) => randomKey(String(index)));
    const root = await rootOf(new Map(keys.map((key) => [key, refOf(key)])), box);
    const key = keys[123] ?? "";
    box.reads = 0;
    box.puts.length = 0;
    const edited = await editTree(box, root, [{ key, ref: refOf(key, 4) }], box);
    expect(box.reads).toBeLessThanOrEqual(4);
    expect(box.puts).toHaveLength(box.reads);
    expect(edited.replaced).toHaveLength(box.reads);
  });

  test("that changes nothing writes nothing", async () => {
    const box = new TreeBox();
    const model = new Map(Array.from({ length: 500 }, (_, index) => [`k${index}`, refOf(`k${index}`)]));
    const root = await rootOf(model, box);
    box.puts.length = 0;
    const batch = [
      { key: "absent", ref: null },
      { key: "k250", ref: refOf("k250") },
      { key: "zebra", ref: null },
    ];
    const edited = await editTree(box, root, batch, box);
    expect(edited.root.toString()).toBe(root.toString());
    expect(edited.replaced).toEqual([]);
    expect(box.puts).toEqual([]);
  });

  test.each(["", "k".repeat(1_025), "half \ud800"])("takes no key like %j", async (key) => {
    const box = await emptyBox();
    await expect(editTree(box, EMPTY_TREE.cid, [{ key, ref: refOf("a") }], box)).rejects.toMatchObject({
      code: "FULA_INDEX_KEY",
    });
  });

  test("takes no batch that is not in order", async () => {
    const box = await emptyBox();
    const batch = ["b", "a"].map((key) => ({ key, ref: refOf(key) }));
    await expect(editTree(box, EMPTY_TREE.cid, batch, box)).rejects.toThrow('key "a" comes after "b"');
  });
});
