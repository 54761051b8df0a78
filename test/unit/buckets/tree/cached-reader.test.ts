import type { CID } from "multiformats/cid";
import { describe, expect, test } from "vitest";
import { createCid, RAW_CODEC } from "../../../../src/lib/blocks/cid.ts";
import { CachedReader } from "../../../../src/lib/buckets/tree/cached-reader.ts";
import type { NewBlock } from "../../../../src/lib/buckets/tree/node-store.ts";
import { TreeBox } from "../../../support/tree-box.ts";

function blockOf(text: string, sizeBytes = 100): NewBlock {
  const bytes = Buffer.alloc(sizeBytes, text);
  return { cid: createCid(RAW_CODEC, bytes), bytes };
}

async function boxOf(...blocks: readonly NewBlock[]): Promise<TreeBox> {
  const box = new TreeBox();
  for (const block of blocks) await box.put(block);
  return box;
}

const length = (_: CID, bytes: Uint8Array): number => bytes.byteLength;

describe("a reader with a cache", () => {
  test("asks for a block once, and decodes it once", async () => {
    const block = blockOf("a");
    const box = await boxOf(block);
    const reader = new CachedReader(box, 1e6);
    let decoded = 0;
    const count = (): number => {
      decoded += 1;
      return decoded;
    };
    expect([...(await reader.get(block.cid))]).toEqual([...block.bytes]);
    expect([await reader.decoded(block.cid, count), await reader.decoded(block.cid, count)]).toEqual([1, 1]);
    expect({ reads: box.reads, decoded }).toEqual({ reads: 1, decoded: 1 });
  });

  test("never gives what another decoder made of a block", async () => {
    const block = blockOf("a");
    const reader = new CachedReader(await boxOf(block), 1e6);
    expect(await reader.decoded(block.cid, length)).toBe(100);
    expect(await reader.decoded(block.cid, (cid) => cid.toString())).toBe(block.cid.toString());
    expect(await reader.decoded(block.cid, length)).toBe(100);
  });

  test("keeps no more than it may", async () => {
    const blocks = Array.from({ length: 50 }, (_, index) => blockOf(`${index} `, 1_000));
    const box = await boxOf(...blocks);
    const reader = new CachedReader(box, 10_000);
    for (const { cid } of blocks) await reader.get(cid);
    box.reads = 0;
    for (const { cid } of blocks.toReversed()) await reader.get(cid);
    expect(box.reads).toBeGreaterThanOrEqual(41);
    expect(box.reads).toBeLessThan(50);
  });

  test("passes on a block that is larger than all it may keep", async () => {
    const block = blockOf("large", 5_000);
    const box = await boxOf(block);
    const reader = new CachedReader(box, 1_000);
    expect(await reader.decoded(block.cid, length)).toBe(5_000);
    expect(await reader.decoded(block.cid, length)).toBe(5_000);
    expect(box.reads).toBe(2);
  });

  test("asks again for what was not there or did not decode", async () => {
    const block = blockOf("late");
    const box = await boxOf();
    const reader = new CachedReader(box, 1e6);
    await expect(reader.get(block.cid)).rejects.toMatchObject({ code: "FULA_BLOCK_MISSING" });
    await box.put(block);
    const refuse = (): never => {
      throw new Error("refused");
    };
    await expect(reader.decoded(block.cid, refuse)).rejects.toThrow("refused");
    expect(await reader.decoded(block.cid, length)).toBe(100);
  });

  test("has a block that was added without asking for it", async () => {
    const block = blockOf("new");
    const box = await boxOf();
    const reader = new CachedReader(box, 1e6);
    reader.add(block);
    expect(await reader.decoded(block.cid, length)).toBe(100);
    expect(box.reads).toBe(0);
  });
});
