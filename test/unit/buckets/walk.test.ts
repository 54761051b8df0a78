import fc from "fast-check";
import type { CID } from "multiformats/cid";
import { expect, test } from "vitest";
import { VisitedSet } from "../../../src/lib/blocks/visited-set.ts";
import { mergeSteps } from "../../../src/lib/buckets/tree/merge-indexes.ts";
import type { BucketIndex, IndexChange } from "../../../src/lib/buckets/tree/bucket-index.ts";
import { adoptBase, compactIndex } from "../../../src/lib/buckets/tree/compact-index.ts";
import { emptyIndexBlock, openBucketIndex } from "../../../src/lib/buckets/tree/open-index.ts";
import { type WalkedBlock, walkIndex } from "../../../src/lib/buckets/walk.ts";
import { walkRecent } from "../../../src/lib/buckets/walk-recent.ts";
import { entryOf } from "../../support/bucket-box.ts";
import { MemoryBlocks } from "../../support/memory-blocks.ts";
import { collect, rawCid } from "../../support/pins.ts";
import { property } from "../../support/property.ts";

const signal = new AbortController().signal;

/** One flush, or a compaction. */
const steps = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: fc.array(fc.tuple(fc.nat(60), fc.nat(40)), { minLength: 1, maxLength: 6 }) },
    { weight: 1, arbitrary: fc.constant("compact" as const) },
  ),
  { minLength: 1, maxLength: 25 },
);
type Step = readonly (readonly [number, number])[] | "compact";

function changesOf(step: readonly (readonly [number, number])[]): readonly IndexChange[] {
  return step.map(([key, value]) => ({
    key: `key/${key}`,
    // A tenth of the changes delete; contents are shared by several keys.
    entry: value < 4 ? null : entryOf(rawCid(`content ${value}`), value),
  }));
}

async function apply(index: BucketIndex, step: Step, blocks: MemoryBlocks): Promise<BucketIndex> {
  if (step !== "compact") {
    const next = await index.append(changesOf(step));
    for (const { cid, bytes } of next.blocks) await blocks.put(cid, bytes);
    return next.index;
  }
  const writer = { put: async (block: { cid: CID; bytes: Uint8Array }) => await blocks.put(block.cid, block.bytes) };
  const compacted = await compactIndex(index, { reader: blocks, writer });
  if (compacted === null) return index;
  const adopted = await adoptBase(compacted, index, { reader: blocks });
  if (adopted === null) throw new Error("nobody else is there");
  for (const { cid, bytes } of adopted.blocks) await blocks.put(cid, bytes);
  return adopted.index;
}

async function run(
  history: readonly Step[],
  blocks: MemoryBlocks,
  from: BucketIndex | null = null,
): Promise<BucketIndex[]> {
  const empty = emptyIndexBlock();
  await blocks.put(empty.cid, empty.bytes);
  const indexes = [from ?? (await openBucketIndex(empty.cid, blocks))];
  for (const step of history) {
    const last = indexes.at(-1);
    if (last !== undefined) indexes.push(await apply(last, step, blocks));
  }
  return indexes;
}

function textOf(block: WalkedBlock): readonly string[] {
  if (block.kind !== "key") return [`block ${block.cid.toString()}`];
  return [`entry ${block.ref.entry.toString()}`, `content ${block.ref.content.toString()}`];
}

async function needs(walk: AsyncIterable<WalkedBlock>): Promise<ReadonlySet<string>> {
  return new Set((await collect(walk)).flatMap(textOf));
}

test("a walk gives exactly the keys that a reader finds, with what they refer to", async () => {
  await fc.assert(
    fc.asyncProperty(steps, async (history) => {
      const blocks = new MemoryBlocks();
      const index = (await run(history, blocks)).at(-1);
      if (index === undefined) throw new Error("no index");
      const walked = (await collect(walkIndex(index.root, { reader: blocks, visited: null }, signal))).flatMap(
        (block) =>
          block.kind === "key" ? [`${block.key} ${block.ref.entry.toString()} ${block.ref.content.toString()}`] : [],
      );
      const scanned = (await collect(index.scan())).map(
        ({ key, ref }) => `${key} ${ref.entry.toString()} ${ref.content.toString()}`,
      );
      expect(walked.toSorted()).toEqual(scanned.toSorted());
    }),
    property(60),
  );
});

test("a walk through the current and recent roots of a bucket leaves out nothing that any of them needs", async () => {
  await fc.assert(
    fc.asyncProperty(steps, fc.nat(30), async (history, old) => {
      const blocks = new MemoryBlocks();
      const roots = (await run(history, blocks)).map(({ root }) => root);
      const current = roots.at(-1);
      if (current === undefined) throw new Error("no root");
      const recent = roots.slice(Math.min(old, roots.length - 1), -1).toReversed();
      using visited = new VisitedSet();
      const parts = { reader: blocks, visited };
      const reached = new Set([
        ...(await needs(walkIndex(current, parts, signal))),
        ...(await needs(walkRecent(recent, parts, signal))),
      ]);
      for (const root of [current, ...recent]) {
        for (const need of await needs(walkIndex(root, { reader: blocks, visited: null }, signal))) {
          expect(reached.has(need), `${need} of ${root.toString()}`).toBe(true);
        }
      }
    }),
    property(60),
  );
});

test("a merge gives what both sides make of their common root, and a conflict for every key that both changed otherwise", async () => {
  await fc.assert(
    fc.asyncProperty(steps, steps, steps, async (before, our, their) => {
      const blocks = new MemoryBlocks();
      const base = (await run(before, blocks)).at(-1);
      const ours = base && (await run(our, blocks, base)).at(-1);
      const theirs = base && (await run(their, blocks, base)).at(-1);
      if (base === undefined || ours === undefined || theirs === undefined) throw new Error("no index");
      const contentsOf = async (index: BucketIndex): Promise<Map<string, string>> =>
        new Map((await collect(index.scan())).map(({ key, ref }) => [key, ref.content.toString()]));
      const [inBase, inOurs, inTheirs] = [await contentsOf(base), await contentsOf(ours), await contentsOf(theirs)];
      const found = new Map(
        (await collect(mergeSteps({ base, ours, theirs }, blocks, signal))).map((step) => [step.key, step.isConflict]),
      );
      const expected = new Map<string, boolean>();
      for (const key of new Set([...inBase.keys(), ...inTheirs.keys()])) {
        const [b, o, t] = [inBase.get(key), inOurs.get(key), inTheirs.get(key)];
        if (t !== b && t !== o) expected.set(key, o !== b);
      }
      expect(found).toEqual(expected);
    }),
    property(60),
  );
});
