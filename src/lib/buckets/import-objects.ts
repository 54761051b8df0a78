import { parseCid } from "../blocks/cid.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import type { TransactionClient } from "../postgres/transaction.ts";
import type { BucketSource, ReadSource } from "./import.ts";
import type { KeyedEntry } from "./import-sort.ts";

/** A bucket whose objects stand in the tables of an earlier fula-master. */
interface OldBucket {
  readonly bucketId: string;
  readonly ownerId: string;
  readonly name: string;
  readonly createdAtMs: number;
}

interface OldObjectRow {
  readonly key: string;
  readonly root_cid: string;
  readonly size_bytes: string;
  readonly headers: unknown;
  readonly metadata: unknown;
  readonly checksums: unknown;
  readonly modified_at: Date;
}

const ROWS_PER_FETCH = 1_000;

/** How many buckets still stand in the old tables. */
export async function countOldBuckets(pool: Pool): Promise<number> {
  const { rows } = await runQuery<{ buckets: string }>(pool, {
    name: "old_buckets_count",
    text: "select count(*) as buckets from gateway_buckets",
    values: [],
  });
  return Number(rows[0]?.buckets ?? 0);
}

/**
 * Looks that nothing waits in the old tables that clients of this version's gateway would miss.
 * @throws FulaError FULA_BUCKET_NOT_IMPORTED
 */
export async function assertOldBucketsImported(pool: Pool): Promise<void> {
  const buckets = await countOldBuckets(pool);
  if (buckets === 0) return;
  const what = buckets === 1 ? "1 bucket stands" : `${buckets} buckets stand`;
  throw new FulaError(
    "FULA_BUCKET_NOT_IMPORTED",
    `${what} in the tables of an earlier fula-master; nobody would find them.`,
    {
      hint: "fula-master buckets import --from-objects brings them in, and may be run again wherever it is cut off.",
      details: { buckets },
    },
  );
}

function textsOf(value: unknown): Readonly<Record<string, string>> {
  if (typeof value !== "object" || value === null) throw new Error("a row of gateway_objects holds no map of texts");
  return Object.fromEntries(Object.entries(value).map(([name, text]) => [name, String(text)]));
}

function objectOf(row: OldObjectRow): KeyedEntry {
  return {
    key: row.key,
    entry: {
      content: parseCid(row.root_cid),
      sizeBytes: Number(row.size_bytes),
      modifiedMs: row.modified_at.getTime(),
      etag: null,
      headers: textsOf(row.headers),
      metadata: textsOf(row.metadata),
      checksums: textsOf(row.checksums),
      tags: {},
      partSizes: [],
    },
  };
}

async function* readObjects(pool: Pool, bucketId: string, signal: AbortSignal): AsyncGenerator<KeyedEntry> {
  let after = "";
  for (;;) {
    signal.throwIfAborted();
    const { rows }: { readonly rows: readonly OldObjectRow[] } = await runQuery<OldObjectRow>(pool, {
      name: "old_objects_page",
      text: `
        select key, root_cid, size_bytes, headers, metadata, checksums, modified_at from gateway_objects
         where bucket_id = $1 and key > $2 order by key limit ${ROWS_PER_FETCH}`,
      values: [bucketId, after],
    });
    for (const row of rows) yield objectOf(row);
    const last = rows.at(-1);
    if (last === undefined) return;
    after = last.key;
  }
}

/**
 * Gives the rows of a bucket up that is now an index, in the transaction that makes it one. Nobody of this version writes
 * to them; a master of an earlier one that still runs is found out by what the rows add up to.
 */
async function giveUp(client: TransactionClient, bucket: OldBucket, read: ReadSource): Promise<void> {
  await client.query("lock table gateway_buckets, gateway_objects in share row exclusive mode");
  const { rows } = await client.query<{ objects: string; bytes: string }>(
    "select count(*) as objects, coalesce(sum(size_bytes), 0) as bytes from gateway_objects where bucket_id = $1",
    [bucket.bucketId],
  );
  if (rows[0]?.objects !== read.objects.toString() || rows[0].bytes !== read.bytes.toString()) {
    throw new FulaError(
      "FULA_BUCKET_IMPORT_REFUSED",
      `Bucket ${bucket.ownerId}/${bucket.name} was changed while it was read: another master still serves with an earlier fula-master.`,
      { hint: "stop serve on every master, then run the import again." },
    );
  }
  await client.query("delete from gateway_objects where bucket_id = $1", [bucket.bucketId]);
  await client.query("delete from gateway_buckets where bucket_id = $1", [bucket.bucketId]);
  // Contents that waited to be unpinned: the collector looks at them once no row is left that could refer to them.
  await client.query(
    `with taken as (delete from gateway_unpins where not exists (select from gateway_buckets) returning root_cid)
     insert into bucket_garbage (cid) select root_cid from taken order by root_cid collate "C"
         on conflict (cid) do update set queued_at = excluded.queued_at`,
  );
}

/**
 * The buckets that stand in the tables of an earlier fula-master.
 * @param userIdOf the user of an owner id; null where he is not known
 */
export async function oldBuckets(
  pool: Pool,
  userIdOf: (ownerId: string) => string | null,
): Promise<readonly BucketSource[]> {
  const { rows } = await runQuery<{ bucket_id: string; owner_id: string; name: string; created_at: Date }>(pool, {
    name: "old_buckets_list",
    text: "select bucket_id, owner_id, name, created_at from gateway_buckets order by owner_id, name",
    values: [],
  });
  return rows.map((row) => {
    const old: OldBucket = {
      bucketId: row.bucket_id,
      ownerId: row.owner_id,
      name: row.name,
      createdAtMs: row.created_at.getTime(),
    };
    return {
      ownerId: old.ownerId,
      bucket: old.name,
      userId: userIdOf(old.ownerId),
      tags: {},
      createdAtMs: old.createdAtMs,
      fleetRoot: null,
      objects: (signal: AbortSignal) => readObjects(pool, old.bucketId, signal),
      giveUp: async (client: TransactionClient, read: ReadSource) => await giveUp(client, old, read),
    };
  });
}
