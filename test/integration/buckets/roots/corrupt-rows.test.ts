import { expect, test } from "vitest";
import { PostgresRoots } from "../../../../src/lib/buckets/roots/postgres-roots.ts";
import { systemClock } from "../../../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../../../src/lib/kernel/random.ts";
import { bucketNamed, moveTo, rootCid } from "../../../support/bucket-moves.ts";
import { freshDatabase } from "../../../support/postgres.ts";

const DAMAGES = [
  ["a root that is no CID", "root_cid = 'nonsense'"],
  ["a root in a spelling that is not its own", `root_cid = upper('${rootCid(1).toString()}')`],
  ["tags that are no texts", `metadata = '{"tags":{"a":1}}'`],
  ["tags that are a list", `metadata = '{"tags":["a"]}'`],
] as const;

test("a row that cannot be read is an error that names the bucket, in reading as in moving, and never no bucket", async () => {
  await using database = await freshDatabase();
  await database.pool.query("update bucket_mode set mode = 'cas'");
  const roots = new PostgresRoots({ pool: database.pool, node: "m-1", clock: systemClock, random: systemRandom });
  for (const [what, damage] of DAMAGES) {
    const name = bucketNamed(what.replaceAll(" ", "-"));
    await roots.cas(name, moveTo(null, rootCid(1)));
    await database.pool.query(
      `update bucket_roots set ${damage}, version = version + 1, commit_id = 'by hand' where bucket = $1`,
      [name.bucket],
    );
    const corrupt = { code: "FULA_BUCKET_ROOT_CORRUPT", message: expect.stringContaining(name.bucket) };
    await expect(roots.get(name), what).rejects.toMatchObject(corrupt);
    await expect(roots.list(name.ownerId), what).rejects.toMatchObject(corrupt);
    expect(await roots.getMany([bucketNamed("none"), name]), what).toEqual([null, expect.objectContaining(corrupt)]);
    await expect(roots.cas(name, moveTo(null, rootCid(2))), what).rejects.toMatchObject(corrupt);
    await database.pool.query("update bucket_mode set mode = null");
    await database.pool.query("delete from bucket_roots");
    await database.pool.query("update bucket_mode set mode = 'cas'");
  }
});
