import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { BucketIndex, IndexChange, ScanRange } from "../../../../src/lib/buckets/tree/bucket-index.ts";
import { compareKeys } from "../../../../src/lib/buckets/tree/key.ts";
import type { NodeReader } from "../../../../src/lib/buckets/tree/node-store.ts";
import type { ObjectEntry } from "../../../../src/lib/buckets/tree/object-entry.ts";
import { emptyIndexBlock, openBucketIndex } from "../../../../src/lib/buckets/tree/open-index.ts";
import { FulaError } from "../../../../src/lib/kernel/errors.ts";
import { CountingBlocks, entryOf, plainEntry } from "../../../support/index-blocks.ts";
import { hashedKey, OwnIndex } from "../../../support/index-flushes.ts";
import { property } from "../../../support/property.ts";

async function emptyIndex(): Promise<BucketIndex> {
  const blocks = new CountingBlocks();
  await blocks.put(emptyIndexBlock());
  return await openBucketIndex(emptyIndexBlock().cid, blocks);
}

async function keysOf(index: BucketIndex): Promise<readonly string[]> {
  const keys: string[] = [];
  for await (const { key } of index.scan()) keys.push(key);
  return keys;
}

async function expectHolds(index: BucketIndex, model: ReadonlyMap<string, ObjectEntry>): Promise<void> {
  const expected = [...model.keys()].toSorted(compareKeys);
  const found: string[] = [];
  for await (const { key, ref } of index.scan()) {
    found.push(key);
    expect(plainEntry(await index.readEntry(key, ref))).toEqual(plainEntry(model.get(key)));
  }
  expect(found).toEqual(expected);
}

const anyKey = fc.stringMatching(/^[a-d]{1,3}$/);
const anyFlush = fc.array(fc.tuple(anyKey, fc.boolean()), { minLength: 1, maxLength: 4 });

describe("an index", () => {
  test("holds what a sorted map would, opened cold after every flush", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyFlush, { maxLength: 40 }), async (flushes) => {
        const blocks = new CountingBlocks();
        await blocks.put(emptyIndexBlock());
        const model = new Map<string, ObjectEntry>();
        let index = await openBucketIndex(emptyIndexBlock().cid, blocks);
        for (const [flush, changes] of flushes.entries()) {
          const made: IndexChange[] = changes.map(([key, isPut], at) => ({
            key,
            entry: isPut ? entryOf(`${flush} ${at}`) : null,
          }));
          for (const { key, entry } of made) {
            if (entry === null) model.delete(key);
            else model.set(key, entry);
          }
          const next = await index.append(made);
          await blocks.putAll(next.blocks);
          index = next.index;
          const cold = await openBucketIndex(next.root, blocks);
          for (const { key } of made)
            expect(plainEntry((await cold.find(key))?.entry)).toEqual(plainEntry(model.get(key)));
        }
        await expectHolds(index, model);
        const cold = await openBucketIndex(index.root, blocks);
        await expectHolds(cold, model);
        expect(await keysOf(cold)).toEqual(await keysOf(index));
      }),
      property(50),
    );
  });

  test("takes the last of several changes of one key, and several keys in one block", async () => {
    const index = await emptyIndex();
    const next = await index.append([
      { key: "a", entry: entryOf(1) },
      { key: "b", entry: entryOf(2) },
      { key: "a", entry: entryOf(3) },
      { key: "b", entry: null },
    ]);
    expect(next.blocks).toHaveLength(1);
    expect(plainEntry((await next.index.find("a"))?.entry)).toEqual(plainEntry(entryOf(3)));
    expect(await next.index.find("b")).toBeNull();
    expect([next.index.logBlocks, next.index.logChanges]).toEqual([1, 2]);
  });

  test("without a change stays what it is", async () => {
    const index = await emptyIndex();
    const next = await index.append([]);
    expect([next.root.toString(), next.blocks]).toEqual([index.root.toString(), []]);
  });

  test("makes several blocks of a large flush, each far below what peers pass on", async () => {
    const blocks = new CountingBlocks();
    const changes = Array.from({ length: 40 }, (_none, n) => ({
      key: `k${n}`,
      entry: entryOf(n, { metadata: { x: "x".repeat(60_000) } }),
    }));
    const { root, blocks: made } = await (await emptyIndex()).append(changes);
    await blocks.putAll(made);
    expect(made).toHaveLength(10);
    expect(Math.max(...made.map(({ bytes }) => bytes.byteLength))).toBeLessThan(400_000);
    const cold = await openBucketIndex(root, blocks);
    for (const { key, entry } of changes) expect(plainEntry((await cold.find(key))?.entry)).toEqual(plainEntry(entry));
  });

  test("orders keys by their bytes, which is not how JavaScript orders them", async () => {
    const keys = ["\u{1f600}", "\uffff", "a\u{10000}", "a\ue000", "a", "b"];
    const next = await (await emptyIndex()).append(keys.map((key) => ({ key, entry: entryOf(key) })));
    const expected = keys.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    expect(await keysOf(next.index)).toEqual(expected);
    expect(expected).not.toEqual(keys.toSorted());
  });

  test("asked for many keys at once reads its log once", async () => {
    const own = await OwnIndex.holding(0);
    for (let n = 0; n < 60; n += 1) await own.flush(hashedKey(n), entryOf(n));
    own.blocks.forgetCounts();
    const cold = await openBucketIndex(own.index.root, own.blocks);
    await Promise.all(Array.from({ length: 60 }, async (_none, n) => await cold.findRef(hashedKey(n))));
    expect(own.blocks.reads).toBeLessThan(60 * 2);
  });

  test("after a read of its log that failed can be asked again", async () => {
    const own = await OwnIndex.holding(0);
    for (let n = 0; n < 10; n += 1) await own.flush(hashedKey(n), entryOf(n));
    let isDown = false;
    const reader: NodeReader = {
      get: async (cid) => {
        if (isDown) throw new FulaError("FULA_KUBO_UNREACHABLE", "Kubo does not answer.");
        return await own.blocks.get(cid);
      },
    };
    const cold = await openBucketIndex(own.index.root, reader);
    isDown = true;
    await expect(cold.log()).rejects.toThrow("does not answer");
    isDown = false;
    expect(await keysOf(cold)).toHaveLength(10);
  });

  describe("gives of a range", () => {
    const keys = ["a", "b", "b/1", "b/2", "b/3", "c", "d/1"];
    test.each<[string, ScanRange, readonly string[]]>([
      ["everything", {}, keys],
      ["a prefix", { prefix: "b/" }, ["b/1", "b/2", "b/3"]],
      ["a prefix after a key", { prefix: "b/", after: "b/1" }, ["b/2", "b/3"]],
      ["a prefix from a key on", { prefix: "b/", after: "b/1", inclusive: true }, ["b/1", "b/2", "b/3"]],
      ["a prefix after a key before it", { prefix: "b/", after: "a" }, ["b/1", "b/2", "b/3"]],
      ["a prefix after it", { prefix: "b/", after: "c" }, []],
      ["what comes after a key that is not there", { after: "b/15" }, ["b/2", "b/3", "c", "d/1"]],
      ["what comes after the last", { after: "d/1" }, []],
    ])("%s, from base and log together", async (_what, range, expected) => {
      const own = await OwnIndex.holding(0, 4);
      // Every second key goes into the base; of the log's changes some take the base's place, and one deletes.
      for (const key of ["a", "b/1", "b/3", "gone"]) await own.flush(key, entryOf("old"));
      expect(own.index.logBlocks).toBe(0);
      for (const key of ["b", "b/2"]) await own.flush(key, entryOf(key));
      const { index } = await own.index.append([
        ...["c", "d/1", "b/3"].map((key) => ({ key, entry: entryOf(key) })),
        { key: "gone", entry: null },
      ]);
      const found: string[] = [];
      for await (const { key } of index.scan(range)) found.push(key);
      expect(found).toEqual(expected);
    });
  });
});
