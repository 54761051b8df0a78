import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type ContentPiece, dagBytesOf, joinContents } from "../../../src/lib/gateway/join-content.ts";
import { readContent, storeContent } from "../../../src/lib/gateway/unixfs.ts";
import { collect, cutAt } from "../../support/aws-chunks.ts";
import { readDagPbLinks } from "../../support/dag-links.ts";
import { MemoryBlocks } from "../../support/memory-blocks.ts";
import { property } from "../../support/property.ts";

async function store(bytes: Uint8Array, blocks: MemoryBlocks): Promise<ContentPiece> {
  const { root, sizeBytes } = await storeContent(cutAt(bytes, []), blocks);
  return { root, sizeBytes, dagBytes: await dagBytesOf(root, sizeBytes, blocks) };
}

function patterned(size: number, seed: number): Buffer {
  return Buffer.from(
    Uint8Array.from({ length: size }, (_, index) => (index * 31 + seed * 7 + (index >> 8) + (index >> 16) * 3) & 0xff),
  );
}

async function read(piece: ContentPiece, start: number, end: number, blocks: MemoryBlocks): Promise<Buffer> {
  return await collect(readContent(piece.root, { start, end }, blocks));
}

describe("joined contents", () => {
  test("are one file whose bytes are theirs, one after the other, also across their borders", async () => {
    const sizes = fc.array(fc.constantFrom(0, 1, 1_000, 262_144, 262_145, 600_000), { minLength: 1, maxLength: 5 });
    await fc.assert(
      fc.asyncProperty(sizes, fc.nat(), fc.nat(), async (all, from, to) => {
        const blocks = new MemoryBlocks();
        const parts = all.map(patterned);
        const pieces: ContentPiece[] = [];
        for (const part of parts) pieces.push(await store(part, blocks));
        const joined = await joinContents(pieces, blocks);
        const whole = Buffer.concat(parts);
        expect(joined.sizeBytes).toBe(whole.byteLength);
        if (whole.byteLength === 0) return;
        const [start = 0, end = 0] = [from % whole.byteLength, to % whole.byteLength].toSorted((a, b) => a - b);
        expect(Buffer.compare(await read(joined, start, end, blocks), whole.subarray(start, end + 1))).toBe(0);
      }),
      property(20),
    );
  });

  test("of ten thousand parts lie in nodes of 174 links at most, and a range reads only its own", async () => {
    const blocks = new MemoryBlocks();
    const pieces: ContentPiece[] = [];
    for (let part = 0; part < 10_000; part += 1) pieces.push(await store(Buffer.from(`part ${part};`), blocks));
    const joined = await joinContents(pieces, blocks);
    expect(readDagPbLinks(await blocks.get(joined.root))).toHaveLength(58);
    const offset = Array.from({ length: 9_876 }, (_, part) => `part ${part};`).join("").length;
    blocks.gets = 0;
    expect((await read(joined, offset, offset + 9, blocks)).toString()).toBe("part 9876;");
    expect(blocks.gets).toBeLessThan(10);
  });

  test("have a root that says how many bytes lie below it", async () => {
    const blocks = new MemoryBlocks();
    const pieces = [await store(patterned(600_000, 1), blocks), await store(patterned(300_000, 2), blocks)];
    const joined = await joinContents(pieces, blocks);
    const stored = [...blocks.blocks.values()].reduce((sum, bytes) => sum + bytes.byteLength, 0);
    expect(joined.dagBytes).toBe(stored);
    expect(await dagBytesOf(joined.root, joined.sizeBytes, blocks)).toBe(stored);
  });

  test("that are one are that one, and those without bytes leave no trace", async () => {
    const blocks = new MemoryBlocks();
    const empty = await store(Buffer.alloc(0), blocks);
    const one = await store(patterned(1_000, 1), blocks);
    expect(await joinContents([one], blocks)).toEqual(one);
    expect(await joinContents([empty, one, empty], blocks)).toEqual(one);
    expect(await joinContents([empty, empty], blocks)).toEqual(empty);
  });
});
