import { afterAll, beforeAll, expect, test } from "vitest";
import type { Mutation } from "../../../src/lib/buckets/buckets.ts";
import { wayTo } from "../../../src/lib/buckets/way-to.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { AlertLog } from "../../../src/lib/pinset/alert-log.ts";
import { inOrder } from "../../../src/lib/pinset/in-order.ts";
import { ledgerPins } from "../../../src/lib/pinset/ledger-pins.ts";
import { sweep, type SweepFigures } from "../../../src/lib/pinset/sweep.ts";
import { SweepMemory } from "../../../src/lib/pinset/sweep-memory.ts";
import { createPool, type Pool } from "../../../src/lib/postgres/pool.ts";
import { bucketPins } from "../../../src/lib/stack/bucket-pins.ts";
import { type BucketBox, bucketBox, entryOf } from "../../support/bucket-box.ts";
import { bucketNamed } from "../../support/bucket-moves.ts";
import { rawBytes, rawCid } from "../../support/pins.ts";
import { freshDatabase, type TestDatabase } from "../../support/postgres.ts";
import { tempDir } from "../../support/temp-dir.ts";

const signal = new AbortController().signal;
const photos = bucketNamed("photos");

let database: TestDatabase;
let pool: Pool;
let box: BucketBox;
beforeAll(async () => {
  database = await freshDatabase();
  await database.pool.query("update bucket_mode set mode = 'cas'");
  pool = createPool(database.options);
  box = bucketBox(pool);
  await box.buckets.create({ ownerId: photos.ownerId, userId: "u-1" }, photos.bucket);
  // Enough keys that a compaction makes a tree of several levels of them, and some in the log over it.
  for (let group = 0; group < 4; group += 1) {
    const mutations: Mutation[] = [];
    for (let n = 0; n < 250; n += 1) {
      const content = rawCid(`c ${group} ${n}`);
      await box.blocks.put(content, rawBytes(`c ${group} ${n}`));
      mutations.push({
        key: `key/${group}/${n}`,
        change: { kind: "put", entry: entryOf(content, 10) },
        condition: null,
      });
    }
    await box.buckets.write(photos, mutations);
  }
  await box.buckets.compact(photos, signal);
  for (const key of ["late/1", "late/2"]) await box.put(photos, key, key);
});
afterAll(async () => {
  await pool.end();
  await database.drop();
});

async function swept(repairLedger = false): Promise<SweepFigures["ledger"]> {
  const dir = tempDir();
  await using memory = SweepMemory.temporary();
  await using alerts = new AlertLog(null);
  const ledger = ledgerPins(pool, dir, bucketPins(pool, box.blocks));
  const cluster = box.pins;
  const figures = await sweep(
    { cluster, sources: inOrder(cluster, dir), ledger, memory, alerts, clock: systemClock, signal },
    {
      replMin: 1,
      graceMs: 0,
      deep: false,
      repair: false,
      repairLedger,
      waitMs: 0,
      acceptEmpty: true,
      lastPins: null,
      forwardAlerts: false,
    },
  );
  return figures.ledger;
}

async function rootOf(): Promise<NonNullable<Awaited<ReturnType<BucketBox["roots"]["get"]>>>> {
  const state = await box.roots.get(photos);
  if (state === null) throw new Error("no bucket");
  return state;
}

test("a sweep finds every block and content of a bucket in the pinset, and each of them that it lacks", async () => {
  const first = await swept();
  expect(first).toMatchObject({ missing: 0 });
  const open = await box.buckets.open(photos);
  if (open === null) throw new Error("no bucket");
  const { base, blocks } = await open.index.log();
  const way = await wayTo(box.blocks, base, "key/2/100");
  expect(way.length).toBeGreaterThan(1);
  const content = rawCid("c 2 100");
  const lost = [...way, ...blocks.map(({ cid }) => cid), content].map(String);
  for (const cid of lost) expect(await box.pins.remove(cid), cid).toBe(true);
  expect((await swept())?.shown.map(({ cid }) => cid).toSorted()).toEqual(lost.toSorted());
  expect(await swept(true)).toMatchObject({ missing: 0, repinned: lost.length });
  expect(await box.pins.pin(base.toString())).toMatchObject({ mode: "direct", metadata: { source: "gateway" } });
  expect(await box.pins.pin(content.toString())).toMatchObject({ mode: "recursive" });
});

test("a sweep never says that all is well of a bucket that cannot be read, and goes through the others", async () => {
  const { root } = await rootOf();
  const open = await box.buckets.open(photos);
  if (open === null) throw new Error("no bucket");
  const { base } = await open.index.log();
  const leaf = (await wayTo(box.blocks, base, "key/1/1")).at(-1);
  if (leaf === undefined) throw new Error("no leaf");
  for (const cid of [leaf, root]) {
    const bytes = await box.blocks.get(cid);
    await box.blocks.delete(cid);
    expect(await swept()).toMatchObject({ missing: 1, shown: [{ problem: "unreadable" }] });
    await box.blocks.put(cid, bytes);
    expect(await swept()).toMatchObject({ missing: 0 });
  }
});
