import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { compareUsage } from "../../../src/lib/billing/reconcile.ts";
import { verifyLedger } from "../../../src/lib/billing/verify.ts";
import { PostgresRoots } from "../../../src/lib/buckets/roots/postgres-roots.ts";
import type { BucketName, BucketState } from "../../../src/lib/buckets/roots/root-pointer.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { migrateDown, migrateUp } from "../../../src/lib/postgres/migrator.ts";
import { bucketNamed, deletionOf, moveTo, rootCid } from "../../support/bucket-moves.ts";
import { freshDatabase, type TestDatabase } from "../../support/postgres.ts";
import { endOpenHour, historyFaults, keptUsage } from "../../support/usage.ts";

let database: TestDatabase;
let roots: PostgresRoots;
beforeAll(async () => {
  database = await freshDatabase();
  await database.pool.query("update bucket_mode set mode = 'cas'");
  roots = new PostgresRoots({ pool: database.pool, node: "m-1", clock: systemClock, random: systemRandom });
});
beforeEach(async () => {
  await database.pool.query(`
    truncate bucket_roots, bucket_commits, pins;
    delete from stored_contents; delete from usage_history; delete from user_usage; delete from user_credits`);
});
afterAll(async () => {
  await database.drop();
});

const photos = bucketNamed("photos");

async function run(sql: string): Promise<void> {
  await database.pool.query(sql);
}

/** Makes or moves a bucket to that many objects of 100 bytes. */
async function hold(objects: number, name: BucketName = photos, userId = "ada"): Promise<BucketState> {
  const before = await roots.get(name);
  await roots.cas(name, moveTo(before, rootCid(objects), { objects, userId }));
  const state = await roots.get(name);
  if (state === null) throw new Error("the bucket is not there");
  return state;
}

async function expectUsage(expected: Readonly<Record<string, number>>): Promise<void> {
  const kept = Object.fromEntries(await keptUsage(database.pool));
  expect(kept).toEqual(Object.fromEntries(Object.entries(expected).map(([user, bytes]) => [user, BigInt(bytes)])));
  expect(await historyFaults(database.pool)).toEqual([]);
  expect((await compareUsage(database.pool, 10)).differences).toEqual([]);
}

const PIN = "insert into pins (requestid, user_id, cid, size, status, name) values";

describe("what an account stores in buckets", () => {
  test("is what its buckets hold, as their roots move, beside what it has pinned", async () => {
    await hold(3);
    await expectUsage({ ada: 300 });
    await run(`${PIN} ('a', 'ada', 'bafyone', 7, 'pinned', null), ('b', 'bob', 'bafyone', 5, 'pinned', null)`);
    await hold(2, bucketNamed("films"));
    await hold(1, bucketNamed("photos", 2), "bob");
    await expectUsage({ ada: 507, bob: 105 });
    await hold(1);
    await expectUsage({ ada: 307, bob: 105 });
    await run("delete from pins");
    await roots.cas(photos, deletionOf(await hold(0)));
    await expectUsage({ ada: 200, bob: 100 });
    await hold(4);
    await expectUsage({ ada: 600, bob: 100 });
    expect((await verifyLedger(database.pool)).checks.filter(({ ok }) => !ok)).toEqual([]);
  });

  test("changes in the transaction that moves the root, and not where the race for it is lost", async () => {
    const first = await hold(3);
    await hold(5);
    expect(await roots.cas(photos, moveTo(first, rootCid(9), { objects: 9 }))).toMatchObject({ kind: "conflict" });
    await expectUsage({ ada: 500 });
    const client = await database.pool.connect();
    await client.query("begin");
    await client.query("update bucket_roots set total_bytes = 1, version = version + 1, commit_id = 'later'");
    await client.query("rollback");
    client.release();
    await expectUsage({ ada: 500 });
  });

  test("is right however many of its buckets are saved at the same time", async () => {
    const names = Array.from({ length: 8 }, (_, index) => bucketNamed(`b-${index}`));
    await Promise.all(
      names.map(async (name, index) => {
        for (let objects = 1; objects <= 10 + index; objects += 1) await hold(objects, name);
      }),
    );
    await expectUsage({ ada: names.reduce((sum, _, index) => sum + (10 + index) * 100, 0) });
  });

  test("is told of the hour in which it was saved: a save after the hour's end counts for the next", async () => {
    await hold(3);
    await endOpenHour(database.pool);
    await hold(1);
    const { rows } = await database.pool.query<{ bytes: string }>("select bytes from usage_history order by hour");
    expect(rows.map(({ bytes }) => bytes)).toEqual(["300", "100"]);
    await run("update usage_clock set closed_through = date_trunc('hour', now(), 'UTC') - interval '1 hour'");
  });

  test("costs a move that leaves the bytes as they are nothing", async () => {
    const state = await hold(3);
    await run("update user_usage set bytes = 1; update stored_contents set bytes = 1");
    await roots.cas(photos, moveTo(state, rootCid(8), { objects: 3 }));
    expect(Object.fromEntries(await keptUsage(database.pool))).toEqual({ ada: 1n });
  });

  test("stays when the pins are truncated, and goes when the buckets are", async () => {
    await hold(3);
    await run(`${PIN} ('a', 'ada', 'bafyone', 7, 'pinned', null), ('b', 'bob', 'bafyone', 5, 'pinned', null)`);
    await run("truncate pins");
    await expectUsage({ ada: 300 });
    await run(`${PIN} ('a', 'ada', 'bafyone', 7, 'pinned', null)`);
    await run("truncate bucket_roots");
    await expectUsage({ ada: 7 });
  });

  test("of the fleet's buckets is nobody's until they are imported, and then not what is pinned of them already", async () => {
    await run("update bucket_mode set mode = null");
    await run(
      `insert into bucket_roots (owner_id, bucket, root_cid) values ('${photos.ownerId}', 'photos', 'bafyfleet')`,
    );
    await run(`${PIN} ('a', 'ada', 'bafyone', 70, 'pinned', 'object:photos/a'), ('b', 'ada', 'bafyone', 70, 'pinned', 'object:photos/b'),
                      ('c', 'ada', 'bafytwo', 5, 'pinned', 'object:photos2/a'), ('d', 'bob', 'bafysix', 9, 'pinned', 'object:photos/c')`);
    await expectUsage({ ada: 75, bob: 9 });
    await run(`
      update bucket_roots set format = 1, user_id = 'ada', total_bytes = 100, object_count = 3, version = version + 1, commit_id = 'import',
                              root_cid = '${rootCid(3).toString()}', covered_bytes = pinned_object_bytes('ada', 'photos')`);
    await run("update bucket_mode set mode = 'cas'");
    await expectUsage({ ada: 105, bob: 9 });
    await roots.cas(photos, deletionOf(await hold(0)));
    await hold(2);
    await expectUsage({ ada: 275, bob: 9 });
  });

  test("counts from the migration on, stops with its way back, and is found again", async () => {
    await hold(3);
    await run(`${PIN} ('a', 'ada', 'bafyone', 7, 'pinned', null)`);
    await migrateDown(database.pool, { to: 36, force: true });
    expect(Object.fromEntries(await keptUsage(database.pool))).toEqual({ ada: 7n });
    await migrateUp(database.pool);
    await expectUsage({ ada: 307 });
  });
});
