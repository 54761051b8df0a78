import * as dagCbor from "@ipld/dag-cbor";
import type { CID } from "multiformats/cid";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createCid, RAW_CODEC } from "../../../src/lib/blocks/cid.ts";
import { collectGarbage } from "../../../src/lib/buckets/collector.ts";
import { reachOfBuckets } from "../../../src/lib/buckets/collector-reach.ts";
import { type BucketSource, importBucket, type ImportParts } from "../../../src/lib/buckets/import.ts";
import { fleetRows, fleetSources } from "../../../src/lib/buckets/import-fleet.ts";
import { countOldBuckets, oldBuckets } from "../../../src/lib/buckets/import-objects.ts";
import { readRegistry } from "../../../src/lib/buckets/import-registry.ts";
import { createLocalHolder } from "../../../src/lib/buckets/keeping/holder.ts";
import { createKeeper } from "../../../src/lib/buckets/keeping/keeper.ts";
import { verifyBucket } from "../../../src/lib/buckets/verify.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { createPool, type Pool } from "../../../src/lib/postgres/pool.ts";
import { type BucketBox, bucketBox } from "../../support/bucket-box.ts";
import { collect } from "../../support/pins.ts";
import { freshDatabase, type TestDatabase } from "../../support/postgres.ts";

const OWNER = "ab".repeat(16);
const signal = new AbortController().signal;

let database: TestDatabase;
let pool: Pool;
let box: BucketBox;
beforeAll(async () => {
  database = await freshDatabase();
  await database.pool.query("update bucket_mode set mode = 'cas'");
  pool = createPool(database.options);
});
afterAll(async () => {
  await pool.end();
  await database.drop();
});
beforeEach(async () => {
  await database.pool.query("update bucket_mode set mode = null");
  await database.pool.query(
    "truncate bucket_roots, bucket_commits, bucket_garbage, gateway_buckets, gateway_objects, gateway_unpins",
  );
  await database.pool.query("update bucket_mode set mode = 'cas'");
  box = bucketBox(pool);
});

function parts(more: Partial<ImportParts> = {}): ImportParts {
  const { blocks, pins, roots } = box;
  const keeper = createKeeper({ roots, blocks, pins, clock: systemClock, holder: createLocalHolder(blocks) });
  const assertHeld = async (): Promise<void> => {};
  return { pool, blocks, pins, nodes: blocks, keeper, random: systemRandom, node: "m-1", assertHeld, ...more };
}

const OPTIONS = { allowMissing: false, signal };

async function store(text: string): Promise<CID> {
  const bytes = Buffer.from(text);
  const cid = createCid(RAW_CODEC, bytes);
  await box.blocks.put(cid, bytes);
  return cid;
}

async function fleetBlock(value: unknown): Promise<CID> {
  const bytes = dagCbor.encode(value);
  const cid = createCid(dagCbor.code, bytes);
  await box.blocks.put(cid, bytes);
  return cid;
}

async function expectWell(bucket: string): Promise<void> {
  const state = await box.roots.get({ ownerId: OWNER, bucket });
  if (state === null) throw new Error(`no bucket ${bucket}`);
  const { blocks, pins } = box;
  expect(await verifyBucket(state, { blocks, nodes: blocks, pins }, { deep: true, signal })).toMatchObject({
    ok: true,
    findings: [],
  });
}

async function keysOf(bucket: string): Promise<readonly string[]> {
  const open = await box.buckets.open({ ownerId: OWNER, bucket });
  if (open === null) throw new Error(`no bucket ${bucket}`);
  return (await collect(open.index.scan())).map(({ key }) => key);
}

describe("an import from the tables of an earlier fula-master", () => {
  async function oldBucket(name: string, keys: readonly string[]): Promise<BucketSource> {
    await database.pool.query(
      "insert into gateway_buckets (owner_id, name, created_at) values ($1, $2, '2026-01-02T03:04:05Z')",
      [OWNER, name],
    );
    for (const key of keys) {
      const content = await store(`content of ${key}`);
      await database.pool.query(
        `insert into gateway_objects (bucket_id, key, root_cid, size_bytes, headers, metadata, checksums, modified_at)
         select bucket_id, $2, $3, $4, '{"content-type":"text/plain"}', '{"colour":"blau"}', '{"crc32":"AAAAAA=="}', '2026-02-03T04:05:06Z'
           from gateway_buckets where name = $1`,
        [name, key, content.toString(), Buffer.byteLength(`content of ${key}`)],
      );
    }
    return await find(name);
  }

  async function find(name: string): Promise<BucketSource> {
    const found = (await oldBuckets(pool, () => "u-1")).find(({ bucket }) => bucket === name);
    if (found === undefined) throw new Error(`no old bucket ${name}`);
    return found;
  }

  test("gives every key with all that was kept of it, and gives the rows up in the same transaction", async () => {
    const keys = Array.from({ length: 60 }, (_, n) => `k/${n}`);
    const source = await oldBucket("photos", [...keys, "\u{1F600}", "\uFFFD"]);
    await database.pool.query("insert into gateway_unpins (root_cid) values ('bafyold')");
    expect(await importBucket(source, parts(), OPTIONS)).toMatchObject({
      state: "imported",
      objects: 62,
      version: "1",
    });
    expect(await keysOf("photos")).toEqual([...keys.toSorted(), "\uFFFD", "\u{1F600}"]);
    const open = await box.buckets.open({ ownerId: OWNER, bucket: "photos" });
    expect((await open?.index.find("k/7"))?.entry).toMatchObject({
      headers: { "content-type": "text/plain" },
      metadata: { colour: "blau" },
      checksums: { crc32: "AAAAAA==" },
      modifiedMs: Date.parse("2026-02-03T04:05:06Z"),
    });
    expect(open?.state).toMatchObject({ userId: "u-1", createdAtMs: Date.parse("2026-01-02T03:04:05Z") });
    expect(await countOldBuckets(pool)).toBe(0);
    const { rows } = await database.pool.query("select from bucket_garbage where cid = 'bafyold'");
    expect(rows).toHaveLength(1);
    await expectWell("photos");
    await box.put({ ownerId: OWNER, bucket: "photos" }, "new", "after the import");
    await expectWell("photos");
  });

  test("takes an empty bucket, and changes nothing in a dry run", async () => {
    const source = await oldBucket("empty", []);
    const plan = await importBucket(source, parts({ keeper: null }), OPTIONS);
    expect(plan).toMatchObject({ state: "planned", objects: 0, version: null });
    expect(await countOldBuckets(pool)).toBe(1);
    expect(box.pins.records.size).toBe(0);
    expect((await importBucket(source, parts(), OPTIONS)).root).toBe(plan.root);
    expect(await keysOf("empty")).toEqual([]);
  });

  test("can be cut off at any call to blocks, pinset or ledger, and run again", async () => {
    const keys = Array.from({ length: 40 }, (_, n) => `k/${n}`);
    for (let cut = 1, isDone = false; !isDone; cut += 5) {
      const source = cut === 1 ? await oldBucket("cut", keys) : await find("cut");
      let calls = 0;
      const tick = async (): Promise<void> => {
        calls += 1;
        if (calls === cut) throw new Error("killed");
        await Promise.resolve();
      };
      box.pins.faults.onPut = tick;
      box.blocks.beforePut = tick;
      try {
        await importBucket(source, parts(), OPTIONS);
        isDone = true;
      } catch (error) {
        expect(String(error)).toContain("killed");
        expect(await box.roots.get({ ownerId: OWNER, bucket: "cut" })).toBeNull();
        expect(await countOldBuckets(pool)).toBe(1);
      }
    }
    box.pins.faults.onPut = undefined;
    await expectWell("cut");
  });

  test("is refused where a content is not to be found, unless it is said that its key may come alone", async () => {
    const source = await oldBucket("holes", ["a", "b"]);
    await box.blocks.delete(createCid(RAW_CODEC, Buffer.from("content of b")));
    await expect(importBucket(source, parts(), OPTIONS)).rejects.toMatchObject({ code: "FULA_BUCKET_IMPORT_REFUSED" });
    expect(await box.roots.get({ ownerId: OWNER, bucket: "holes" })).toBeNull();
    const outcome = await importBucket(source, parts(), { ...OPTIONS, allowMissing: true });
    expect(outcome).toMatchObject({ state: "imported", objects: 2, missing: { count: 1, shown: [{ key: "b" }] } });
  });

  test("is refused where a master of the earlier version writes on", async () => {
    const source = await oldBucket("busy", ["a"]);
    const { keeper } = parts();
    if (keeper === null) throw new Error("no keeper");
    const writing: ImportParts["keeper"] = {
      keepContents: async (contents, stop) => await keeper.keepContents(contents, stop),
      keepBlocks: async (blocks, name, stop) => {
        const announcedMs = await keeper.keepBlocks(blocks, name, stop);
        await database.pool.query("update gateway_objects set size_bytes = size_bytes + 1");
        return announcedMs;
      },
    };
    const running = importBucket(source, parts({ keeper: writing }), OPTIONS);
    await expect(running).rejects.toThrow(/another master still serves/);
    expect(await box.roots.get({ ownerId: OWNER, bucket: "busy" })).toBeNull();
    expect(await countOldBuckets(pool)).toBe(1);
  });

  test("makes no bucket of what a collector may have taken since it was kept", async () => {
    const source = await oldBucket("unguarded", ["a"]);
    const assertHeld = async (): Promise<void> => await Promise.reject(new Error("the lock is lost"));
    await expect(importBucket(source, parts({ assertHeld }), OPTIONS)).rejects.toThrow("the lock is lost");
    expect(await box.roots.get({ ownerId: OWNER, bucket: "unguarded" })).toBeNull();
  });

  test("never writes over a bucket of that name", async () => {
    const source = await oldBucket("taken", ["a"]);
    await box.buckets.create({ ownerId: OWNER, userId: "u-2" }, "taken");
    await expect(importBucket(source, parts(), OPTIONS)).rejects.toThrow(/a bucket of that name is there already/);
    expect(await keysOf("taken")).toEqual([]);
  });

  test("keeps the collector from taking the contents of rows that wait for it", async () => {
    await oldBucket("waiting", ["a"]);
    const content = createCid(RAW_CODEC, Buffer.from("content of a"));
    await box.buckets.keepContent({ ownerId: OWNER, bucket: "waiting" }, "a", content, 1);
    await database.pool.query("update bucket_garbage set queued_at = queued_at - interval '2 hours'");
    const reach = (stop: AbortSignal): ReturnType<typeof reachOfBuckets> =>
      reachOfBuckets(pool, box.blocks, 1_000, stop);
    await collectGarbage({ pool, pins: box.pins, reach }, { graceMs: 1_000, dryRun: false, signal });
    expect(box.pins.records.has(content.toString())).toBe(true);
  });
});

describe("an import of the existing fleet's buckets", () => {
  const EMPTY_ROOT = "bafyreigjqb3wxxjcu2tuoulpag3do6zm5iho7fbqjgufvmy2ek34t66k34";
  const BITMASK = new Uint8Array(2);

  async function fleetObject(key: string, more: object = {}): Promise<{ key: string; value: object }> {
    const cid = await store(`fleet ${key}`);
    const value = {
      cid: cid.toString(),
      size: Buffer.byteLength(`fleet ${key}`),
      etag: `"${cid.toString()}"`,
      last_modified: "2025-12-01T10:11:12.123456789Z",
      storage_class: "STANDARD",
      content_type: "application/octet-stream",
      user_metadata: { "X-Fula-Encrypted": "true" },
      tags: {},
      owner_id: OWNER,
      ...more,
    };
    return { key, value };
  }

  async function leaf(...keys: readonly string[]): Promise<CID> {
    const pairs = await Promise.all(keys.map(async (key) => await fleetObject(key)));
    return await fleetBlock({ level: 0, bitmask: BITMASK, is_leaf: true, pointers: [pairs] });
  }

  async function inner(...children: readonly CID[]): Promise<CID> {
    return await fleetBlock({ level: 1, bitmask: BITMASK, is_leaf: false, pointers: children.map(String) });
  }

  function registered(name: string, root: CID | string, more: object = {}): object {
    return { name, owner_id: OWNER, root_cid: root.toString(), created_at: "2025-11-01T00:00:00Z", tags: {}, ...more };
  }

  async function sources(registry: CID | null): Promise<readonly BucketSource[]> {
    const buckets = registry === null ? [] : await readRegistry(registry, box.blocks, signal);
    return fleetSources(buckets, await fleetRows(pool), { nodes: box.blocks, userIdOf: () => null });
  }

  async function importOnly(registry: CID | null): ReturnType<typeof importBucket> {
    const [source] = await sources(registry);
    if (source === undefined) throw new Error("no source");
    return await importBucket(source, parts(), OPTIONS);
  }

  test("reads the root of an empty bucket as it was computed by hand", async () => {
    const root = await fleetBlock({ level: 0, bitmask: BITMASK, is_leaf: true, pointers: [] });
    expect(root.toString()).toBe(EMPTY_ROOT);
    const registry = await fleetBlock({ version: 1, buckets: [registered("empty", root)] });
    expect(await importOnly(registry)).toMatchObject({ state: "imported", objects: 0 });
    await expectWell("empty");
  });

  test("reads a registry in one block, nodes that name one another by text, and what is kept of each object", async () => {
    const root = await inner(await leaf("b", "d"), await inner(await leaf("a"), await leaf("c")));
    const registry = await fleetBlock({ version: 1, buckets: [registered("photos", root, { object_count: 3 })] });
    expect(await importOnly(registry)).toMatchObject({ state: "imported", objects: 4 });
    expect(await keysOf("photos")).toEqual(["a", "b", "c", "d"]);
    const open = await box.buckets.open({ ownerId: OWNER, bucket: "photos" });
    expect((await open?.index.find("a"))?.entry).toMatchObject({
      etag: null,
      headers: { "content-type": "application/octet-stream" },
      metadata: { "x-fula-encrypted": "true" },
      modifiedMs: Date.parse("2025-12-01T10:11:12.123Z"),
    });
    await expectWell("photos");
    expect(await importOnly(registry)).toMatchObject({ state: "present" });
  });

  test("reads a registry in shards, and refuses one whose shard stands in another's place", async () => {
    const root = await leaf("a");
    const shards = await Promise.all(
      ["one", "two"].map(async (name, index) => {
        return await fleetBlock({ shard_index: index, buckets: [registered(name, root)] });
      }),
    );
    const texts = shards.map(String);
    const registry = await fleetBlock({ version: 2, num_shards: 2, shard_cids: texts });
    expect((await sources(registry)).map(({ bucket }) => bucket)).toEqual(["one", "two"]);
    const swapped = await fleetBlock({ version: 2, num_shards: 2, shard_cids: texts.toReversed() });
    await expect(sources(swapped)).rejects.toMatchObject({ code: "FULA_FLEET_INDEX" });
  });

  test("takes the root of the ledger, and only as long as it is the one that was read", async () => {
    const [old, now, later] = [await leaf("old"), await leaf("now"), await leaf("later")];
    const registry = await fleetBlock({ version: 1, buckets: [registered("moving", old)] });
    await database.pool.query(
      "insert into bucket_roots (owner_id, bucket, root_cid, version, commit_id, format) values ($1, 'moving', $2, 7, 'x', 1)",
      [OWNER, now.toString()],
    );
    await database.pool.query("alter table bucket_roots disable trigger user");
    await database.pool.query("update bucket_roots set format = 0, commit_id = null");
    const [source] = await sources(registry);
    if (source === undefined) throw new Error("no source");
    await database.pool.query("update bucket_roots set root_cid = $1", [later.toString()]);
    await expect(importBucket(source, parts(), OPTIONS)).rejects.toThrow(/which is not the one that was read/);
    await database.pool.query("alter table bucket_roots enable trigger user");
    expect(await importOnly(registry)).toMatchObject({ state: "imported", version: "8" });
    expect(await keysOf("moving")).toEqual(["later"]);
  });

  test("leaves a bucket alone of which any node or entry is not as documented", async () => {
    const good = await leaf("a");
    const missing = createCid(dagCbor.code, dagCbor.encode({ level: 0 }));
    const bad: readonly (readonly [string, CID, RegExp])[] = [
      ["node", await inner(good, missing), /No block/],
      ["twice", await inner(good, good), /names it twice/],
      ["field", await fleetBlock({ level: 0, bitmask: BITMASK, is_leaf: true, pointers: [], extra: 1 }), /has a field/],
      [
        "leaf",
        await fleetBlock({ level: 0, bitmask: BITMASK, is_leaf: true, pointers: [good.toString()] }),
        /is a leaf/,
      ],
      ["key", await inner(good, await leaf("a", "b")), /the key "a" twice/],
      ["long", await leaf("x".repeat(1_025)), /1 to 1024/],
      [
        "size",
        await fleetBlock({
          level: 0,
          bitmask: BITMASK,
          is_leaf: true,
          pointers: [[await fleetObject("s", { size: -1 })]],
        }),
        /size is no number/,
      ],
    ];
    for (const [name, root, message] of bad) {
      const registry = await fleetBlock({ version: 1, buckets: [registered(name, root)] });
      await expect(importOnly(registry), name).rejects.toThrow(message);
      expect(await box.roots.get({ ownerId: OWNER, bucket: name }), name).toBeNull();
    }
  });
});
