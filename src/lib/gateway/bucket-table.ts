import { sqlStateOf } from "../postgres/database-errors.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";

/** A bucket of one owner. */
export interface Bucket {
  /** Numbers are never given twice, so a bucket that was deleted and made again is another one. */
  readonly bucketId: string;
  readonly name: string;
  readonly createdAtMs: number;
}

interface BucketRow {
  readonly bucket_id: string;
  readonly name: string;
  readonly created_at: Date;
}

// https://www.postgresql.org/docs/current/errcodes-appendix.html: foreign_key_violation.
const FOREIGN_KEY_VIOLATION = "23503";

function bucketOf(row: BucketRow): Bucket {
  return { bucketId: row.bucket_id, name: row.name, createdAtMs: row.created_at.getTime() };
}

/** Makes a bucket. @returns false where the owner has it already */
export async function createBucket(pool: Pool, ownerId: string, name: string): Promise<boolean> {
  const { rowCount } = await runQuery(pool, {
    name: "gateway_bucket_create",
    text: `
      insert into gateway_buckets (owner_id, name) values ($1, $2)
      on conflict on constraint gateway_buckets_owner_name do nothing`,
    values: [ownerId, name],
  });
  return rowCount === 1;
}

/** The owner's bucket of this name; null where there is none, whoever else has one. */
export async function findBucket(pool: Pool, ownerId: string, name: string): Promise<Bucket | null> {
  const { rows } = await runQuery<BucketRow>(pool, {
    name: "gateway_bucket_find",
    text: "select bucket_id, name, created_at from gateway_buckets where owner_id = $1 and name = $2",
    values: [ownerId, name],
  });
  return rows[0] === undefined ? null : bucketOf(rows[0]);
}

/** Every bucket of an owner, by name. */
export async function listBuckets(pool: Pool, ownerId: string): Promise<readonly Bucket[]> {
  const { rows } = await runQuery<BucketRow>(pool, {
    name: "gateway_bucket_list",
    text: "select bucket_id, name, created_at from gateway_buckets where owner_id = $1 order by name",
    values: [ownerId],
  });
  return rows.map(bucketOf);
}

/** Removes a bucket; the foreign key of its objects decides whether it is empty, also against a PUT at the same time. */
export async function deleteBucket(
  pool: Pool,
  ownerId: string,
  name: string,
): Promise<"deleted" | "not-empty" | "absent"> {
  try {
    const { rowCount } = await runQuery(pool, {
      name: "gateway_bucket_delete",
      text: "delete from gateway_buckets where owner_id = $1 and name = $2",
      values: [ownerId, name],
    });
    return rowCount === 1 ? "deleted" : "absent";
  } catch (error) {
    if (sqlStateOf(error) === FOREIGN_KEY_VIOLATION) return "not-empty";
    throw error;
  }
}

/** True for the error of a write into a bucket that was deleted meanwhile. */
export function isBucketGone(error: unknown): boolean {
  return sqlStateOf(error) === FOREIGN_KEY_VIOLATION;
}
