import type { CID } from "multiformats/cid";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createCid, parseCid, RAW_CODEC } from "../../../src/lib/blocks/cid.ts";
import { blockLinks } from "../../../src/lib/blocks/dag.ts";
import { type CollectReport, collectGarbage, type CollectorParts } from "../../../src/lib/buckets/collector.ts";
import { withCollectorLock } from "../../../src/lib/buckets/collector-lock.ts";
import { reachOfBuckets } from "../../../src/lib/buckets/collector-reach.ts";
import { countOldCommits, pruneCommits } from "../../../src/lib/buckets/prune-commits.ts";
import { makePin } from "../../../src/lib/cluster/pins.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { createPool, type Pool } from "../../../src/lib/postgres/pool.ts";
import { type BucketBox, bucketBox } from "../../support/bucket-box.ts";
import { bucketNamed, moveTo, rootCid } from "../../support/bucket-moves.ts";
import { freshDatabase, type TestDatabase } from "../../support/postgres.ts";
import { until } from "../../support/until.ts";

const GRACE_MS = 3_600_000;
const signal = new AbortController().signal;

let database: TestDatabase;
let pool: Pool;
let box: BucketBox;
const photos = bucketNamed("photos");

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
  await database.pool.query(
    "truncate bucket_roots, bucket_commits, bucket_garbage, multipart_uploads, multipart_parts, pins",
  );
  box = bucketBox(pool);
  await box.buckets.create({ ownerId: photos.ownerId, userId: "u-1" }, photos.bucket);
});

/** Makes everything that was queued or moved until now older than the grace time. */
async function letGraceTimePass(): Promise<void> {
  const older = "- interval '2 hours'";
  await database.pool.query(`update bucket_garbage set queued_at = queued_at ${older}`);
  await database.pool.query(`update bucket_commits set committed_at = committed_at ${older}`);
}

async function queue(): Promise<readonly string[]> {
  const { rows } = await database.pool.query<{ cid: string }>("select cid from bucket_garbage order by cid");
  return rows.map(({ cid }) => cid);
}

function parts(more: Partial<CollectorParts> = {}): CollectorParts {
  return { pool, pins: box.pins, reach: (stop) => reachOfBuckets(pool, box.blocks, GRACE_MS, stop), ...more };
}

async function collect(more: Partial<CollectorParts> = {}, dryRun = false): Promise<CollectReport> {
  return (await collectGarbage(parts(more), { graceMs: GRACE_MS, dryRun, signal })).report;
}

/** What the links of a bucket's root lead to, and no pin keeps: a recursive pin of it would wait for that. */
async function unpinnedByLinks(): Promise<readonly string[]> {
  const state = await box.roots.get(photos);
  if (state === null) throw new Error("no bucket");
  const pinned = new Set([...box.pins.records.keys()].map((cid) => parseCid(cid).multihash.bytes.join()));
  const unpinned: string[] = [];
  const waiting = [state.root];
  for (let cid = waiting.pop(); cid !== undefined; cid = waiting.pop()) {
    if (!pinned.has(cid.multihash.bytes.join())) unpinned.push(cid.toString());
    waiting.push(...blockLinks(cid, await box.blocks.get(cid)));
  }
  return unpinned;
}

async function waitingForLocks(): Promise<number> {
  const { rows } = await database.pool.query<{ waiting: string }>(
    "select count(*) as waiting from pg_locks where not granted and pid in (select pid from pg_stat_activity where datname = current_database())",
  );
  return Number(rows[0]?.waiting);
}

/** Something that was announced and pinned for a move that never came. */
async function orphan(text: string): Promise<CID> {
  const bytes = Buffer.from(text);
  const cid = createCid(RAW_CODEC, bytes);
  await box.blocks.put(cid, bytes);
  await box.buckets.keepContent(photos, text, cid, 1);
  return cid;
}

describe("the collector of buckets", () => {
  test("unpins what was replaced or deleted once the grace time is over, and nothing that is there", async () => {
    const first = await box.put(photos, "a", "first");
    const second = await box.put(photos, "a", "second");
    const other = await box.put(photos, "b", "other");
    await box.delete(photos, "b");
    expect(await collect()).toMatchObject({ candidates: 0 });
    await box.buckets.compact(photos, signal);
    await letGraceTimePass();
    // Two contents, the blocks of the log but the one whose entry is there, and the empty tree that it lay over.
    expect(await collect()).toMatchObject({ candidates: 6, unpinned: 6, referenced: 0, spared: 0 });
    expect(await unpinnedByLinks()).toEqual([]);
    expect([...box.pins.records.keys()]).not.toContain(first.toString());
    expect([...box.pins.records.keys()]).not.toContain(other.toString());
    expect([...box.pins.records.keys()]).toContain(second.toString());
    expect(await queue()).toEqual([]);
  });

  test("keeps what a bucket's log still names, and tells which bucket to compact for it", async () => {
    const replaced = await box.put(photos, "a", "first");
    await box.buckets.compact(photos, signal);
    const inLog = await box.put(photos, "b", "twice");
    await box.put(photos, "a", "second");
    await box.delete(photos, "b");
    await letGraceTimePass();
    const { report, toCompact } = await collectGarbage(parts(), { graceMs: GRACE_MS, dryRun: false, signal });
    // Both contents wait; the empty tree that the first compaction took out of use does not.
    expect(report).toMatchObject({ hidden: 2, unpinned: 1 });
    expect(toCompact).toEqual([photos]);
    expect(await unpinnedByLinks()).toEqual([]);
    for (const name of toCompact) await box.buckets.compact(name, signal);
    await letGraceTimePass();
    expect(await collect()).toMatchObject({ hidden: 0 });
    for (const cid of [replaced, inLog]) expect(box.pins.records.has(cid.toString())).toBe(false);
    expect(await unpinnedByLinks()).toEqual([]);
  });

  test("keeps a content that another key or another bucket refers to, and forgets that it was queued", async () => {
    const videos = bucketNamed("videos", 2);
    await box.buckets.create({ ownerId: videos.ownerId, userId: "u-2" }, videos.bucket);
    const shared = await box.put(photos, "a", "shared");
    await box.put(videos, "z", "shared");
    await box.delete(photos, "a");
    await letGraceTimePass();
    expect(await collect()).toMatchObject({ candidates: 1, unpinned: 0, referenced: 1 });
    expect(box.pins.records.has(shared.toString())).toBe(true);
    expect(await queue()).toEqual([]);
    await box.delete(videos, "z");
    for (const name of [photos, videos]) await box.buckets.compact(name, signal);
    await letGraceTimePass();
    expect(await collect()).toMatchObject({ hidden: 0, referenced: 0 });
    expect(box.pins.records.has(shared.toString())).toBe(false);
  });

  test("unpins what a crash between pin and move has left behind", async () => {
    const lost = await orphan("never referred to");
    expect(await collect()).toMatchObject({ candidates: 0 });
    expect(box.pins.records.has(lost.toString())).toBe(true);
    await letGraceTimePass();
    expect(await collect()).toMatchObject({ candidates: 1, unpinned: 1 });
    expect(box.pins.records.has(lost.toString())).toBe(false);
  });

  test("spares what a root needs that was current within the grace time, and keeps it on the queue", async () => {
    const early = await box.put(photos, "a", "early");
    await letGraceTimePass();
    // Queued long ago for another reason, and needed by a root that somebody may have opened a moment ago.
    await database.pool.query("insert into bucket_garbage (cid, queued_at) values ($1, now() - interval '3 hours')", [
      early.toString(),
    ]);
    await box.delete(photos, "a");
    await box.buckets.compact(photos, signal);
    await database.pool.query("update bucket_garbage set queued_at = now() - interval '3 hours'");
    // The content, and the blocks of the log that named it.
    expect(await collect()).toMatchObject({ candidates: 3, spared: 3, unpinned: 0 });
    expect(await queue()).toContain(early.toString());
    await letGraceTimePass();
    expect(await collect()).toMatchObject({ spared: 0, unpinned: 3 });
  });

  test("keeps what is announced again while the roots are read", async () => {
    const content = await orphan("announced twice");
    await letGraceTimePass();
    const report = await collect({
      reach: async function* (stop) {
        yield* reachOfBuckets(pool, box.blocks, GRACE_MS, stop);
        // Another gateway stores the same bytes, after the walk has passed its bucket.
        await bucketBox(pool, box).put(photos, "late", "announced twice");
      },
    });
    expect(report).toMatchObject({ candidates: 1, claimed: 1, unpinned: 0 });
    expect(box.pins.records.has(content.toString())).toBe(true);
  });

  test("makes an announcement wait until the pin that it is taking away is gone, so that it is pinned anew", async () => {
    const content = await orphan("pinned anew");
    await letGraceTimePass();
    let put: Promise<unknown> = Promise.resolve();
    const { pins } = box;
    await collect({
      pins: {
        ...pins,
        remove: async (cid) => {
          // The row is taken, the pin is not yet gone: whoever comes now must not find the old pin and trust in it.
          put = bucketBox(pool, box).put(photos, "again", "pinned anew");
          await until("the other gateway waits", async () => (await waitingForLocks()) > 0);
          return await pins.remove(cid);
        },
      },
    });
    await put;
    expect(pins.records.has(content.toString())).toBe(true);
    expect(await box.buckets.open(photos).then(async (open) => await open?.index.findRef("again"))).not.toBeNull();
  });

  test("puts a pin back where its transaction was lost while the pin went: somebody has found it there in between", async () => {
    const content = await orphan("found in between");
    await letGraceTimePass();
    const { pins } = box;
    const collecting = collect({
      pins: {
        ...pins,
        remove: async (cid) => {
          await database.pool.query(
            "select pg_terminate_backend(pid) from pg_stat_activity where state = 'idle in transaction' and datname = current_database()",
          );
          await bucketBox(database.pool, box).put(photos, "again", "found in between");
          return await pins.remove(cid);
        },
      },
    });
    await expect(collecting).rejects.toMatchObject({ code: "FULA_COMMIT_UNKNOWN" });
    expect(pins.records.has(content.toString())).toBe(true);
    expect((await box.buckets.open(photos))?.state.objectCount).toBe(1n);
  });

  test("never takes a claim from under a move that was paused: the move looks at its deadline when it has the queue's row", async () => {
    const content = await orphan("claimed late");
    const announcedMs = await box.roots.announce([content.toString()]);
    const deadlineMs = (announcedMs ?? 0) + 300;
    await letGraceTimePass();
    const state = await box.roots.get(photos);
    const move = moveTo(state, rootCid(1), { claims: [content.toString()], deadlineMs });
    let moving: Promise<unknown> = Promise.resolve();
    const report = await collect({
      pins: {
        ...box.pins,
        remove: async (cid) => {
          moving = box.roots.cas(photos, move);
          await until("the move waits", async () => (await waitingForLocks()) > 0);
          await until("its deadline has passed", async () => Promise.resolve(Date.now() > deadlineMs));
          return await box.pins.remove(cid);
        },
      },
    });
    expect(report).toMatchObject({ unpinned: 1 });
    expect(await moving).toMatchObject({ kind: "late" });
    expect(await box.roots.get(photos)).toEqual(state);
  });

  test("unpins nothing at all where one block of one root cannot be read", async () => {
    const lost = await orphan("waits");
    await box.put(photos, "a", "there");
    const broken = bucketNamed("broken", 2);
    await box.buckets.create({ ownerId: broken.ownerId, userId: "u-2" }, broken.bucket);
    await box.put(broken, "b", "there too");
    const state = await box.roots.get(broken);
    if (state === null) throw new Error("no bucket");
    await letGraceTimePass();
    const bytes = await box.blocks.get(state.root);
    await box.blocks.delete(state.root);
    await expect(collect()).rejects.toMatchObject({ code: "FULA_BLOCK_MISSING" });
    expect(box.pins.records.has(lost.toString())).toBe(true);
    expect(await queue()).toEqual([lost.toString()]);
    await box.blocks.put(state.root, bytes);
    expect(await collect()).toMatchObject({ unpinned: 1 });
  });

  test("leaves candidate and queue as they were where the pinset fails, and goes on the next time", async () => {
    const lost = await orphan("fails first");
    await letGraceTimePass();
    const failing = {
      ...box.pins,
      remove: async () => await Promise.reject(new Error("cluster down")),
    };
    await expect(collect({ pins: failing })).rejects.toThrow("cluster down");
    expect(await queue()).toEqual([lost.toString()]);
    expect(await collect()).toMatchObject({ unpinned: 1 });
    expect(await queue()).toEqual([]);
  });

  test("does again what a crash after the unpinning left undone", async () => {
    const lost = await orphan("unpinned, then killed");
    await letGraceTimePass();
    await box.pins.remove(lost.toString());
    expect(await collect()).toMatchObject({ unpinned: 0, notPinned: 1 });
    expect(await queue()).toEqual([]);
  });

  test("takes no pin that an operator or a user of the pinning API wants", async () => {
    const [operators, users] = [await orphan("of an operator"), await orphan("of a user")];
    box.pins.records.set(operators.toString(), makePin(operators.toString(), "2026-01-01T00:00:00Z", { name: "mine" }));
    await database.pool.query(
      "insert into pins (requestid, cid, name, status) values (gen_random_uuid()::text, $1, 'kept', 'pinned')",
      [users.toString()],
    );
    await letGraceTimePass();
    expect(await collect({}, true)).toMatchObject({ candidates: 2, unpinned: 0, notPinned: 1, promised: 1 });
    expect(await collect()).toMatchObject({ candidates: 2, unpinned: 0, notPinned: 1, promised: 1 });
    expect(box.pins.records.has(operators.toString())).toBe(true);
    expect(box.pins.records.has(users.toString())).toBe(true);
    expect(await queue()).toEqual([]);
  });

  test("changes nothing in a dry run", async () => {
    const lost = await orphan("looked at");
    await letGraceTimePass();
    expect(await collect({}, true)).toMatchObject({ dryRun: true, candidates: 1, unpinned: 1 });
    expect(box.pins.records.has(lost.toString())).toBe(true);
    expect(await queue()).toEqual([lost.toString()]);
  });

  test("has one of all masters at a time", async () => {
    const wait = { clock: systemClock, signal, waitMs: 0 };
    await withCollectorLock(pool, wait, async () => {
      const second = withCollectorLock(database.pool, wait, async () => await Promise.resolve());
      await expect(second).rejects.toMatchObject({ code: "FULA_BUCKETS_COLLECTING" });
    });
    // The lock is free when that is over, not a moment later.
    for (let round = 0; round < 20; round += 1) {
      const other = round % 2 === 0 ? database.pool : pool;
      await withCollectorLock(other, wait, async () => await Promise.resolve());
    }
  });

  test("tells whoever keeps others out that they were not, once his session is lost", async () => {
    const wait = { clock: systemClock, signal, waitMs: 0 };
    const working = withCollectorLock(pool, wait, async (assertHeld) => {
      await assertHeld();
      await database.pool.query(
        "select pg_terminate_backend(pid) from pg_locks join pg_stat_activity using (pid) where locktype = 'advisory' and datname = current_database()",
      );
      await assertHeld();
    });
    await expect(working).rejects.toMatchObject({ code: "FULA_DATABASE_UNREACHABLE" });
  });

  test("forgets roots that are older than history goes back, but never the one that was current then", async () => {
    for (const content of ["1", "2", "3"]) await box.put(photos, "a", content);
    await letGraceTimePass();
    await box.put(photos, "a", "4");
    expect(await countOldCommits(pool, GRACE_MS)).toBe(3);
    expect(await pruneCommits(pool, GRACE_MS, signal)).toBe(3);
    const { rows } = await database.pool.query<{ version: string }>(
      "select version from bucket_commits order by version",
    );
    expect(rows.map(({ version }) => version)).toEqual(["4", "5"]);
  });
});
