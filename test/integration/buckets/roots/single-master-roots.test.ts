import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { BucketState } from "../../../../src/lib/buckets/roots/root-pointer.ts";
import { SingleMasterRoots } from "../../../../src/lib/buckets/roots/single-master-roots.ts";
import { systemClock } from "../../../../src/lib/kernel/clock.ts";
import { bucketNamed, deletionOf, moveTo, rootCid } from "../../../support/bucket-moves.ts";
import { freshDatabase, type TestDatabase } from "../../../support/postgres.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
beforeEach(async () => {
  await database.pool.query("truncate bucket_roots, bucket_commits, bucket_garbage");
  await database.pool.query("update bucket_mode set mode = 'single'");
});
afterAll(async () => {
  await database.drop();
});

function master(node: string): SingleMasterRoots {
  return new SingleMasterRoots({ pool: database.pool, node, clock: systemClock });
}

const photos = bucketNamed("photos");

async function stateOf(of: SingleMasterRoots): Promise<BucketState> {
  const state = await of.get(photos);
  if (state === null) throw new Error("the bucket is not there");
  return state;
}

describe("a master that is alone", () => {
  test("makes, moves, deletes and makes anew a bucket, with all that belongs to it, and the version goes on", async () => {
    const one = master("m-1");
    await one.announce(["bafyone", "bafytwo"]);
    expect(await one.cas(photos, moveTo(null, rootCid(1), { userId: "alice", claims: ["bafyone"] }))).toEqual({
      kind: "won",
      version: 1n,
    });
    const first = await stateOf(one);
    expect(await one.cas(photos, moveTo(first, rootCid(2), { objects: 0, garbage: ["bafyold"] }))).toMatchObject({
      version: 2n,
    });
    expect(await stateOf(one)).toMatchObject({ root: rootCid(2), userId: "alice", objectCount: 0n });
    expect(await stateOf(master("m-2"))).toMatchObject({ root: rootCid(2), version: 2n, userId: "alice" });
    expect(await one.cas(photos, deletionOf(await stateOf(one)))).toEqual({ kind: "won", version: 3n });
    expect(await one.get(photos)).toBeNull();
    expect(await one.cas(photos, moveTo(null, rootCid(3)))).toEqual({ kind: "won", version: 4n });
    const { rows } = await database.pool.query<{ cid: string }>("select cid from bucket_garbage order by cid");
    expect(rows.map(({ cid }) => cid)).toEqual(["bafyold", "bafytwo"]);
  });

  test("refuses by what it knows: a bucket that is there, and a root that it has moved since", async () => {
    const one = master("m-1");
    await one.cas(photos, moveTo(null, rootCid(1)));
    const first = await stateOf(one);
    expect(await one.cas(photos, moveTo(null, rootCid(2)))).toEqual({ kind: "conflict", current: first, version: 1n });
    await one.cas(photos, moveTo(first, rootCid(2)));
    expect(await one.cas(photos, moveTo(first, rootCid(3)))).toMatchObject({ kind: "conflict", version: 2n });
  });

  test("saves another one's save away, for it believes what it knows (the lost update that the drill's control shows)", async () => {
    const [one, two] = [master("m-1"), master("m-2")];
    await one.cas(photos, moveTo(null, rootCid(1)));
    const [ones, twos] = [await stateOf(one), await stateOf(two)];
    expect(await two.cas(photos, moveTo(twos, rootCid(2)))).toEqual({ kind: "won", version: 2n });
    expect((await one.getMany([photos, bucketNamed("none")])).map((state) => state !== null)).toEqual([true, false]);
    expect(await one.cas(photos, moveTo(ones, rootCid(3)))).toEqual({ kind: "won", version: 3n });
    expect((await stateOf(master("m-3"))).root).toEqual(rootCid(3));
    expect((await two.list(photos.ownerId)).map(({ root }) => root)).toEqual([rootCid(2)]);
  });

  test.each(["cas", null])("saves nothing where the ledger says %s", async (mode) => {
    await database.pool.query("update bucket_mode set mode = $1", [mode]);
    await expect(master("m-1").cas(photos, moveTo(null, rootCid(1)))).rejects.toMatchObject({
      code: "FULA_BUCKET_MODE",
      details: { mode, wanted: "single" },
    });
  });
});
