import type { CID } from "multiformats/cid";
import { parseCid } from "../../blocks/cid.ts";
import { FulaError } from "../../kernel/errors.ts";
import type { BucketMetadata, BucketState } from "./root-pointer.ts";

/** A row of `bucket_roots`, as pg gives it. */
export interface RootRow {
  readonly owner_id: string;
  readonly bucket: string;
  readonly format: number;
  readonly root_cid: string;
  readonly version: string;
  readonly user_id: string | null;
  readonly object_count: string;
  readonly total_bytes: string;
  readonly metadata: unknown;
  readonly created_at: Date;
  readonly updated_at: Date;
  readonly deleted_at: Date | null;
}

/** A row, or what an outer join gives where there is none. */
export type MaybeRootRow = RootRow | { readonly [Column in keyof RootRow]: null };

/** The columns of `RootRow`. @param alias of the row */
export function rootColumns(alias: string): string {
  return [
    "owner_id",
    "bucket",
    "format",
    "root_cid",
    "version",
    "user_id",
    "object_count",
    "total_bytes",
    "metadata",
    "created_at",
    "updated_at",
    "deleted_at",
  ]
    .map((name) => `${alias}.${name}`)
    .join(", ");
}

function corrupt({ owner_id: ownerId, bucket, version }: RootRow, what: string, cause?: unknown): FulaError {
  return new FulaError(
    "FULA_BUCKET_ROOT_CORRUPT",
    `Bucket ${bucket} of ${ownerId} has ${what} at version ${version}.`,
    {
      hint: "bucket_commits has its earlier roots: fula-master buckets verify tells which of them can be read.",
      details: { ownerId, bucket, version },
      ...(cause === undefined ? {} : { cause }),
    },
  );
}

function rootOf(row: RootRow): CID {
  try {
    return parseCid(row.root_cid);
  } catch (cause) {
    throw corrupt(row, `a root that is no CID, ${JSON.stringify(row.root_cid.slice(0, 80))},`, cause);
  }
}

function textsOf(value: unknown): Readonly<Record<string, string>> | null {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  const texts: Record<string, string> = {};
  for (const [name, text] of Object.entries(value) as [string, unknown][]) {
    if (typeof text !== "string") return null;
    texts[name] = text;
  }
  return texts;
}

function metadataOf(row: RootRow): BucketMetadata {
  const { metadata } = row;
  const tags = typeof metadata === "object" && metadata !== null && "tags" in metadata ? textsOf(metadata.tags) : {};
  if (tags === null) throw corrupt(row, "metadata that are not of fula-master");
  return { tags };
}

/** The error for a bucket whose index is the existing fleet's. */
function notImported({ owner_id: ownerId, bucket }: RootRow): FulaError {
  return new FulaError(
    "FULA_BUCKET_NOT_IMPORTED",
    `Bucket ${bucket} of ${ownerId} is one of the existing fleet; its index has not been read and verified yet.`,
    { hint: "fula-master buckets import", details: { ownerId, bucket } },
  );
}

/** Of an index of the existing fleet's, as in `bucket_roots.format`. */
const FLEET_FORMAT = 0;

/**
 * The bucket of a row; null for a tombstone.
 * @throws FulaError FULA_BUCKET_NOT_IMPORTED, FULA_BUCKET_ROOT_CORRUPT
 */
export function stateOf(row: RootRow): BucketState | null {
  if (row.format === FLEET_FORMAT) throw notImported(row);
  if (row.deleted_at !== null) return null;
  return {
    ownerId: row.owner_id,
    bucket: row.bucket,
    root: rootOf(row),
    version: BigInt(row.version),
    userId: row.user_id,
    objectCount: BigInt(row.object_count),
    totalBytes: BigInt(row.total_bytes),
    metadata: metadataOf(row),
    createdAtMs: row.created_at.getTime(),
    movedAtMs: row.updated_at.getTime(),
  };
}
