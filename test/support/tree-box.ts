import type { CID } from "multiformats/cid";
import { createCid, RAW_CODEC } from "../../src/lib/blocks/cid.ts";
import { buildTree } from "../../src/lib/buckets/tree/build-tree.ts";
import { compareKeys } from "../../src/lib/buckets/tree/key.ts";
import type { NewBlock, NodeReader, NodeWriter } from "../../src/lib/buckets/tree/node-store.ts";
import type { EntryRef, KeyRef } from "../../src/lib/buckets/tree/object-entry.ts";
import { scanTree } from "../../src/lib/buckets/tree/scan-tree.ts";
import { FulaError } from "../../src/lib/kernel/errors.ts";

/** Blocks of an index in memory. Counts reads and writes, and refuses a block that names one that is not there. */
export class TreeBox implements NodeReader, NodeWriter {
  readonly blocks = new Map<string, NewBlock>();
  reads = 0;
  /** Every put, in order. */
  readonly puts: NewBlock[] = [];

  async get(cid: CID): Promise<Uint8Array> {
    this.reads += 1;
    const block = this.blocks.get(cid.toString());
    if (block === undefined) throw new FulaError("FULA_BLOCK_MISSING", `No block ${cid.toString()}.`);
    return block.bytes;
  }

  async put(block: NewBlock): Promise<void> {
    this.puts.push(block);
    this.blocks.set(block.cid.toString(), block);
  }
}

/** What a key stands for, drawn from `seed`: the same for the same arguments. */
export function refOf(key: string, seed = 0): EntryRef {
  const name = Buffer.from(`${seed}:${key}`);
  return {
    entry: createCid(RAW_CODEC, Buffer.concat([Buffer.from("entry "), name])),
    content: createCid(RAW_CODEC, name),
    sizeBytes: seed * 1_000 + key.length,
    modifiedMs: 1_764_000_000_000 + seed,
    etag: seed % 3 === 0 ? null : `${"0".repeat(31)}${seed % 10}-${seed}`,
  };
}

/** A tree as a map: what the real one is held against. */
export type Model = ReadonlyMap<string, EntryRef>;

/** The keys of a model, in the order of a tree. */
export function sortedItems(model: Model): KeyRef[] {
  return [...model].map(([key, ref]) => ({ key, ref })).toSorted((a, b) => compareKeys(a.key, b.key));
}

/** The root of the tree that has what the model has, built at once. */
export async function rootOf(model: Model, box: TreeBox = new TreeBox()): Promise<CID> {
  return (await buildTree(sortedItems(model), box)).root;
}

/** Everything that comes out of a scan and the like. */
export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** A tree's keys and refs as text, to compare. */
export async function listed(reader: NodeReader, root: CID): Promise<readonly string[]> {
  return (await collect(scanTree(reader, root))).map(shown);
}

/** A key and its ref as text. */
export function shown({ key, ref }: KeyRef): string {
  return JSON.stringify([key, ref.entry.toString(), ref.content.toString(), ref.sizeBytes, ref.modifiedMs, ref.etag]);
}
