import fc from "fast-check";
import { CID } from "multiformats/cid";
import { describe, expect, test } from "vitest";
import { blockLinks } from "../../../../src/lib/blocks/dag.ts";
import type { BucketIndex, IndexChange } from "../../../../src/lib/buckets/tree/bucket-index.ts";
import { buildTree } from "../../../../src/lib/buckets/tree/build-tree.ts";
import {
  adoptBase,
  type CompactedBase,
  compactIndex,
  needsCompaction,
} from "../../../../src/lib/buckets/tree/compact-index.ts";
import { compareKeys } from "../../../../src/lib/buckets/tree/key.ts";
import type { KeyRef, ObjectEntry } from "../../../../src/lib/buckets/tree/object-entry.ts";
import { emptyIndexBlock, openBucketIndex } from "../../../../src/lib/buckets/tree/open-index.ts";
import { contentCid, CountingBlocks, entryOf, plainEntry } from "../../../support/index-blocks.ts";
import { property, PROPERTY_TIMEOUT_MS } from "../../../support/property.ts";

type Step =
  | { readonly kind: "flush"; readonly changes: readonly (readonly [string, boolean])[] }
  | { readonly kind: "compact" }
  | { readonly kind: "adopt" };

const anyKey = fc.stringMatching(/^[a-e]{1,3}$/);
const anyStep = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("flush" as const),
      changes: fc.array(fc.tuple(anyKey, fc.boolean()), { minLength: 1, maxLength: 4 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("compact" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("adopt" as const) }) },
);

/** A bucket with one writer, and a map that has to hold the same. */
class Bucket {
  readonly blocks = new CountingBlocks();
  readonly model = new Map<string, ObjectEntry>();
  /** What any move said is garbage, less what came back into use. */
  readonly garbage = new Set<string>();
  index: BucketIndex;
  #compacted: CompactedBase | null = null;
  #writes = 0;

  private constructor(index: BucketIndex, blocks: CountingBlocks) {
    this.index = index;
    this.blocks = blocks;
  }

  static async create(): Promise<Bucket> {
    const blocks = new CountingBlocks();
    await blocks.put(emptyIndexBlock());
    return new Bucket(await openBucketIndex(emptyIndexBlock().cid, blocks), blocks);
  }

  async flush(changes: readonly (readonly [string, boolean])[]): Promise<void> {
    const made: IndexChange[] = changes.map(([key, isPut]) => {
      this.#writes += 1;
      return { key, entry: isPut ? entryOf(this.#writes) : null };
    });
    for (const { key, entry } of made) {
      if (entry === null) this.model.delete(key);
      else this.model.set(key, entry);
    }
    const next = await this.index.append(made);
    await this.blocks.putAll(next.blocks);
    this.index = next.index;
  }

  async compact(): Promise<void> {
    this.#compacted = await compactIndex(this.index, { reader: this.blocks, writer: this.blocks });
  }

  /** @returns whether it was taken */
  async adopt(): Promise<boolean> {
    if (this.#compacted === null) return false;
    const adopted = await adoptBase(this.#compacted, this.index, { reader: this.blocks });
    this.#compacted = null;
    if (adopted === null) return false;
    await this.blocks.putAll(adopted.blocks);
    this.index = adopted.index;
    for (const cid of adopted.garbage) this.garbage.add(cid.toString());
    return true;
  }

  async run(step: Step): Promise<void> {
    if (step.kind === "flush") await this.flush(step.changes);
    else if (step.kind === "compact") await this.compact();
    else await this.adopt();
  }

  async expectHolds(index: BucketIndex): Promise<void> {
    const found: string[] = [];
    for await (const { key, ref } of index.scan()) {
      found.push(key);
      expect(plainEntry(await index.readEntry(key, ref))).toEqual(plainEntry(this.model.get(key)));
    }
    expect(found).toEqual([...this.model.keys()].toSorted(compareKeys));
  }
}

/** A block has one hash, and two CIDs where it is read in two ways. */
function hashOf(cid: string): string {
  return Buffer.from(CID.parse(cid).multihash.bytes).toString("hex");
}

/** Everything that links lead to from a root; contents are not read. */
async function reach(root: CID, blocks: CountingBlocks): Promise<ReadonlySet<string>> {
  const reached = new Map<string, CID>([[root.toString(), root]]);
  for (const cid of reached.values()) {
    if (!blocks.has(cid)) continue;
    for (const link of blockLinks(cid, await blocks.get(cid))) {
      if (!reached.has(link.toString())) reached.set(link.toString(), link);
    }
  }
  return new Set(reached.keys());
}

async function liveRefs(index: BucketIndex): Promise<readonly KeyRef[]> {
  const refs: KeyRef[] = [];
  for await (const ref of index.scan()) refs.push(ref);
  return refs;
}

describe("compaction", () => {
  test("at any moment, adopted at any later one, changes nothing that a reader sees", {
    timeout: PROPERTY_TIMEOUT_MS,
  }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyStep, { maxLength: 60 }), async (steps) => {
        const bucket = await Bucket.create();
        for (const step of steps) await bucket.run(step);
        await bucket.expectHolds(bucket.index);
        const cold = await openBucketIndex(bucket.index.root, bucket.blocks);
        await bucket.expectHolds(cold);
        for (const [key, entry] of bucket.model) {
          const alone = await openBucketIndex(bucket.index.root, bucket.blocks);
          expect(plainEntry((await alone.find(key))?.entry)).toEqual(plainEntry(entry));
        }
        const alone = await openBucketIndex(bucket.index.root, bucket.blocks);
        expect(await alone.find("nobody")).toBeNull();
      }),
      property(100, 100_000),
    );
  });

  test("leaves the base that building it of what is there would give, however it came about", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyStep, { maxLength: 60 }), async (steps) => {
        const bucket = await Bucket.create();
        for (const step of steps) await bucket.run(step);
        await bucket.compact();
        await bucket.adopt();
        const refs = await liveRefs(bucket.index);
        expect((await buildTree(refs, new CountingBlocks())).root.equals(bucket.index.root)).toBe(true);
        expect(bucket.index.logChanges).toBe(0);
      }),
      property(50),
    );
  });

  test("leaves in reach of the root what is there, and nothing else; what it took out of reach is told", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyStep, { maxLength: 60 }), async (steps) => {
        const bucket = await Bucket.create();
        const everReached = new Set<string>();
        const follow = async (): Promise<ReadonlySet<string>> => {
          const reached = await reach(bucket.index.root, bucket.blocks);
          for (const cid of reached) everReached.add(cid);
          for (const { ref } of await liveRefs(bucket.index)) {
            expect(reached.has(ref.content.toString())).toBe(true);
            expect(bucket.blocks.has(ref.entry)).toBe(true);
          }
          return reached;
        };
        for (const step of steps) {
          await bucket.run(step);
          await follow();
        }
        await bucket.compact();
        await bucket.adopt();
        const reached = await follow();
        const refs = await liveRefs(bucket.index);
        const live = new Set(refs.flatMap(({ ref }) => [ref.entry.toString(), ref.content.toString()]));
        const nodes = [...reached].filter((cid) => !live.has(cid));
        for (const node of nodes) expect(CID.parse(node).code).toBe(0x71);
        for (const cid of live) expect(reached.has(cid)).toBe(true);
        // What was ever reached and is no more was told of; a block that is read as bytes now was not.
        const kept = new Set([...reached].map(hashOf));
        const told = new Set([...bucket.garbage, emptyIndexBlock().cid.toString()].map(hashOf));
        for (const cid of everReached)
          expect([cid, kept.has(hashOf(cid)) || told.has(hashOf(cid))]).toEqual([cid, true]);
      }),
      property(50),
    );
  });

  test("of a root that another compaction has overtaken is not adopted", async () => {
    const bucket = await Bucket.create();
    await bucket.flush([["a", true]]);
    const first = await compactIndex(bucket.index, { reader: bucket.blocks, writer: bucket.blocks });
    await bucket.compact();
    expect(await bucket.adopt()).toBe(true);
    await bucket.flush([["b", true]]);
    expect(first).not.toBeNull();
    if (first !== null) expect(await adoptBase(first, bucket.index, { reader: bucket.blocks })).toBeNull();
  });

  test("leaves nothing of a deleted key", async () => {
    const bucket = await Bucket.create();
    await bucket.flush([["keep", true]]);
    await bucket.flush([["gone", true]]);
    await bucket.compact();
    await bucket.adopt();
    const before = await reach(bucket.index.root, bucket.blocks);
    expect(before.has(contentCid(2).toString())).toBe(true);
    await bucket.flush([["gone", false]]);
    await bucket.compact();
    await bucket.adopt();
    const after = await reach(bucket.index.root, bucket.blocks);
    expect(after.has(contentCid(2).toString())).toBe(false);
    expect(bucket.garbage.has(contentCid(2).toString())).toBe(true);
    expect(await bucket.index.find("gone")).toBeNull();
  });

  test("of an empty log has nothing to do", async () => {
    const bucket = await Bucket.create();
    expect(await compactIndex(bucket.index, { reader: bucket.blocks, writer: bucket.blocks })).toBeNull();
  });
});

describe("a log", () => {
  test.each<[string, number, number, boolean]>([
    ["of fewer flushes than the limit", 7, 1, false],
    ["of as many flushes", 8, 1, true],
    ["of few flushes with many changes", 4, 15, false],
    ["of few flushes with very many changes", 4, 16, true],
  ])("%s: is worked in or not", async (_what, flushes, changes, isDue) => {
    const bucket = await Bucket.create();
    for (let flush = 0; flush < flushes; flush += 1) {
      await bucket.flush(Array.from({ length: changes }, (_none, at) => [`${flush} ${at}`, true] as const));
    }
    expect(needsCompaction(bucket.index, 8)).toBe(isDue);
  });
});
