import * as dagCbor from "@ipld/dag-cbor";
import { MemoryBlockstore, MST } from "@atproto/repo";
import { ShardBlock } from "@web3-storage/pail/shard";
import { MemoryBlockstore as PailBlocks } from "@web3-storage/pail/block";
import { put as putInPail } from "@web3-storage/pail";
import type { ShardLink } from "@web3-storage/pail/api";
import * as pailBatch from "@web3-storage/pail/batch";
import type { CID } from "multiformats/cid";
import { sha256 } from "multiformats/hashes/sha2";
import { nocache } from "prolly-trees/cache";
import { create, type ProllyBlock, type ProllyItem, type ProllyNode } from "prolly-trees/map";
import { bf, simpleCompare } from "prolly-trees/utils";
import { createCid } from "../../src/lib/blocks/cid.ts";
import { blockLinks } from "../../src/lib/blocks/dag.ts";
import { entryToTuple } from "../../src/lib/buckets/tree/entry-codec.ts";
import type { ObjectEntry } from "../../src/lib/buckets/tree/object-entry.ts";
import { contentCid } from "../support/index-blocks.ts";
import { type Cost, type FlushContestant, hashedKey } from "../support/index-flushes.ts";

/** Counts what is put; what is there already is not put again. */
class Puts {
  readonly #seen = new Set<string>();
  #puts = 0;
  #bytes = 0;

  add(cid: { toString(): string }, bytes: Uint8Array): void {
    const text = cid.toString();
    if (this.#seen.has(text)) return;
    this.#seen.add(text);
    this.#puts += 1;
    this.#bytes += bytes.byteLength;
  }

  cost(): Cost {
    return { puts: this.#puts, bytes: this.#bytes };
  }
}

/** The entry as a block of its own: for trees that hold links. */
function entryBlock(entry: ObjectEntry): { readonly cid: CID; readonly bytes: Uint8Array } {
  const bytes = dagCbor.encode(entryToTuple(entry));
  return { cid: createCid(dagCbor.code, bytes), bytes };
}

/** Its keys have a collection and a name. */
function mstKey(key: string): string {
  return `o/${key.replaceAll("/", ":")}`;
}

/** The merkle search tree of AT Protocol repositories. */
export async function atprotoMst(count: number): Promise<FlushContestant> {
  const storage = new MemoryBlockstore();
  const puts = new Puts();
  let tree = await MST.create(storage);
  for (let n = 0; n < count; n += 1) tree = await tree.add(mstKey(hashedKey(n)), contentCid(n));
  const first = await tree.getUnstoredBlocks();
  await storage.putMany(first.blocks);
  return {
    name: "@atproto/repo MST",
    cost: () => puts.cost(),
    flush: async (key, entry) => {
      const value = entryBlock(entry);
      tree = await tree.add(mstKey(key), value.cid);
      const { blocks } = await tree.getUnstoredBlocks();
      await storage.putMany(blocks);
      puts.add(value.cid, value.bytes);
      for (const { cid, bytes } of blocks.entries()) puts.add(cid, bytes);
    },
  };
}

/** The trie of sharded prefixes of web3.storage. */
export async function pail(count: number): Promise<FlushContestant> {
  const storage = new PailBlocks();
  const puts = new Puts();
  const empty = await ShardBlock.create();
  storage.putSync(empty.cid, empty.bytes);
  let root: ShardLink = empty.cid;
  if (count > 0) {
    const batch = await pailBatch.create(storage, root);
    for (let n = 0; n < count; n += 1) await batch.put(hashedKey(n), contentCid(n));
    const made = await batch.commit();
    for (const { cid, bytes } of made.additions) storage.putSync(cid, bytes);
    root = made.root;
  }
  return {
    name: "@web3-storage/pail",
    cost: () => puts.cost(),
    flush: async (key, entry) => {
      const value = entryBlock(entry);
      puts.add(value.cid, value.bytes);
      const made = await putInPail(storage, root, key, value.cid);
      for (const { cid, bytes } of made.additions) {
        storage.putSync(cid, bytes);
        puts.add(cid, bytes);
      }
      root = made.root;
    },
  };
}

/** Blocks by their CIDs, of which only those count that a root names: a prolly tree hands out its attempts as well. */
class ProllyBlocks {
  readonly puts = new Puts();
  readonly #stored = new Map<string, ProllyBlock>();

  readonly get = async (cid: CID): Promise<ProllyBlock> => {
    const block = this.#stored.get(cid.toString());
    if (block === undefined) throw new Error(`${cid.toString()} was never put`);
    return await Promise.resolve(block);
  };

  store(blocks: Iterable<ProllyBlock>): void {
    for (const block of blocks) this.#stored.set(block.cid.toString(), block);
  }

  /** Counts what of these blocks the root leads to. */
  count(root: ProllyBlock, made: readonly ProllyBlock[]): void {
    const ours = new Map([root, ...made].map((block) => [block.cid.toString(), block]));
    const reached = new Map([[root.cid.toString(), root]]);
    for (const { cid, bytes } of reached.values()) {
      this.puts.add(cid, bytes);
      for (const link of blockLinks(cid, bytes)) {
        const block = ours.get(link.toString());
        if (block !== undefined) reached.set(link.toString(), block);
      }
    }
  }
}

/** A prolly tree with the entries in its leaves, of so many items a node on average. */
export async function prollyTree(factor: number, count: number): Promise<FlushContestant> {
  const blocks = new ProllyBlocks();
  const chunker = bf(factor);
  const build = async (list: readonly ProllyItem[]): Promise<ProllyNode> => {
    let last: ProllyNode | null = null;
    const options = {
      get: blocks.get,
      cache: nocache,
      chunker,
      codec: dagCbor,
      hasher: sha256,
      compare: simpleCompare,
    };
    for await (const node of create({ ...options, list, sorted: true })) {
      blocks.store([await node.block]);
      last = node;
    }
    if (last === null) throw new Error("a prolly tree has one item at least");
    return last;
  };
  const keys = Array.from({ length: count }, (_none, n) => hashedKey(n)).toSorted();
  let root = count === 0 ? null : await build(keys.map((key, n) => ({ key, value: contentCid(n) })));
  return {
    name: `prolly-trees bf(${factor})`,
    cost: () => blocks.puts.cost(),
    flush: async (key, entry) => {
      const item = { key, value: entryToTuple(entry) };
      if (root === null) {
        root = await build([item]);
        blocks.count(await root.block, []);
        return;
      }
      const made = await root.bulk([item]);
      root = made.root;
      const block = await root.block;
      blocks.store([block, ...made.blocks]);
      blocks.count(block, made.blocks);
    },
  };
}
