import * as dagCbor from "@ipld/dag-cbor";
import * as dagPb from "@ipld/dag-pb";
import type { CID } from "multiformats/cid";
import { beforeEach, expect, test } from "vitest";
import { measureDag } from "../../../src/lib/pinning/measure-dag.ts";
import { MemoryBlocks } from "../../support/memory-blocks.ts";
import { cidOfBytes, rawCid } from "../../support/pins.ts";

const { signal } = new AbortController();
let blocks: MemoryBlocks;
beforeEach(() => {
  blocks = new MemoryBlocks();
});

async function put(bytes: Uint8Array, codec?: number): Promise<{ readonly cid: CID; readonly size: bigint }> {
  const cid = cidOfBytes(bytes, codec);
  await blocks.put(cid, bytes);
  return { cid, size: BigInt(bytes.byteLength) };
}

/** A file that says what it likes of the sizes below it. */
async function file(links: readonly CID[], saysSize: number): ReturnType<typeof put> {
  return await put(
    dagPb.encode(dagPb.prepare({ Links: links.map((Hash) => ({ Hash, Tsize: saysSize, Name: "" })) })),
    dagPb.code,
  );
}

test("a content is as large as its blocks, whatever its links say of their sizes", async () => {
  const [a, b] = [await put(new Uint8Array(1_000).fill(1)), await put(new Uint8Array(2_000).fill(2))];
  const root = await file([a.cid, b.cid], 1);
  expect(await measureDag(root.cid.toString(), blocks, signal)).toBe(3_000n + root.size);
});

test("a block counts once, however often and under whichever codec it is named", async () => {
  const leaf = await put(new Uint8Array(1_000).fill(1));
  const below = await file([leaf.cid, leaf.cid], 1_000);
  const root = await file([below.cid, below.cid, leaf.cid], 9_000);
  expect(await measureDag(root.cid.toString(), blocks, signal)).toBe(1_000n + below.size + root.size);
  const cbor = await put(dagCbor.encode({ a: 1 }), dagCbor.code);
  const both = await file([cbor.cid, cidOfBytes(dagCbor.encode({ a: 1 }))], 1);
  expect(await measureDag(both.cid.toString(), blocks, signal)).toBe(cbor.size + both.size);
});

test("what is not all there has no size", async () => {
  const root = await file([rawCid("missing")], 1);
  await expect(measureDag(root.cid.toString(), blocks, signal)).rejects.toMatchObject({ code: "FULA_BLOCK_MISSING" });
});

test("measuring ends when it is told to", async () => {
  const leaf = await put(new Uint8Array(10));
  const end = new AbortController();
  end.abort(new Error("enough"));
  await expect(measureDag(leaf.cid.toString(), blocks, end.signal)).rejects.toThrow("enough");
});
