import * as dagCbor from "@ipld/dag-cbor";
import * as dagPb from "@ipld/dag-pb";
import { CID } from "multiformats/cid";
import { create as createDigest } from "multiformats/hashes/digest";
import { describe, expect, test } from "vitest";
import type { BlockStore } from "../../../src/lib/blocks/block-store.ts";
import { blockLinks, checkDag, type DagCheckOptions } from "../../../src/lib/blocks/dag.ts";
import { VisitedSet } from "../../../src/lib/blocks/visited-set.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { cidOfBytes, rawBytes, rawCid } from "../../support/pins.ts";

const UNKNOWN_CODEC = 0x30_00;

/** A block store in memory that counts what it is asked. */
class CountingStore implements BlockStore {
  readonly blocks = new Map<string, Uint8Array>();
  readonly gets: string[] = [];
  readonly looks: string[] = [];

  keep(cid: CID, bytes: Uint8Array): CID {
    this.blocks.set(cid.toString(), bytes);
    return cid;
  }

  raw(seed: string): CID {
    return this.keep(rawCid(seed), rawBytes(seed));
  }

  node(...children: readonly CID[]): CID {
    const bytes = dagPb.encode({ Links: children.map((Hash, number) => ({ Hash, Name: String(number), Tsize: 1 })) });
    return this.keep(cidOfBytes(bytes, dagPb.code), bytes);
  }

  cbor(value: unknown): CID {
    const bytes = dagCbor.encode(value);
    return this.keep(cidOfBytes(bytes, dagCbor.code), bytes);
  }

  async put(cid: CID, bytes: Uint8Array): Promise<void> {
    this.keep(cid, bytes);
  }

  async add(cid: CID, bytes: Uint8Array): Promise<null> {
    this.keep(cid, bytes);
    return await Promise.resolve(null);
  }

  async get(cid: CID): Promise<Uint8Array> {
    this.gets.push(cid.toString());
    const bytes = this.blocks.get(cid.toString());
    if (bytes === undefined) throw new FulaError("FULA_BLOCK_MISSING", `no ${cid.toString()}`);
    return bytes;
  }

  async find(cid: CID): Promise<Uint8Array | null> {
    return this.blocks.get(cid.toString()) ?? null;
  }

  async has(cid: CID): Promise<boolean> {
    this.looks.push(cid.toString());
    return this.blocks.has(cid.toString());
  }

  async delete(cid: CID): Promise<boolean> {
    return this.blocks.delete(cid.toString());
  }
}

async function check(store: BlockStore, root: CID, options?: DagCheckOptions): Promise<unknown> {
  return checkDag(root, store, options);
}

describe("blockLinks", () => {
  test("finds links anywhere in a dag-cbor node, in their order", () => {
    const [a, b, c] = [rawCid("a"), rawCid("b"), rawCid("c")];
    const value = { list: [1, [a, null, { deep: { deeper: b } }]], text: "x", again: c, bytes: new Uint8Array([1, 2]) };
    const bytes = dagCbor.encode(value);
    const found = blockLinks(cidOfBytes(bytes, dagCbor.code), bytes).map(String);
    expect(found).toEqual([a, b, c].map(String));
  });

  test("finds the links of a dag-pb node in their order", () => {
    const store = new CountingStore();
    const children = ["x", "y", "z"].map((seed) => store.raw(seed));
    const root = store.node(...children);
    expect(blockLinks(root, store.blocks.get(root.toString()) ?? new Uint8Array()).map(String)).toEqual(
      children.map(String),
    );
  });

  test("finds none in raw bytes, even where they look like a node", () => {
    const store = new CountingStore();
    const root = store.node(store.raw("x"));
    const bytes = store.blocks.get(root.toString()) ?? new Uint8Array();
    expect(blockLinks(cidOfBytes(bytes), bytes)).toEqual([]);
  });

  test("refuses bytes that are no such node, and a codec that it cannot read", () => {
    const bytes = new Uint8Array([0xff, 0x00, 0x13]);
    for (const codec of [dagPb.code, dagCbor.code, UNKNOWN_CODEC]) {
      expect(() => blockLinks(cidOfBytes(bytes, codec), bytes)).toThrow(
        expect.objectContaining({ code: "FULA_DAG_UNREADABLE" }),
      );
    }
  });
});

describe("checkDag", () => {
  test("of a whole tree finds nothing wrong", async () => {
    const store = new CountingStore();
    const root = store.node(store.node(store.raw("a"), store.raw("b")), store.cbor({ link: store.raw("c") }));
    expect(await check(store, root)).toEqual({
      blocks: 6,
      missing: 0,
      firstMissing: null,
      unreadable: 0,
      firstError: null,
    });
  });

  test("counts what is missing, at every level, and goes on past it", async () => {
    const store = new CountingStore();
    const leaf = store.raw("leaf");
    const branch = store.node(store.raw("x"));
    const root = store.node(branch, leaf, store.raw("kept"));
    await store.delete(leaf);
    await store.delete(branch);
    expect(await check(store, root)).toMatchObject({ blocks: 4, missing: 2, unreadable: 0 });
    await store.delete(root);
    expect(await check(store, root)).toMatchObject({ blocks: 1, missing: 1, firstMissing: root.toString() });
  });

  test("a node that cannot be read is an error, never a pass", async () => {
    const store = new CountingStore();
    const bytes = new Uint8Array([0xff]);
    const broken = store.keep(cidOfBytes(bytes, dagPb.code), bytes);
    expect(await check(store, store.node(broken, store.raw("a")))).toMatchObject({ missing: 0, unreadable: 1 });
    const unknown = store.keep(cidOfBytes(bytes, UNKNOWN_CODEC), bytes);
    expect(await check(store, unknown)).toMatchObject({ unreadable: 1 });
  });

  test("a store that fails is an error too, for leaves and for nodes", async () => {
    const store = new CountingStore();
    const root = store.node(store.raw("a"));
    store.has = async () => {
      throw new Error("disk on fire");
    };
    expect(await check(store, root)).toMatchObject({ missing: 0, unreadable: 1, firstError: "disk on fire" });
    expect(await check(store, rawCid("a"))).toMatchObject({ unreadable: 1 });
  });

  test("of the root alone looks no further, whatever its codec", async () => {
    const store = new CountingStore();
    const root = store.node(rawCid("never stored"));
    expect(await check(store, root, { recursive: false })).toMatchObject({ blocks: 1, missing: 0 });
    const unknown = store.keep(cidOfBytes(new Uint8Array([1]), UNKNOWN_CODEC), new Uint8Array([1]));
    expect(await check(store, unknown, { recursive: false })).toMatchObject({ blocks: 1, unreadable: 0 });
  });

  test("only looks whether leaves are there, unless it shall be deep", async () => {
    const store = new CountingStore();
    const root = store.node(store.raw("a"), store.raw("b"));
    await check(store, root);
    expect(store.gets).toEqual([root.toString()]);
    await check(store, root, { deep: true });
    expect(store.gets).toHaveLength(4);
  });

  test("finds bytes that rotted when it is deep", async () => {
    const store = new CountingStore();
    const leaf = store.raw("a");
    const root = store.node(leaf);
    const readTruly = store.get.bind(store);
    store.get = async (cid) => {
      if (cid.equals(leaf)) throw new FulaError("FULA_BLOCK_CORRUPT", "bytes do not match");
      return readTruly(cid);
    };
    expect(await check(store, root)).toMatchObject({ unreadable: 0 });
    expect(await check(store, root, { deep: true })).toMatchObject({ unreadable: 1, firstError: "bytes do not match" });
  });

  test("takes content that stands in the CID itself for there", async () => {
    const identity = CID.createV1(0x55, createDigest(0, new TextEncoder().encode("inline")));
    const store = new CountingStore();
    expect(await check(store, store.node(identity))).toMatchObject({ missing: 0, unreadable: 0 });
    const inlineNode = CID.createV1(dagCbor.code, createDigest(0, dagCbor.encode([rawCid("not there")])));
    expect(await check(store, inlineNode)).toMatchObject({ missing: 1 });
  });

  test("walks a node that many others name once, so that a graph of shared nodes ends", async () => {
    const store = new CountingStore();
    let node = store.node(store.raw("bottom"));
    // Each level names the one below twice: 2^60 paths.
    for (let level = 0; level < 60; level += 1) node = store.node(node, node);
    expect(await check(store, node)).toMatchObject({ blocks: 62, missing: 0 });
  });

  test("ends there as well when its memory is full", async () => {
    const store = new CountingStore();
    let node = store.node(store.raw("bottom"));
    for (let level = 0; level < 60; level += 1) node = store.node(node, node);
    expect(await check(store, node, { visited: new VisitedSet(5) })).toMatchObject({ blocks: 62 });
  });

  test("walks a chain of many thousand nodes without running out of stack", async () => {
    const store = new CountingStore();
    let node = store.cbor({ end: true });
    for (let level = 0; level < 20_000; level += 1) node = store.cbor({ level, next: node });
    expect(await check(store, node)).toMatchObject({ blocks: 20_001, missing: 0 });
  });

  test("reads a value nested deeper than the call stack", async () => {
    let nested: unknown = rawCid("at the bottom");
    for (let level = 0; level < 500; level += 1) nested = [nested];
    const store = new CountingStore();
    expect(await check(store, store.cbor(nested))).toMatchObject({ blocks: 2, missing: 1 });
  });

  test("stops when it is told to", async () => {
    const store = new CountingStore();
    const stop = AbortSignal.abort(new Error("enough"));
    await expect(check(store, store.node(store.raw("a")), { signal: stop })).rejects.toThrow("enough");
  });
});

describe("VisitedSet", () => {
  test("is the same set on both sides of its limit", () => {
    using set = new VisitedSet(10);
    const entries = Array.from({ length: 100 }, (_, number) => Uint8Array.of(number, 0, 255));
    expect(entries.map((entry) => set.add(entry))).toEqual(entries.map(() => true));
    expect(entries.map((entry) => set.add(entry))).toEqual(entries.map(() => false));
  });
});
