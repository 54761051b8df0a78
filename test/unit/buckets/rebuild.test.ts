import type { CID } from "multiformats/cid";
import { expect, test } from "vitest";
import { createCid, RAW_CODEC } from "../../../src/lib/blocks/cid.ts";
import type { Mutation } from "../../../src/lib/buckets/buckets.ts";
import { isWhole, salvage, surveyIndex } from "../../../src/lib/buckets/rebuild.ts";
import { openBucketIndex } from "../../../src/lib/buckets/tree/open-index.ts";
import { wayTo } from "../../../src/lib/buckets/way-to.ts";
import { entryOf } from "../../support/bucket-box.ts";
import { testBuckets } from "../../support/buckets.ts";
import { MemoryBlocks } from "../../support/memory-blocks.ts";
import { collect } from "../../support/pins.ts";

const signal = new AbortController().signal;
const NAME = { ownerId: "ab".repeat(16), bucket: "photos" };

function keyAt(n: number): string {
  return `key/${String(n).padStart(4, "0")}`;
}

interface Box {
  readonly blocks: MemoryBlocks;
  readonly buckets: ReturnType<typeof testBuckets>;
  readonly put: (key: string, content: string) => Promise<Mutation>;
}

async function makeBox(): Promise<Box> {
  const blocks = new MemoryBlocks();
  const buckets = testBuckets({ blocks });
  const put = async (key: string, content: string): Promise<Mutation> => {
    const bytes = Buffer.from(content);
    const cid = createCid(RAW_CODEC, bytes);
    await blocks.put(cid, bytes);
    return { key, change: { kind: "put", entry: entryOf(cid, bytes.byteLength) }, condition: null };
  };
  await buckets.create({ ownerId: NAME.ownerId, userId: "u-1" }, NAME.bucket);
  return { blocks, buckets, put };
}

async function rootOf({ buckets }: Box): Promise<CID> {
  const open = await buckets.open(NAME);
  if (open === null) throw new Error("no bucket");
  return open.state.root;
}

async function saved(
  box: Box,
  root: CID,
  older: CID | null,
): Promise<{ keys: readonly string[]; older: readonly string[] }> {
  const fromOlder: string[] = [];
  const counts = {
    salvaged: 0,
    older: 0,
    onOlder: async ({ key }: { readonly key: string }): Promise<void> => {
      fromOlder.push(key);
      await Promise.resolve();
    },
  };
  const damaged = await surveyIndex(root, box.blocks, signal);
  const index = older === null ? null : await openBucketIndex(older, box.blocks);
  const items = await collect(salvage(damaged, index, box.blocks, counts, signal));
  expect(counts.salvaged + counts.older).toBe(items.length);
  expect(counts.older).toBe(fromOlder.length);
  return { keys: items.map(({ key }) => key), older: fromOlder };
}

test("of a damaged tree everything is saved that can be read, and only what lay below the damage comes from the older root", async () => {
  const box = await makeBox();
  const { blocks, buckets, put } = box;
  await buckets.write(NAME, await Promise.all(Array.from({ length: 400 }, async (_, n) => put(keyAt(n), `old ${n}`))));
  await buckets.compact(NAME, signal);
  const older = await rootOf(box);
  await buckets.write(NAME, [{ key: keyAt(5), change: { kind: "delete" }, condition: null }, await put("zzz", "new")]);
  await buckets.compact(NAME, signal);
  const base = await rootOf(box);
  await buckets.write(NAME, [
    await put("late", "late"),
    { key: keyAt(6), change: { kind: "delete" }, condition: null },
    { key: keyAt(200), change: { kind: "delete" }, condition: null },
  ]);
  const root = await rootOf(box);
  const whole = (await collect((await openBucketIndex(root, blocks)).scan())).map(({ key }) => key);
  const leaf = (await wayTo(blocks, base, keyAt(4))).at(-1);
  if (leaf === undefined) throw new Error("no leaf");
  const bytes = await blocks.get(leaf);
  await blocks.delete(leaf);
  expect(await isWhole(root, blocks, signal)).toBe(false);
  expect(await isWhole(older, blocks, signal)).toBe(true);
  const { keys, older: fromOlder } = await saved(box, root, older);
  // What was deleted below the damage comes back: nothing that can be read tells that it was.
  expect(keys).toEqual([...whole, keyAt(5)].toSorted());
  expect(fromOlder.length).toBeGreaterThan(0);
  expect(fromOlder.length).toBeLessThan(400);
  // The log, which can be read, does tell.
  expect(fromOlder).not.toContain(keyAt(6));
  // Without an older root the rest is still there.
  expect((await saved(box, root, null)).keys).toEqual(whole.filter((key) => !fromOlder.includes(key)));
  await blocks.put(leaf, bytes);
  expect((await surveyIndex(root, blocks, signal)).reasons).toEqual([]);
});

test("of a log that breaks off, what is newer than the break is saved over the older root", async () => {
  const box = await makeBox();
  const { blocks, buckets, put } = box;
  await buckets.write(NAME, [await put("a", "1"), await put("b", "1")]);
  const older = await rootOf(box);
  await buckets.write(NAME, [await put("lost", "2")]);
  const middle = await rootOf(box);
  await buckets.write(NAME, [await put("c", "3"), { key: "a", change: { kind: "delete" }, condition: null }]);
  await blocks.delete(middle);
  expect((await saved(box, await rootOf(box), older)).keys).toEqual(["b", "c"]);
});
