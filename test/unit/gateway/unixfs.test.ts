import { createHash } from "node:crypto";
import fc from "fast-check";
import { base32 } from "multiformats/bases/base32";
import { CID } from "multiformats/cid";
import { describe, expect, test } from "vitest";
import { readContent, storeContent, UNIXFS_PROFILE } from "../../../src/lib/gateway/unixfs.ts";
import { collect, cutAt } from "../../support/aws-chunks.ts";
import { MemoryBlocks } from "../../support/memory-blocks.ts";
import { property } from "../../support/property.ts";

async function rootOf(bytes: Uint8Array): Promise<string> {
  return (await storeContent(cutAt(bytes, []), new MemoryBlocks())).root.toString();
}

// A second, independent encoder of the same profile, written from the specifications: protobuf, dag-pb
// (https://ipld.io/specs/codecs/dag-pb/spec/) and UnixFS (https://specs.ipfs.tech/unixfs/).
function varint(value: number): Buffer {
  const bytes: number[] = [];
  let left = value;
  for (; left > 0x7f; left = Math.floor(left / 128)) bytes.push((left % 128) | 0x80);
  return Buffer.from([...bytes, left]);
}

function lengthPrefixed(tag: number, bytes: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(tag), varint(bytes.byteLength), bytes]);
}

function cidBytes(codec: number, block: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(0x01, codec, 0x12, 0x20), createHash("sha256").update(block).digest()]);
}

interface Part {
  readonly cid: Buffer;
  readonly fileBytes: number;
  readonly treeBytes: number;
}

function nodeOf(parts: readonly Part[]): Part {
  const fileBytes = parts.reduce((sum, part) => sum + part.fileBytes, 0);
  const links = parts.map(({ cid, treeBytes }) =>
    lengthPrefixed(0x12, Buffer.concat([lengthPrefixed(0x0a, cid), Buffer.of(0x12, 0x00, 0x18), varint(treeBytes)])),
  );
  const sizes = parts.map((part) => Buffer.concat([Buffer.of(0x20), varint(part.fileBytes)]));
  const data = Buffer.concat([Buffer.of(0x08, 0x02, 0x18), varint(fileBytes), ...sizes]);
  const block = Buffer.concat([...links, lengthPrefixed(0x0a, data)]);
  const treeBytes = block.byteLength + parts.reduce((sum, part) => sum + part.treeBytes, 0);
  return { cid: cidBytes(0x70, block), fileBytes, treeBytes };
}

function independentRoot(bytes: Uint8Array): string {
  let level: Part[] = [];
  for (let offset = 0; offset === 0 || offset < bytes.byteLength; offset += 262_144) {
    const leaf = bytes.subarray(offset, offset + 262_144);
    level.push({ cid: cidBytes(0x55, leaf), fileBytes: leaf.byteLength, treeBytes: leaf.byteLength });
  }
  while (level.length > 1) {
    const parents: Part[] = [];
    for (let index = 0; index < level.length; index += 174) parents.push(nodeOf(level.slice(index, index + 174)));
    level = parents;
  }
  return base32.encode(level[0]?.cid ?? Buffer.alloc(0));
}

function patterned(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let index = 0; index < length; index += 1)
    bytes[index] = (index * 31 + (index >> 8) * 17 + (index >> 16) * 7) & 0xff;
  return bytes;
}

describe("stored content has the CID that ipfs add --cid-version=1 gives", () => {
  // From Kubo's own tests (test/sharness/t0040-add-and-cat.sh) and other published outputs of the command.
  test.each([
    ["nothing", Buffer.alloc(0), "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"],
    ["Hello Mars!", Buffer.from("Hello Mars!\n"), "bafkreibmlvvgdyihetgocpof6xk64kjjzdeq2e4c7hqs3krdheosk4tgj4"],
    ["Hello Venus!", Buffer.from("Hello Venus!\n"), "bafkreihfsphazrk2ilejpekyltjeh5k4yvwgjuwg26ueafohqioeo3sdca"],
    [
      "hello world without a line end",
      Buffer.from("hello world"),
      "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e",
    ],
    ["hello world", Buffer.from("hello world\n"), "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4"],
    ["1 MiB of zeros", Buffer.alloc(1_048_576), "bafybeiggzq4ryi7hscq5hzvzcnk4urnxt3asp37dhgvnjilf7exskximla"],
  ])("%s", async (_what, bytes, expected) => {
    expect(await rootOf(bytes)).toBe(expected);
    expect(independentRoot(bytes)).toBe(expected);
  });

  test.each([
    ["one byte less than a chunk", 262_143],
    ["one chunk", 262_144],
    ["one byte more than a chunk", 262_145],
    ["as many chunks as one node holds", 262_144 * 174],
    ["one byte more than one node holds", 262_144 * 174 + 1],
  ])("%s", async (_what, length) => {
    const bytes = patterned(length);
    expect(await rootOf(bytes)).toBe(independentRoot(bytes));
  });

  test("however the bytes arrive", async () => {
    const bytes = patterned(600_000);
    const expected = independentRoot(bytes);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(600_000), { maxLength: 30 }), async (cuts) => {
        const stored = await storeContent(cutAt(bytes, cuts), new MemoryBlocks());
        expect(stored.root.toString()).toBe(expected);
        expect(stored.sizeBytes).toBe(600_000);
      }),
      property(25),
    );
  });
});

describe("stored content", () => {
  test("gives any range of itself back", async () => {
    const bytes = patterned(3_000_000);
    const blocks = new MemoryBlocks();
    const { root } = await storeContent(cutAt(bytes, []), blocks);
    await fc.assert(
      fc.asyncProperty(fc.nat(2_999_999), fc.nat(2_999_999), async (a, b) => {
        const [start, end] = [Math.min(a, b), Math.max(a, b)];
        const read = await collect(readContent(root, { start, end }, blocks));
        expect(read.equals(bytes.subarray(start, end + 1))).toBe(true);
      }),
      property(100),
    );
  });

  test("of nothing is read as nothing, but its block must be there", async () => {
    const blocks = new MemoryBlocks();
    const { root } = await storeContent(cutAt(new Uint8Array(0), []), blocks);
    expect((await collect(readContent(root, { start: 0, end: -1 }, blocks))).byteLength).toBe(0);
    blocks.blocks.clear();
    await expect(collect(readContent(root, { start: 0, end: -1 }, blocks))).rejects.toMatchObject({
      code: "FULA_BLOCK_MISSING",
    });
  });

  test("is read only as far as the reader takes it, so that a slow client holds no whole object in memory", async () => {
    const blocks = new MemoryBlocks();
    const { root } = await storeContent(cutAt(patterned(262_144 * 100), []), blocks);
    blocks.gets = 0;
    const reading = readContent(root, { start: 0, end: 262_144 * 100 - 1 }, blocks);
    await reading.next();
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    // Two MiB are eight chunks; the root, and one chunk too many at the window's edge, come on top.
    expect(blocks.gets).toBeLessThanOrEqual(12);
    await reading.return(undefined);
  });

  test("that lacks a block in the middle ends with an error and never short", async () => {
    const bytes = patterned(262_144 * 20);
    const blocks = new MemoryBlocks();
    const { root } = await storeContent(cutAt(bytes, []), blocks);
    const lost = CID.createV1(0x55, CID.decode(cidBytes(0x55, bytes.subarray(262_144 * 15, 262_144 * 16))).multihash);
    await blocks.delete(lost);
    let received = 0;
    const reading = async (): Promise<void> => {
      for await (const piece of readContent(root, { start: 0, end: bytes.byteLength - 1 }, blocks))
        received += piece.byteLength;
    };
    await expect(reading()).rejects.toMatchObject({ code: "FULA_BLOCK_MISSING" });
    expect(received).toBeLessThan(bytes.byteLength);
    expect(received).toBeGreaterThan(0);
  });

  test("that a stream refuses at its end has no root", async () => {
    const refused = async function* (): AsyncGenerator<Uint8Array> {
      yield patterned(300_000);
      throw new Error("refused at the end");
    };
    await expect(storeContent(refused(), new MemoryBlocks())).rejects.toThrow("refused at the end");
  });
});

test("the profile is the one that docs and decision record name", () => {
  expect(UNIXFS_PROFILE).toEqual({ cidVersion: 1, rawLeaves: true, chunkBytes: 262_144, maxChildren: 174 });
});
