import { describe, expect, test } from "vitest";
import { buildTree } from "../../../../src/lib/buckets/tree/build-tree.ts";
import { compareKeys } from "../../../../src/lib/buckets/tree/key.ts";
import { type ChildRef, decodeNode, encodeNode, type TreeItem } from "../../../../src/lib/buckets/tree/node.ts";
import type { KeyRef } from "../../../../src/lib/buckets/tree/object-entry.ts";
import { verifyTree } from "../../../../src/lib/buckets/tree/verify-tree.ts";
import { FulaError } from "../../../../src/lib/kernel/errors.ts";
import { collect, refOf, TreeBox } from "../../../support/tree-box.ts";

const ITEMS: readonly KeyRef[] = Array.from({ length: 120 }, (_, index) => `docs/${index * 37}.pdf`)
  .toSorted(compareKeys)
  .map((key) => ({ key, ref: refOf(key) }));

async function messages(box: TreeBox, root: TreeItem | ChildRef): Promise<readonly string[]> {
  if (!("link" in root)) throw new Error("A root is a node");
  return (await collect(verifyTree(box, root.link))).map(({ message }) => message);
}

async function put(box: TreeBox, key: string, level: number, items: readonly TreeItem[]): Promise<ChildRef> {
  const { block, keys, bytes } = encodeNode(level, items);
  await box.put(block);
  return { key, link: block.cid, keys, bytes };
}

/** A tree of two levels whose leaves are as they should be. */
async function built(): Promise<{ readonly box: TreeBox; readonly leaves: readonly ChildRef[] }> {
  const box = new TreeBox();
  const { root } = await buildTree(ITEMS, box);
  const node = decodeNode(await box.get(root));
  if (node.kind !== "inner" || node.items.length < 4) throw new Error("The tree is too small for what is tried");
  return { box, leaves: node.items };
}

function leafItems(box: TreeBox, leaf: ChildRef | undefined): readonly TreeItem[] {
  const block = box.blocks.get(leaf?.link.toString() ?? "");
  if (block === undefined) throw new Error("No such leaf");
  return decodeNode(block.bytes).items;
}

describe("verifying a tree", () => {
  test("finds nothing wrong with one that was built", async () => {
    const box = new TreeBox();
    for (const count of [0, 1, 5, 120, 3_000]) {
      const items = Array.from({ length: count }, (_, index) => `k${index}`)
        .toSorted(compareKeys)
        .map((key) => ({ key, ref: refOf(key) }));
      const { root } = await buildTree(items, box);
      expect(await collect(verifyTree(box, root))).toEqual([]);
    }
  });

  test("tells which nodes are not there, and looks at all others", async () => {
    const { box, leaves } = await built();
    const root = await put(box, "", 1, leaves);
    for (const index of [0, 2]) box.blocks.delete(leaves[index]?.link.toString() ?? "");
    box.reads = 0;
    const found = await messages(box, root);
    expect(found).toEqual([0, 2].map((index) => `No block ${leaves[index]?.link.toString()}.`));
    expect(box.reads).toBe(leaves.length + 1);
  });

  test("tells of two leaves that should be one, and of one that should be two", async () => {
    const { box, leaves } = await built();
    const first = leafItems(box, leaves[0]);
    const half = Math.floor(first.length / 2);
    const second = first[half]?.key ?? "";
    const parts = [await put(box, "", 0, first.slice(0, half)), await put(box, second, 0, first.slice(half))];
    const split = await messages(box, await put(box, "", 1, [...parts, ...leaves.slice(1)]));
    expect(split.join()).toMatch(/it ends after "docs\/\d+\.pdf", where it should go on/);
    const both = [...first, ...leafItems(box, leaves[1])];
    const joined = await messages(box, await put(box, "", 1, [await put(box, "", 0, both), ...leaves.slice(2)]));
    expect(joined.join()).toContain(`it goes on after ${JSON.stringify(first.at(-1)?.key)}, where it should end`);
  });

  test("tells of a leaf that begins at a longer text than it must", async () => {
    const { box, leaves } = await built();
    const key = leafItems(box, leaves[1])[0]?.key ?? "";
    const longer = leaves.map((leaf, index) => (index === 1 ? { ...leaf, key } : leaf));
    const found = await messages(box, await put(box, "", 1, longer));
    expect(found).toEqual([expect.stringContaining(`it begins at ${JSON.stringify(key)}, and `)]);
  });

  test("tells of a root that has one child, and of one that does not begin at the beginning", async () => {
    const { box, leaves } = await built();
    const root = await put(box, "", 1, leaves);
    expect(await messages(box, await put(box, "", 2, [root]))).toEqual([
      expect.stringContaining("it is the root and has one child"),
    ]);
    expect(await messages(box, await put(box, "", 1, leaves.slice(1)))).toEqual([
      expect.stringContaining("it is the root and does not begin at the beginning"),
    ]);
  });

  test("ends where the store does not answer, and with what a reader does wrong", async () => {
    const { box, leaves } = await built();
    const root = await put(box, "", 1, leaves);
    for (const error of [new FulaError("FULA_KUBO_UNREACHABLE", "Kubo does not answer."), new TypeError("oops")]) {
      const get = async (): Promise<Uint8Array> => Promise.reject(error);
      await expect(collect(verifyTree({ get }, root.link))).rejects.toBe(error);
    }
  });
});
