import { base58btc } from "multiformats/bases/base58";
import { CID } from "multiformats/cid";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { BLOCK_BYTES_MAX, type BlockStore } from "../../src/lib/blocks/block-store.ts";
import { BLAKE3, DAG_PB_CODEC, IDENTITY, RAW_CODEC, createCid } from "../../src/lib/blocks/cid.ts";
import { blake3 } from "@noble/hashes/blake3.js";
import { create as createMultihash } from "multiformats/hashes/digest";

/** A store under test, empty. */
export interface StoreUnderTest {
  readonly store: BlockStore;
  close(): Promise<void>;
}

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

/** What every `BlockStore` must do; run on each adapter. */
export function describeBlockStore(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(`${name} keeps the contract of a block store`, () => {
    let under: StoreUnderTest;
    let store: BlockStore;
    beforeEach(async () => {
      under = await open();
      store = under.store;
    });
    afterEach(async () => {
      await under.close();
    });

    test("bytes come back as they were put, whatever they are and how many", async () => {
      for (const length of [0, 1, 255, 4_096, 262_144, BLOCK_BYTES_MAX]) {
        const bytes = new Uint8Array(length).map((_, index) => (index * 31 + length) % 256);
        const cid = createCid(RAW_CODEC, bytes);
        await store.put(cid, bytes);
        expect(Buffer.compare(await store.get(cid), bytes), `${length} bytes`).toBe(0);
      }
    });

    test("a block that was never put is missing, by has, get and delete alike", async () => {
      const cid = createCid(RAW_CODEC, text("never stored"));
      expect(await store.has(cid)).toBe(false);
      expect(await store.delete(cid)).toBe(false);
      await expect(store.get(cid)).rejects.toMatchObject({ code: "FULA_BLOCK_MISSING" });
    });

    test("bytes that do not hash to their CID are refused and nothing is stored", async () => {
      const cid = createCid(RAW_CODEC, text("the real bytes"));
      await expect(store.put(cid, text("the real byteS"))).rejects.toMatchObject({ code: "FULA_BLOCK_MISMATCH" });
      await expect(store.put(cid, text("the real byte"))).rejects.toMatchObject({ code: "FULA_BLOCK_MISMATCH" });
      await expect(store.put(cid, new Uint8Array())).rejects.toMatchObject({ code: "FULA_BLOCK_MISMATCH" });
      expect(await store.has(cid)).toBe(false);
    });

    test("a block one byte above the limit is refused and nothing is stored", async () => {
      const bytes = new Uint8Array(BLOCK_BYTES_MAX + 1);
      const cid = createCid(RAW_CODEC, bytes);
      await expect(store.put(cid, bytes)).rejects.toMatchObject({ code: "FULA_BLOCK_TOO_LARGE" });
      expect(await store.has(cid)).toBe(false);
    });

    test("a hash function that nobody here can compute is refused", async () => {
      const sha1 = CID.createV1(RAW_CODEC, createMultihash(0x11, new Uint8Array(20)));
      await expect(store.put(sha1, text("anything"))).rejects.toMatchObject({ code: "FULA_CID_UNSUPPORTED" });
    });

    test("every CID of the same multihash names the same block", async () => {
      const bytes = text("one block, many names");
      const v1raw = createCid(RAW_CODEC, bytes);
      const v1pb = CID.createV1(DAG_PB_CODEC, v1raw.multihash);
      const v0 = CID.parse(base58btc.encode(v1raw.multihash.bytes).slice(1));
      await store.put(v0, bytes);
      for (const cid of [v1raw, v1pb, v0]) {
        expect(await store.has(cid)).toBe(true);
        expect(Buffer.from(await store.get(cid)).toString()).toBe("one block, many names");
      }
      expect(await store.delete(v1pb)).toBe(true);
      expect(await store.has(v0)).toBe(false);
    });

    test("BLAKE3 blocks are verified like SHA2-256 ones", async () => {
      const bytes = text("hashed by blake3");
      const cid = CID.createV1(RAW_CODEC, createMultihash(BLAKE3, blake3(bytes)));
      await expect(store.put(cid, text("hashed by blake2"))).rejects.toMatchObject({ code: "FULA_BLOCK_MISMATCH" });
      await store.put(cid, bytes);
      expect(Buffer.from(await store.get(cid)).toString()).toBe("hashed by blake3");
    });

    test("an identity CID is its own block", async () => {
      const cid = CID.createV1(RAW_CODEC, createMultihash(IDENTITY, text("tiny")));
      expect(await store.has(cid)).toBe(true);
      expect(Buffer.from(await store.get(cid)).toString()).toBe("tiny");
      await store.put(cid, text("tiny"));
      await expect(store.put(cid, text("tinz"))).rejects.toMatchObject({ code: "FULA_BLOCK_MISMATCH" });
      expect(await store.delete(cid)).toBe(false);
    });

    test("a second put of the same block changes nothing, and one delete removes it", async () => {
      const bytes = text("twice");
      const cid = createCid(RAW_CODEC, bytes);
      await store.put(cid, bytes);
      await store.put(cid, bytes);
      expect(await store.delete(cid)).toBe(true);
      expect(await store.delete(cid)).toBe(false);
      expect(await store.has(cid)).toBe(false);
    });

    test("many puts of one block at the same time leave one whole block", async () => {
      const bytes = new Uint8Array(500_000).fill(7);
      const cid = createCid(RAW_CODEC, bytes);
      await Promise.all(Array.from({ length: 16 }, async () => store.put(cid, bytes)));
      expect(Buffer.compare(await store.get(cid), bytes)).toBe(0);
      expect(await store.delete(cid)).toBe(true);
      expect(await store.has(cid)).toBe(false);
    });

    test("an aborted signal ends a put before it stores and a get before it reads", async () => {
      const bytes = text("not now");
      const cid = createCid(RAW_CODEC, bytes);
      await expect(store.put(cid, bytes, AbortSignal.abort(new Error("stop")))).rejects.toThrow("stop");
      expect(await store.has(cid)).toBe(false);
      await store.put(cid, bytes);
      await expect(store.get(cid, AbortSignal.abort(new Error("stop")))).rejects.toThrow("stop");
    });
  });
}
