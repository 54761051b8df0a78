import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createCid, RAW_CODEC } from "../../src/lib/blocks/cid.ts";
import { openLocalBlockStore } from "../../src/lib/blocks/local.ts";
import { PostgresRoots } from "../../src/lib/buckets/roots/postgres-roots.ts";
import { PostgresTurns } from "../../src/lib/buckets/turns.ts";
import { openLocalCluster } from "../../src/lib/cluster/local.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../src/lib/kernel/random.ts";
import { createPool, type Pool } from "../../src/lib/postgres/pool.ts";
import { bucketNamed } from "../support/bucket-moves.ts";
import { testBuckets, type TestBucketsOptions } from "../support/buckets.ts";
import { startTestPostgres } from "../support/postgres-server.ts";
import { measureInTurns, peakMemoryMB } from "./measure.ts";

const WRITERS = 64;
/** Puts of each writer in a round, one after the other. */
const PUTS = 4;
const ROUNDS = 5;
const CONTENT_BYTES = 4_096;
/** Below this, a hot bucket would be no faster for sharing flushes. */
const RATIO_MIN = 3;

/** As an operator's server: a commit is on the disk before it counts. */
const SETTINGS = `
fsync = on
synchronous_commit = on
`;

interface Stand {
  readonly options: Omit<TestBucketsOptions, "groupCommit">;
  readonly pool: Pool;
}

let round = 0;

/** Every writer puts objects of its own into one new bucket, each when the one before is answered. */
async function run({ options }: Stand, groupCommit: boolean): Promise<void> {
  const { blocks } = options;
  if (blocks === undefined) throw new Error("the bench needs blocks");
  const buckets = testBuckets({ ...options, groupCommit });
  const name = bucketNamed(`bench-${(round += 1)}`);
  await buckets.create({ ownerId: name.ownerId, userId: "bench" }, name.bucket);
  const write = async (writer: number): Promise<void> => {
    for (let put = 0; put < PUTS; put += 1) {
      const bytes = systemRandom.bytes(CONTENT_BYTES);
      const content = createCid(RAW_CODEC, bytes);
      await blocks.put(content, bytes);
      const none = { etag: null, headers: {}, metadata: {}, checksums: {}, tags: {}, partSizes: [] };
      const entry = { content, sizeBytes: bytes.byteLength, modifiedMs: 1_000, ...none };
      await buckets.write(name, [{ key: `${writer}/${put}`, change: { kind: "put", entry }, condition: null }]);
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, async (_, writer) => await write(writer)));
  const state = (await buckets.open(name))?.state;
  if (state?.objectCount !== BigInt(WRITERS * PUTS)) throw new Error(`the bucket has ${state?.objectCount} objects`);
  await buckets[Symbol.asyncDispose]();
}

async function openStand(dir: string, opened: AsyncDisposableStack): Promise<Stand> {
  const { postgres, stop } = await startTestPostgres(SETTINGS);
  opened.defer(stop);
  const { host, port, superuser, template } = postgres;
  const pool = opened.adopt(
    createPool({ host, port, database: template, ...superuser, part: "bench", node: "bench", max: 10 }),
    async (each) => {
      await each.end();
    },
  );
  await pool.query("update bucket_mode set mode = 'cas'");
  const blocks = await openLocalBlockStore(join(dir, "blocks"));
  const pins = opened.use(
    await openLocalCluster({
      dbFile: join(dir, "pins.db"),
      clusterId: "bench",
      peerId: "bench",
      blocks,
      clock: systemClock,
      create: true,
    }),
  );
  const roots = new PostgresRoots({ pool, node: "bench", clock: systemClock, random: systemRandom });
  return { options: { roots, blocks, pins, turns: new PostgresTurns(pool), random: systemRandom }, pool };
}

/** Puts a second to one bucket whose writers share their moves, against the same with a move for each, in turns. */
export async function bench(): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "fula-bench-"));
  try {
    await using opened = new AsyncDisposableStack();
    const stand = await openStand(dir, opened);
    const measured = await measureInTurns(
      [
        { name: "group commit", run: async () => await run(stand, true) },
        { name: "one flush a put", run: async () => await run(stand, false) },
      ],
      ROUNDS,
    );
    const [grouped, single] = measured.map(({ medianMs }) => (WRITERS * PUTS * 1_000) / medianMs);
    if (grouped === undefined || single === undefined) throw new Error("nothing was measured");
    const ratio = grouped / single;
    console.log(
      `${WRITERS} writers to one bucket, ${CONTENT_BYTES} B each, blocks, pins and ledger durable; median of ${ROUNDS}`,
    );
    console.log(`group commit      ${grouped.toFixed(0)} puts/s`);
    console.log(`one flush a put   ${single.toFixed(0)} puts/s`);
    console.log(`ratio             ${ratio.toFixed(1)} ×  (at least ${RATIO_MIN})`);
    console.log(`peak memory       ${peakMemoryMB().toFixed(0)} MB`);
    if (ratio < RATIO_MIN) process.exitCode = 1;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
