import { hash } from "node:crypto";
import type { CID } from "multiformats/cid";
import { createCid, RAW_CODEC } from "../../src/lib/blocks/cid.ts";
import { FulaError } from "../../src/lib/kernel/errors.ts";
import type { NewBlock, NodeReader, NodeWriter } from "../../src/lib/buckets/tree/node-store.ts";
import type { ObjectEntry } from "../../src/lib/buckets/tree/object-entry.ts";

function keyOf(cid: CID): string {
  return Buffer.from(cid.multihash.bytes).toString("hex");
}

/** Blocks in memory, by their hashes as every block store keeps them, and a count of what was done to them. */
export class CountingBlocks implements NodeReader, NodeWriter {
  readonly blocks = new Map<string, Uint8Array>();
  reads = 0;
  puts = 0;
  putBytes = 0;

  async get(cid: CID): Promise<Uint8Array> {
    this.reads += 1;
    const bytes = this.blocks.get(keyOf(cid));
    if (bytes === undefined) throw new FulaError("FULA_BLOCK_MISSING", `Block ${cid.toString()} is not there.`);
    return await Promise.resolve(bytes);
  }

  async put({ cid, bytes }: NewBlock): Promise<void> {
    this.puts += 1;
    this.putBytes += bytes.byteLength;
    this.blocks.set(keyOf(cid), bytes);
    await Promise.resolve();
  }

  async putAll(blocks: readonly NewBlock[]): Promise<void> {
    for (const block of blocks) await this.put(block);
  }

  forgetCounts(): void {
    this.reads = 0;
    this.puts = 0;
    this.putBytes = 0;
  }

  has(cid: CID): boolean {
    return this.blocks.has(keyOf(cid));
  }
}

/** CID of a content that nobody has to have. */
export function contentCid(seed: string | number): CID {
  return createCid(RAW_CODEC, Buffer.from(`content ${seed}`));
}

/** The entry of an object, different for every seed. */
export function entryOf(seed: string | number, changes: Partial<ObjectEntry> = {}): ObjectEntry {
  const digest = hash("sha256", `entry ${seed}`, "buffer");
  return {
    content: contentCid(seed),
    sizeBytes: digest.readUInt32BE(0),
    modifiedMs: 1_790_000_000_000 + digest.readUInt16BE(4),
    etag: null,
    headers: {},
    metadata: {},
    checksums: {},
    tags: {},
    partSizes: [],
    ...changes,
  };
}

/** An entry to compare: CIDs that were read and CIDs that were made differ inside, not in what they name. */
export function plainEntry(entry: ObjectEntry | null | undefined): unknown {
  return entry === null || entry === undefined ? null : { ...entry, content: entry.content.toString() };
}
