import type { CID } from "multiformats/cid";
import type { TransactionClient } from "../postgres/transaction.ts";
import type { BucketName } from "./roots/root-pointer.ts";

/** A bucket that was read, built and verified, and is to be one of ours. */
export interface ImportedBucket extends BucketName {
  /** Null where only the owner id is known. */
  readonly userId: string | null;
  readonly root: CID;
  readonly objectCount: bigint;
  readonly totalBytes: bigint;
  readonly tags: Readonly<Record<string, string>>;
  /** Null where nobody knows; then it is made now. */
  readonly createdAtMs: number | null;
  /** The root of the fleet's that was read; null where there must be no row of the fleet. */
  readonly fleetRoot: string | null;
  readonly commitId: string;
  /** Name of this master. */
  readonly node: string;
}

/** What stands in a bucket's place. */
export interface PresentRow {
  readonly format: number;
  readonly rootCid: string;
  readonly isDeleted: boolean;
  /** True where it had, or has, the root that was asked for. */
  readonly hadRoot: boolean;
}

/**
 * What stands there now; null where there is no row.
 * @param root of an index that an earlier import may have made it
 */
export async function presentRow(
  client: TransactionClient,
  { ownerId, bucket }: BucketName,
  root: CID,
): Promise<PresentRow | null> {
  const { rows } = await client.query<{ format: number; root_cid: string; deleted: boolean; was_root: boolean }>({
    name: "bucket_import_present",
    text: `
      select format, root_cid, deleted_at is not null as deleted,
             exists (select from bucket_commits c
                      where c.owner_id = b.owner_id and c.bucket = b.bucket and c.root_cid = $3) as was_root
        from bucket_roots b where owner_id = $1 and bucket = $2`,
    values: [ownerId, bucket, root.toString()],
  });
  const [row] = rows;
  if (row === undefined) return null;
  return { format: row.format, rootCid: row.root_cid, isDeleted: row.deleted, hadRoot: row.was_root };
}

/**
 * Makes the bucket one of ours, in one statement: where nothing stands in its place, or a deleted bucket; or where the
 * fleet's row stands there with the very root that was read. Nothing else is ever written over.
 * @returns the new version; null where something else stands there
 */
export async function moveImported(client: TransactionClient, bucket: ImportedBucket): Promise<bigint | null> {
  const { rows } = await client.query<{ version: string }>({
    name: "bucket_import_move",
    text: `
      with moved as (
        insert into bucket_roots as b
               (owner_id, bucket, format, commit_id, root_cid, object_count, total_bytes, metadata, user_id, covered_bytes, created_at, updated_at)
        select $1, $2, 1, $3, $5, $6, $7, $8, $9, pinned_object_bytes($9, $2),
               coalesce(to_timestamp($10::float8 / 1000), clock_timestamp()), clock_timestamp()
            on conflict (owner_id, bucket) do update
           set format = 1, commit_id = $3, version = b.version + 1, root_cid = $5, object_count = $6, total_bytes = $7,
               metadata = $8, user_id = coalesce($9, b.user_id),
               covered_bytes = pinned_object_bytes(coalesce($9, b.user_id), $2), updated_at = clock_timestamp(), deleted_at = null,
               created_at = coalesce(to_timestamp($10::float8 / 1000), clock_timestamp())
         where (b.format = 0 and b.root_cid = $11) or (b.format = 1 and b.deleted_at is not null and $11::text is null)
        returning b.version, b.root_cid, b.object_count, b.total_bytes
      ), noted as (
        insert into bucket_commits (owner_id, bucket, version, root_cid, object_count, total_bytes, commit_id, node)
        select $1, $2, version, root_cid, object_count, total_bytes, $3, $4 from moved
      )
      select version from moved`,
    values: [
      bucket.ownerId,
      bucket.bucket,
      bucket.commitId,
      bucket.node,
      bucket.root.toString(),
      bucket.objectCount.toString(),
      bucket.totalBytes.toString(),
      JSON.stringify({ tags: bucket.tags }),
      bucket.userId,
      bucket.createdAtMs,
      bucket.fleetRoot,
    ],
  });
  return rows[0] === undefined ? null : BigInt(rows[0].version);
}
