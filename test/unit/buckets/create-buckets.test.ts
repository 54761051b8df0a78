import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { CID } from "multiformats/cid";
import { createCid, RAW_CODEC } from "../../../src/lib/blocks/cid.ts";
import { blockLinks } from "../../../src/lib/blocks/dag.ts";
import type { Mutation, WriteCondition } from "../../../src/lib/buckets/buckets.ts";
import type { Flush } from "../../../src/lib/buckets/bucket-writer.ts";
import type { OwnBuckets } from "../../../src/lib/buckets/create-buckets.ts";
import { keepInTime } from "../../../src/lib/buckets/root-mover.ts";
import type { ObjectEntry } from "../../../src/lib/buckets/tree/object-entry.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { bucketNamed } from "../../support/bucket-moves.ts";
import { testBuckets } from "../../support/buckets.ts";
import { MemoryBlocks } from "../../support/memory-blocks.ts";
import { createMemoryCluster } from "../../support/memory-cluster.ts";
import { MemoryRoots } from "../../support/memory-roots.ts";
import { property } from "../../support/property.ts";
import { until } from "../../support/until.ts";

const NAME = bucketNamed("photos");
const OWNER = { ownerId: NAME.ownerId, userId: "user" };
const NONE = { headers: {}, metadata: {}, checksums: {}, tags: {}, partSizes: [] };

let blocks: MemoryBlocks;

beforeEach(() => {
  blocks = new MemoryBlocks();
});

async function entryOf(text: string): Promise<ObjectEntry> {
  const bytes = Buffer.from(text);
  const content = createCid(RAW_CODEC, bytes);
  await blocks.put(content, bytes);
  return { content, sizeBytes: bytes.byteLength, modifiedMs: 1_000, etag: null, ...NONE };
}

async function putOf(key: string, text: string, condition: WriteCondition | null = null): Promise<Mutation> {
  return { key, change: { kind: "put", entry: await entryOf(text) }, condition };
}

function contentOf({ change }: Mutation): string {
  return change.kind === "put" ? change.entry.content.toString() : "";
}

function deletionOf(key: string): Mutation {
  return { key, change: { kind: "delete" }, condition: null };
}

async function contents(buckets: OwnBuckets): Promise<ReadonlyMap<string, string>> {
  const opened = await buckets.open(NAME);
  const found = new Map<string, string>();
  let bytes = 0n;
  for await (const { key, ref } of opened?.index.scan() ?? []) {
    found.set(key, Buffer.from(await blocks.get(ref.content)).toString());
    bytes += BigInt(ref.sizeBytes);
  }
  expect(opened?.state).toMatchObject({ objectCount: BigInt(found.size), totalBytes: bytes });
  return found;
}

describe("writes that come while a flush is under way", () => {
  test("share the next one", async () => {
    const flushes: Flush[] = [];
    const events = { flushed: (flush: Flush) => flushes.push(flush), conflicted: () => {}, compacted: () => {} };
    const buckets = testBuckets({ blocks, events });
    await buckets.create(OWNER, NAME.bucket);
    const puts = await Promise.all(Array.from({ length: 20 }, async (_, at) => await putOf(`key ${at}`, `${at}`)));
    await Promise.all(puts.map(async (put) => await buckets.write(NAME, [put])));
    expect((await contents(buckets)).size).toBe(20);
    expect(flushes.reduce((sum, { edits }) => sum + edits, 0)).toBe(20);
    expect(flushes.length).toBeLessThan(5);
  });

  test("are judged one after the other, each on what those before it made of the bucket", async () => {
    const buckets = testBuckets({ blocks });
    await buckets.create(OWNER, NAME.bucket);
    const onlyNew: WriteCondition = { ifMatch: null, ifNoneMatch: "*" };
    const first = await entryOf("first");
    const onFirst: WriteCondition = { ifMatch: [first.content.toString()], ifNoneMatch: null };
    const outcomes = await buckets.write(NAME, [
      await putOf("a", "first", onlyNew),
      await putOf("a", "second", onlyNew),
      await putOf("a", "third", onFirst),
      await putOf("a", "fourth", onFirst),
      deletionOf("b"),
      { key: "b", change: { kind: "update", update: (present) => present }, condition: null },
    ]);
    const kinds = outcomes?.map(({ kind }) => kind);
    expect(kinds).toEqual(["done", "condition-failed", "done", "condition-failed", "done", "no-such-key"]);
    expect(await contents(buckets)).toEqual(new Map([["a", "third"]]));
  });

  test("are refused at once where the arbiter is silent for the one before them", async () => {
    const roots = new MemoryRoots();
    const buckets = testBuckets({ blocks, roots });
    await buckets.create(OWNER, NAME.bucket);
    const asked = Promise.withResolvers<void>();
    const silence = Promise.withResolvers<never>();
    let questions = 0;
    roots.get = async () => {
      questions += 1;
      asked.resolve();
      return await silence.promise;
    };
    const puts = await Promise.all([1, 2, 3].map(async (at) => await putOf(`key ${at}`, `${at}`)));
    const writes = Promise.allSettled(puts.map(async (put) => await buckets.write(NAME, [put])));
    await asked.promise;
    await new Promise((resolve) => setImmediate(resolve));
    silence.reject(new FulaError("FULA_DATABASE_UNREACHABLE", "nobody answers"));
    for (const write of await writes) {
      expect(write).toMatchObject({ status: "rejected", reason: { code: "FULA_DATABASE_UNREACHABLE" } });
    }
    expect(questions).toBe(1);
  });

  test("are refused where too many wait already, and those that wait are made", async () => {
    const pins = createMemoryCluster();
    const buckets = testBuckets({ blocks, pins });
    await buckets.create(OWNER, NAME.bucket);
    const hanging = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<void>();
    pins.faults.onPut = async ({ name }) => {
      if (!name.startsWith("index-node:")) return;
      hanging.resolve();
      await goOn.promise;
    };
    const first = buckets.write(NAME, [await putOf("first", "1")]);
    await hanging.promise;
    const many = buckets.write(
      NAME,
      Array.from({ length: 10_000 }, (_, at) => deletionOf(`key ${at}`)),
    );
    const refused = await until("a write is refused", async () => {
      const write = buckets.write(NAME, [deletionOf("one more")]);
      return await Promise.race([
        write.then(
          () => null,
          (error: unknown) => error,
        ),
        new Promise<null>((resolve) =>
          setImmediate(() => {
            resolve(null);
          }),
        ),
      ]);
    });
    expect(refused).toMatchObject({ code: "FULA_BUCKET_BUSY" });
    goOn.resolve();
    expect(await first).toHaveLength(1);
    expect(await many).toHaveLength(10_000);
  });
});

test("a flush that was paused for too long moves no root: the collector may have taken what it had pinned", async () => {
  let pausedMs = 0;
  const clock = { ...systemClock, nowMs: () => pausedMs };
  const roots = new MemoryRoots(clock);
  const pins = createMemoryCluster();
  const buckets = testBuckets({ blocks, roots, pins, clock });
  await buckets.create(OWNER, NAME.bucket);
  pins.faults.onPut = ({ name }) => {
    if (name.startsWith("index-node:")) pausedMs += 3_600_000;
  };
  const write = buckets.write(NAME, [await putOf("a", "1")]);
  await expect(write).rejects.toMatchObject({ code: "FULA_BUCKET_BUSY" });
  expect((await roots.get(NAME))?.version).toBe(1n);
});

test("a write whose content waited too long fails alone, not with all that share its flush or wait behind it", async () => {
  const pins = createMemoryCluster();
  let passedMs = 0;
  const clock = { ...systemClock, nowMs: () => passedMs };
  const buckets = testBuckets({ blocks, pins, clock });
  await buckets.create(OWNER, NAME.bucket);
  const [hanging, goOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let isFirst = true;
  pins.faults.onPut = async ({ name }) => {
    if (!name.startsWith("index-node:") || !isFirst) return;
    isFirst = false;
    hanging.resolve();
    await goOn.promise;
  };
  // The first flush lasts so long that what was kept meanwhile, early and late, goes into the second one.
  const first = buckets.setMetadata(NAME, () => ({ tags: {} }));
  const [old, young] = [await putOf("old", "1"), await putOf("young", "2")];
  const opening = buckets.write(NAME, [await putOf("opening", "0")]);
  await Promise.all([first, hanging.promise]);
  const early = buckets.write(NAME, [old]);
  await until("the early one is kept", async () => Promise.resolve(pins.records.has(contentOf(old))));
  await new Promise((resolve) => setImmediate(resolve));
  passedMs += 100_000;
  const late = buckets.write(NAME, [young]);
  await until("the late one is kept", async () => Promise.resolve(pins.records.has(contentOf(young))));
  await new Promise((resolve) => setImmediate(resolve));
  passedMs += 50_000;
  goOn.resolve();
  await expect(opening).rejects.toMatchObject({ code: "FULA_BUCKET_BUSY" });
  await expect(early).rejects.toMatchObject({ code: "FULA_BUCKET_BUSY" });
  await late;
  expect(await contents(buckets)).toEqual(new Map([["young", "2"]]));
});

function never(): never {
  throw new Error("it waited");
}

test("what cannot be kept in time is a refusal that clients try again after", async () => {
  const keep = async (stop: AbortSignal): Promise<never> => await systemClock.sleep(60_000, stop).then(never);
  await expect(keepInTime(NAME, 1, keep)).rejects.toMatchObject({ code: "FULA_BUCKET_BUSY" });
});

test("metadata of a bucket moves with its root, and survives what is written beside it", async () => {
  const buckets = testBuckets({ blocks });
  await buckets.create(OWNER, NAME.bucket);
  const put = await putOf("a", "1");
  await Promise.all([
    buckets.setMetadata(NAME, () => ({ tags: { team: "blue" } })),
    buckets.write(NAME, [put]),
    buckets.setMetadata(NAME, ({ tags }) => ({ tags: { ...tags, year: "2026" } })),
  ]);
  expect((await buckets.open(NAME))?.state.metadata).toEqual({ tags: { team: "blue", year: "2026" } });
  expect(await buckets.setMetadata(bucketNamed("none"), (present) => present)).toBe(false);
});

test("a bucket goes when it is empty, and leaves every block of its index to the collector", async () => {
  const roots = new MemoryRoots();
  const pins = createMemoryCluster();
  const buckets = testBuckets({ blocks, roots, pins });
  await buckets.create(OWNER, NAME.bucket);
  await buckets.write(NAME, [await putOf("a", "1"), await putOf("b", "2")]);
  await buckets.compact(NAME, new AbortController().signal);
  expect(await buckets.remove(NAME)).toBe("not-empty");
  await buckets.write(NAME, [deletionOf("a"), deletionOf("b")]);
  expect(await buckets.remove(NAME)).toBe("deleted");
  expect(await buckets.remove(NAME)).toBe("absent");
  expect([...pins.records.keys()].filter((cid) => !roots.garbage.has(cid))).toEqual([]);
});

test("of two masters that compact a bucket at the same time one does, and what both wrote is there and pinned", async () => {
  const [roots, pins] = [new MemoryRoots(), createMemoryCluster()];
  const [one, other] = [testBuckets({ blocks, roots, pins }), testBuckets({ blocks, roots, pins })];
  const { signal } = new AbortController();
  await one.create(OWNER, NAME.bucket);
  for (let at = 0; at < 5; at += 1) await one.write(NAME, [await putOf(`key ${at}`, `${at}`)]);
  const [hanging, goOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let isFirst = true;
  pins.faults.onPut = async ({ name }) => {
    if (!name.startsWith("index-node:") || !isFirst) return;
    isFirst = false;
    hanging.resolve();
    await goOn.promise;
  };
  const late = one.compact(NAME, signal);
  await hanging.promise;
  await other.write(NAME, [await putOf("between", "written")]);
  expect(await other.compact(NAME, signal)).toBe("adopted");
  goOn.resolve();
  expect(await late).toBe("overtaken");
  for (const at of [one, other]) expect([...(await contents(at)).keys()]).toHaveLength(6);
  const root = (await roots.get(NAME))?.root;
  if (root === undefined) throw new Error("the bucket is gone");
  const pinned = new Set([...pins.records.keys()].map((cid) => CID.parse(cid).multihash.bytes.join()));
  const waiting = [root];
  for (let cid = waiting.pop(); cid !== undefined; cid = waiting.pop()) {
    expect(pinned.has(cid.multihash.bytes.join())).toBe(true);
    waiting.push(...blockLinks(cid, await blocks.get(cid)));
  }
});

test("whatever is written at the same time and however often it is compacted, a bucket is what a map would be", async () => {
  const anyStep = fc.record({
    key: fc.constantFrom("a", "b", "c", "d", "e"),
    text: fc.option(fc.constantFrom("one", "two", "three"), { nil: null }),
  });
  const anyRound = fc.record({ steps: fc.array(anyStep, { maxLength: 6 }), compacts: fc.boolean() });
  await fc.assert(
    fc.asyncProperty(fc.array(anyRound, { maxLength: 12 }), async (rounds) => {
      const buckets = testBuckets({ blocks, compactAfter: 4 });
      await buckets.create(OWNER, NAME.bucket);
      const model = new Map<string, string>();
      for (const { steps, compacts } of rounds) {
        const mutations: Mutation[] = [];
        for (const { key, text } of steps) {
          mutations.push(text === null ? deletionOf(key) : await putOf(key, text));
          if (text === null) model.delete(key);
          else model.set(key, text);
        }
        const compaction = compacts ? buckets.compact(NAME, new AbortController().signal) : null;
        if (mutations.length > 0) await buckets.write(NAME, mutations);
        await compaction;
      }
      expect(await contents(buckets)).toEqual(new Map([...model].toSorted(([a], [b]) => (a < b ? -1 : 1))));
      await buckets[Symbol.asyncDispose]();
    }),
    property(60),
  );
});
