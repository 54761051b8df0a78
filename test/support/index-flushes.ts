import { hash } from "node:crypto";
import { base58btc } from "multiformats/bases/base58";
import type { BucketIndex } from "../../src/lib/buckets/tree/bucket-index.ts";
import { buildTree } from "../../src/lib/buckets/tree/build-tree.ts";
import { adoptBase, compactIndex, needsCompaction } from "../../src/lib/buckets/tree/compact-index.ts";
import { encodedEntryBytes } from "../../src/lib/buckets/tree/log-block.ts";
import type { KeyRef, ObjectEntry } from "../../src/lib/buckets/tree/object-entry.ts";
import { emptyIndexBlock, openBucketIndex } from "../../src/lib/buckets/tree/open-index.ts";
import { contentCid, CountingBlocks, entryOf } from "./index-blocks.ts";

/** Default of `buckets.compactAfter`. */
export const COMPACT_AFTER = 96;
/** An entry as the existing fleet has it, in bytes. */
const ENTRY_BYTES = 1_074;
const KEY_CHARACTERS = 46;

/** The n-th key: 46 characters that say nothing, like the hashed names that encrypting clients give their files. */
export function hashedKey(n: number): string {
  const letters = base58btc.encode(hash("sha512", `key ${n}`, "buffer")).slice(1);
  return `Qm${letters.slice(0, KEY_CHARACTERS - 2)}`;
}

/** The n-th key: 46 characters that count up, like names that a camera gives. */
export function numberedKey(n: number): string {
  const folder = "photos/2026/holiday/";
  return `${folder}${String(n).padStart(KEY_CHARACTERS - folder.length, "0")}`;
}

/** The n-th entry, of exactly 1,074 bytes. */
export function fleetEntry(n: number): ObjectEntry {
  const bare = entryOf(n, { metadata: { fill: "" } });
  // A text of that length takes two bytes more for its own length.
  const missing = ENTRY_BYTES - encodedEntryBytes(bare) - 2;
  return { ...bare, metadata: { fill: "x".repeat(missing) } };
}

/** PUTs and bytes of something. */
export interface Cost {
  readonly puts: number;
  readonly bytes: number;
}

/** A structure that takes one entry a flush, and counts what it puts. */
export interface FlushContestant {
  readonly name: string;
  cost(): Cost;
  flush(key: string, entry: ObjectEntry): Promise<void>;
}

/** Our index with one writer, which compacts as soon as it is due. */
export class OwnIndex implements FlushContestant {
  readonly name = "fula-master";
  readonly blocks: CountingBlocks;
  index: BucketIndex;
  readonly #compactAfter: number;

  private constructor(index: BucketIndex, blocks: CountingBlocks, compactAfter: number) {
    this.index = index;
    this.blocks = blocks;
    this.#compactAfter = compactAfter;
  }

  /** With the first `count` keys in its base. What that took is not counted. */
  static async holding(count: number, compactAfter: number = COMPACT_AFTER): Promise<OwnIndex> {
    const blocks = new CountingBlocks();
    await blocks.put(emptyIndexBlock());
    const keys = Array.from({ length: count }, (_none, n) => hashedKey(n)).toSorted();
    function* refs(): Generator<KeyRef> {
      for (const key of keys) {
        const { content, sizeBytes, modifiedMs, etag } = entryOf(key);
        yield { key, ref: { entry: contentCid(`entry of ${key}`), content, sizeBytes, modifiedMs, etag } };
      }
    }
    const { root } = await buildTree(refs(), blocks);
    const index = await openBucketIndex(root, blocks);
    blocks.forgetCounts();
    return new OwnIndex(index, blocks, compactAfter);
  }

  cost(): Cost {
    return { puts: this.blocks.puts, bytes: this.blocks.putBytes };
  }

  async flush(key: string, entry: ObjectEntry): Promise<void> {
    const next = await this.index.append([{ key, entry }]);
    await this.blocks.putAll(next.blocks);
    this.index = next.index;
    if (needsCompaction(this.index, this.#compactAfter)) await this.#compact();
  }

  /**
   * Blocks that are read to find a key with its entry when nothing is in memory but the root's name. The base that this
   * began with has no entries; each would be one block more.
   */
  async coldReads(key: string): Promise<number> {
    const before = this.blocks.reads;
    await (await openBucketIndex(this.index.root, this.blocks)).findRef(key);
    const { changes } = await this.index.log();
    return this.blocks.reads - before + (changes.has(key) ? 0 : 1);
  }

  async #compact(): Promise<void> {
    const compacted = await compactIndex(this.index, { reader: this.blocks, writer: this.blocks });
    const adopted = compacted === null ? null : await adoptBase(compacted, this.index, { reader: this.blocks });
    if (adopted === null) throw new Error("a compaction without a competitor was not adopted");
    await this.blocks.putAll(adopted.blocks);
    this.index = adopted.index;
  }
}

/** What flushes number `from` to `to - 1` cost. */
export async function costOfFlushes(
  contestant: FlushContestant,
  from: number,
  to: number,
  keyOf: (n: number) => string = hashedKey,
): Promise<Cost> {
  const before = contestant.cost();
  for (let n = from; n < to; n += 1) await contestant.flush(keyOf(n), fleetEntry(n));
  const after = contestant.cost();
  return { puts: after.puts - before.puts, bytes: after.bytes - before.bytes };
}
