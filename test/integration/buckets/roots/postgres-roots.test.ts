import { afterAll, beforeAll } from "vitest";
import { PostgresRoots } from "../../../../src/lib/buckets/roots/postgres-roots.ts";
import { systemClock } from "../../../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../../../src/lib/kernel/random.ts";
import { createPool, type Pool } from "../../../../src/lib/postgres/pool.ts";
import { describeRootPointer } from "../../../contract/root-pointer.contract.ts";
import { freshDatabase, type TestDatabase } from "../../../support/postgres.ts";

let database: TestDatabase;
let pools: readonly [Pool, Pool];
beforeAll(async () => {
  database = await freshDatabase();
  await database.pool.query("update bucket_mode set mode = 'cas'");
  pools = [createPool({ ...database.options, node: "m-1" }), createPool({ ...database.options, node: "m-2" })];
});
afterAll(async () => {
  await Promise.all(pools.map(async (pool) => await pool.end()));
  await database.drop();
});

describeRootPointer("PostgreSQL", async () => {
  await database.pool.query("truncate bucket_roots, bucket_commits, bucket_garbage");
  const store = (pool: Pool): PostgresRoots =>
    new PostgresRoots({ pool, node: "m", clock: systemClock, random: systemRandom });
  return {
    stores: [store(pools[0]), store(pools[1])],
    queue: async () =>
      (await database.pool.query<{ cid: string }>("select cid from bucket_garbage order by cid")).rows.map(
        ({ cid }) => cid,
      ),
    commits: async (bucket) => {
      const { rows } = await database.pool.query<{ version: string; root_cid: string | null; commit_id: string }>(
        "select version, root_cid, commit_id from bucket_commits where bucket = $1 order by version",
        [bucket],
      );
      return rows.map((row) => [BigInt(row.version), row.root_cid, row.commit_id] as const);
    },
    close: async () => {
      await Promise.resolve();
    },
  };
});
