import { describe, expect, test } from "vitest";
import { createCid, RAW_CODEC } from "../../../../src/lib/blocks/cid.ts";
import { buildTree } from "../../../../src/lib/buckets/tree/build-tree.ts";
import { editTree } from "../../../../src/lib/buckets/tree/edit-tree.ts";
import { compareKeys } from "../../../../src/lib/buckets/tree/key.ts";
import { decodeNode } from "../../../../src/lib/buckets/tree/node.ts";
import type { NewBlock } from "../../../../src/lib/buckets/tree/node-store.ts";
import type { KeyRef } from "../../../../src/lib/buckets/tree/object-entry.ts";
import { scanTree } from "../../../../src/lib/buckets/tree/scan-tree.ts";
import { verifyTree } from "../../../../src/lib/buckets/tree/verify-tree.ts";
import { collect, TreeBox } from "../../../support/tree-box.ts";
import { seededRandom } from "../../../support/seeded-random.ts";

const CONTENT = createCid(RAW_CODEC, Buffer.from("the same everywhere"));

function itemOf(key: string): KeyRef {
  return {
    key,
    ref: { entry: CONTENT, content: CONTENT, sizeBytes: 4_096, modifiedMs: 1_764_000_000_000, etag: null },
  };
}

/** Keys as an encrypting client makes them: `Qm` and 44 hex digits. */
function hashKeys(count: number, seed: number): readonly string[] {
  const random = seededRandom(seed);
  const keys = Array.from({ length: count }, () => `Qm${Buffer.from(random.bytes(22)).toString("hex")}`);
  return keys.toSorted(compareKeys);
}

interface Level {
  readonly nodes: number;
  readonly meanBytes: number;
  readonly maxBytes: number;
}

function levelsOf(blocks: Iterable<NewBlock>): readonly Level[] {
  const sizes: number[][] = [];
  for (const { bytes } of blocks) (sizes[decodeNode(bytes).level] ??= []).push(bytes.byteLength);
  return sizes.map((all) => ({
    nodes: all.length,
    meanBytes: all.reduce((sum, size) => sum + size, 0) / all.length,
    maxBytes: Math.max(...all),
  }));
}

describe("the size of a tree", () => {
  test("of 15,000 keys: leaves of about 2 KB, their parents of about 2.3 KB, none of them above 10 KB", async () => {
    const box = new TreeBox();
    await buildTree(hashKeys(15_000, 1).map(itemOf), box);
    const [leaves, parents, ...upper] = levelsOf(box.blocks.values());
    expect(leaves?.meanBytes).toBeGreaterThan(1_700);
    expect(leaves?.meanBytes).toBeLessThan(2_200);
    expect(parents?.meanBytes).toBeGreaterThan(1_800);
    expect(parents?.meanBytes).toBeLessThan(2_800);
    for (const { maxBytes } of [leaves, parents].filter((level) => level !== undefined)) {
      expect(maxBytes).toBeLessThan(10_500);
    }
    expect(upper.map(({ nodes }) => nodes)).toEqual([1]);
  });

  test("of a batch of 96 new ones among 10,000 keys: at most 1.5 nodes and 3.5 KB a key", async () => {
    const box = new TreeBox();
    let { root } = await buildTree(hashKeys(10_000, 2).map(itemOf), box);
    box.puts.length = 0;
    for (const seed of [3, 4]) ({ root } = await editTree(box, root, hashKeys(96, seed).map(itemOf), box));
    const bytes = box.puts.reduce((sum, block) => sum + block.bytes.byteLength, 0);
    expect(box.puts.length / (2 * 96)).toBeLessThan(1.5);
    expect(bytes / (2 * 96)).toBeLessThan(3_500);
  });

  test("of 1,200 keys of 1,024 bytes: few levels, and no node of more than a few of them", async () => {
    const keys = Array.from({ length: 1_200 }, (_, index) => {
      const path = `${"deep/".repeat(150)}${index * 7919}/`;
      return path.padEnd(1_024, "x");
    }).toSorted(compareKeys);
    const box = new TreeBox();
    const { root } = await buildTree(keys.map(itemOf), box);
    const levels = levelsOf(box.blocks.values());
    expect(levels.length).toBeLessThanOrEqual(5);
    for (const { maxBytes } of levels) expect(maxBytes).toBeLessThan(16_000);
    expect(await collect(verifyTree(box, root))).toEqual([]);
  });

  test("in the hands of who builds it: one node a level, however many keys come", async () => {
    // What came in and stands in no node yet, by level.
    const inHand: number[] = [0];
    let most = 0;
    async function* items(): AsyncGenerator<KeyRef> {
      for (let index = 0; index < 40_000; index += 1) {
        inHand[0] = (inHand[0] ?? 0) + 1;
        most = Math.max(most, ...inHand);
        yield itemOf(`key-${String(index).padStart(9, "0")}`);
      }
    }
    const { keys } = await buildTree(items(), {
      put: async ({ bytes }) => {
        const { level, items: stored } = decodeNode(bytes);
        inHand[level] = (inHand[level] ?? 0) - stored.length;
        inHand[level + 1] = (inHand[level + 1] ?? 0) + 1;
      },
    });
    expect(keys).toBe(40_000);
    expect(inHand).toEqual([0, 0, 0, 1]);
    expect(most).toBeLessThan(1_500);
  });

  test("in the hands of who scans it: one way down, however many keys go by", async () => {
    const box = new TreeBox();
    const { root } = await buildTree(hashKeys(5_000, 9).map(itemOf), box);
    box.reads = 0;
    let ahead = 0;
    let seen = 0;
    for await (const _ of scanTree(box, root)) {
      seen += 1;
      // A leaf has 14 keys in the mean: whoever read ahead would have read far more than these.
      ahead = Math.max(ahead, box.reads - seen / 12);
    }
    expect(seen).toBe(5_000);
    expect(box.reads).toBe(box.blocks.size);
    expect(ahead).toBeLessThan(60);
  });
});
