import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  changeSavingMode,
  type ModeGuardOptions,
  readSavingState,
  startModeGuard,
} from "../../../../src/lib/buckets/roots/mode-guard.ts";
import { PostgresRoots } from "../../../../src/lib/buckets/roots/postgres-roots.ts";
import type { SavingMode } from "../../../../src/lib/buckets/roots/saving-mode.ts";
import { systemClock } from "../../../../src/lib/kernel/clock.ts";
import { silentLog } from "../../../../src/lib/kernel/log.ts";
import { systemRandom } from "../../../../src/lib/kernel/random.ts";
import { bucketNamed, moveTo, rootCid } from "../../../support/bucket-moves.ts";
import { startPgbouncer } from "../../../support/pgbouncer.ts";
import { freshDatabase, type TestDatabase } from "../../../support/postgres.ts";
import { until } from "../../../support/until.ts";

let database: TestDatabase;
let guards: AsyncDisposableStack;
beforeAll(async () => {
  database = await freshDatabase();
});
beforeEach(async () => {
  guards = new AsyncDisposableStack();
  await database.pool.query("truncate bucket_roots, bucket_commits");
  await database.pool.query("update bucket_mode set mode = null");
});
afterEach(async () => {
  await guards.disposeAsync();
  await untilNobodyServes();
});
afterAll(async () => {
  await database.drop();
});

async function serve(mode: SavingMode, node = "m-1", more: Partial<ModeGuardOptions> = {}): Promise<AsyncDisposable> {
  return guards.use(
    await startModeGuard({
      connection: database.options,
      node,
      mode,
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
      ...more,
    }),
  );
}

/** A goodbye is not waited for any longer than half a second: a busy server may hear it later. */
async function untilNobodyServes(): Promise<void> {
  await until("nobody serves", async () => {
    const { serving } = await readSavingState(database.pool);
    return Object.values(serving).flat().length === 0;
  });
}

async function end(master: AsyncDisposable): Promise<void> {
  await master[Symbol.asyncDispose]();
  await untilNobodyServes();
}

function roots(): PostgresRoots {
  return new PostgresRoots({ pool: database.pool, node: "m-1", clock: systemClock, random: systemRandom });
}

/** The statement by which a gateway of the existing fleet moves a root. */
async function fleetMove(root: string): Promise<void> {
  await database.pool.query(
    `insert into bucket_roots (owner_id, bucket, root_cid, version, updated_at) values ($1, 'photos', $2, 1, now())
         on conflict (owner_id, bucket) do update
         set root_cid = excluded.root_cid, version = bucket_roots.version + 1, updated_at = now()`,
    [bucketNamed("photos").ownerId, root],
  );
}

describe("the mode in which buckets are saved", () => {
  test.each<{ other: SavingMode; isServing: boolean; wanted: SavingMode; becomes: SavingMode | "refused" }>([
    { other: "cas", isServing: true, wanted: "cas", becomes: "cas" },
    { other: "single", isServing: true, wanted: "single", becomes: "single" },
    { other: "cas", isServing: true, wanted: "single", becomes: "refused" },
    { other: "single", isServing: true, wanted: "cas", becomes: "refused" },
    { other: "fleet", isServing: true, wanted: "cas", becomes: "refused" },
    { other: "cas", isServing: true, wanted: "fleet", becomes: "refused" },
    { other: "cas", isServing: false, wanted: "single", becomes: "single" },
    { other: "single", isServing: false, wanted: "cas", becomes: "cas" },
    { other: "fleet", isServing: false, wanted: "cas", becomes: "cas" },
    { other: "cas", isServing: false, wanted: "fleet", becomes: "fleet" },
  ])("another one: $other, serving: $isServing; a master that wants $wanted: $becomes", async (row) => {
    const other = await serve(row.other, "m-2");
    if (!row.isServing) await end(other);
    const joined = serve(row.wanted);
    if (row.becomes === "refused") {
      await expect(joined).rejects.toMatchObject({
        code: "FULA_BUCKET_MODE",
        message: expect.stringMatching(/by fula-master\/buckets@m-2 \(pid \d+\)/),
        details: { mode: row.other, wanted: row.wanted },
      });
    } else await joined;
    expect((await readSavingState(database.pool)).mode).toBe(row.becomes === "refused" ? row.other : row.becomes);
  });

  test("is written by one of eight masters that start at the same time, and all of one mode serve", async () => {
    const wanted = Array.from({ length: 8 }, (_, index): SavingMode => (index % 2 === 0 ? "cas" : "single"));
    const results = await Promise.allSettled(wanted.map(async (mode, index) => await serve(mode, `m-${index}`)));
    const { mode, serving } = await readSavingState(database.pool);
    expect(results.map(({ status }, index) => [wanted[index], status])).toEqual(
      wanted.map((one) => [one, one === mode ? "fulfilled" : "rejected"]),
    );
    expect(serving[mode ?? "fleet"]).toHaveLength(4);
    expect(Object.values(serving).flat()).toHaveLength(4);
  });

  test("is changed by hand only while nobody serves in another one", async () => {
    const master = await serve("cas");
    await expect(changeSavingMode(database.pool, "single")).rejects.toMatchObject({ code: "FULA_BUCKET_MODE" });
    await end(master);
    expect(await changeSavingMode(database.pool, "single")).toBe("cas");
    expect(await changeSavingMode(database.pool, "single")).toBe("single");
  });

  test("is left to the fleet's gateways no more once there is a bucket that they cannot read", async () => {
    const master = await serve("cas");
    await roots().cas(bucketNamed("photos"), moveTo(null, rootCid(1)));
    await end(master);
    await expect(serve("fleet")).rejects.toMatchObject({
      code: "FULA_BUCKET_MODE",
      message: expect.stringContaining("1 bucket"),
    });
  });

  test("is looked at by every move: a master that nobody knows of any more saves nothing in another one", async () => {
    const master = await serve("cas");
    await roots().cas(bucketNamed("photos"), moveTo(null, rootCid(1)));
    const state = await roots().get(bucketNamed("photos"));
    await end(master);
    await changeSavingMode(database.pool, "single");
    await expect(roots().cas(bucketNamed("photos"), moveTo(state, rootCid(2)))).rejects.toMatchObject({
      code: "FULA_BUCKET_MODE",
    });
    await expect(roots().cas(bucketNamed("new"), moveTo(null, rootCid(2)))).rejects.toMatchObject({
      code: "FULA_BUCKET_MODE",
    });
    expect(await roots().get(bucketNamed("photos"))).toEqual(state);
  });

  test("waits to change until a move that is being made has ended", async () => {
    await changeSavingMode(database.pool, "cas");
    await roots().cas(bucketNamed("photos"), moveTo(null, rootCid(1)));
    const client = await database.pool.connect();
    await client.query("begin");
    await client.query("update bucket_roots set version = version + 1, commit_id = 'slow' where bucket = 'photos'");
    const changed = changeSavingMode(database.pool, "single");
    await until("the change waits", async () => {
      const { rowCount } = await database.pool.query(
        // Tables of other tests' databases have the same number there.
        `select from pg_locks where not granted and relation = 'bucket_roots'::regclass
            and database = (select oid from pg_database where datname = current_database())`,
      );
      return rowCount === 1;
    });
    await client.query("commit");
    client.release();
    expect(await changed).toBe("cas");
  });
});

describe("a master's part in it", () => {
  test("is taken up again after its session was cut", async () => {
    const lines: string[] = [];
    await serve("cas", "m-1", { log: { ...silentLog, warn: (event) => lines.push(event) } });
    const pidOf = async (): Promise<number | null> => {
      const [name] = (await readSavingState(database.pool)).serving.cas;
      return name === undefined ? null : Number(/pid (\d+)/.exec(name)?.[1]);
    };
    const first = await pidOf();
    await database.pool.query("select pg_terminate_backend($1)", [first]);
    const second = await until("it serves again", async () => {
      const pid = await pidOf();
      return pid === first ? null : pid;
    });
    expect(second).not.toBe(first);
    expect(lines).toContain("buckets.mode.session_lost");
  });

  test("is refused behind a pooler that gives each transaction another session, where no lock would hold", async () => {
    await using pooler = await startPgbouncer(database, "transaction");
    const connection = { ...database.options, host: pooler.host, port: pooler.port };
    await expect(serve("cas", "m-1", { connection })).rejects.toMatchObject({ code: "FULA_LEASE_POOLER" });
    expect((await readSavingState(database.pool)).serving.cas).toEqual([]);
  });

  test("ends with it", async () => {
    const master = await serve("cas");
    expect((await readSavingState(database.pool)).serving.cas).toHaveLength(1);
    await end(master);
    expect((await readSavingState(database.pool)).serving).toEqual({ cas: [], single: [], fleet: [] });
  });
});

describe("a gateway of the existing fleet", () => {
  test("is refused by the database where masters save by compare-and-swap, whether the bucket is there or not", async () => {
    await serve("cas");
    await expect(fleetMove(rootCid(8).toString())).rejects.toMatchObject({ code: "55000" });
    await roots().cas(bucketNamed("photos"), moveTo(null, rootCid(1)));
    await expect(fleetMove(rootCid(8).toString())).rejects.toMatchObject({ code: "55000" });
    await expect(database.pool.query("delete from bucket_roots")).rejects.toMatchObject({ code: "55000" });
    expect(await roots().get(bucketNamed("photos"))).toMatchObject({ version: 1n, root: rootCid(1) });
  });

  test("goes on where masters leave buckets to it; what it made is nobody else's until it is imported", async () => {
    const master = await serve("fleet");
    await fleetMove("bafyfleet");
    await fleetMove("bafyfleet2");
    await end(master);
    await serve("cas");
    const refused = { code: "FULA_BUCKET_NOT_IMPORTED" };
    const photos = bucketNamed("photos");
    await expect(roots().get(photos)).rejects.toMatchObject(refused);
    await expect(roots().list(photos.ownerId)).rejects.toMatchObject(refused);
    expect(await roots().getMany([photos, bucketNamed("none")])).toEqual([expect.objectContaining(refused), null]);
    await expect(roots().cas(photos, moveTo(null, rootCid(1)))).rejects.toMatchObject(refused);
    await expect(roots().cas(photos, moveTo({ version: 2n, root: rootCid(2) }, rootCid(1)))).rejects.toMatchObject(
      refused,
    );
    const { rows } = await database.pool.query("select root_cid, version from bucket_roots");
    expect(rows).toEqual([{ root_cid: "bafyfleet2", version: "2" }]);
  });
});
