import { z } from "zod";
import type { Texts } from "../buckets/tree/object-entry.ts";
import type { UploadChecksum } from "./multipart-checksums.ts";

/** Which bucket and key an upload is about. */
export interface UploadTarget {
  readonly ownerId: string;
  readonly bucket: string;
  /** Of the bucket that it was begun in; one of the same name that was made later is another. */
  readonly bucketCreatedMs: number;
  readonly key: string;
}

/** What the object is to have beside its content. */
export interface NewUpload extends UploadTarget {
  readonly uploadId: string;
  readonly headers: Texts;
  readonly metadata: Texts;
  readonly tags: Texts;
  readonly checksum: UploadChecksum | null;
}

/** What completing an upload makes of it. */
export interface CompletionPlan {
  /** CID. */
  readonly content: string;
  readonly sizeBytes: number;
  /** Without quotes. */
  readonly etag: string;
  readonly modifiedMs: number;
  readonly checksums: Texts;
  readonly partSizes: readonly number[];
}

/** An upload as it stands in the ledger. */
export interface UploadRecord extends NewUpload {
  readonly createdMs: number;
  /** Null while nobody completes it. */
  readonly plan: CompletionPlan | null;
  readonly isCompleted: boolean;
}

/** One part of an upload. */
export interface PartRecord {
  readonly partNumber: number;
  /** CID. */
  readonly content: string;
  readonly sizeBytes: number;
  readonly dagBytes: number;
  /** Without quotes. */
  readonly etag: string;
  readonly checksums: Texts;
}

/** A part in a listing. */
export interface ListedPart extends PartRecord {
  readonly modifiedMs: number;
}

/** An upload in a listing. */
export type ListedUpload = Pick<UploadRecord, "uploadId" | "key" | "createdMs" | "checksum">;

const textsSchema = z.record(z.string(), z.string());
const planSchema = z.object({
  content: z.string(),
  sizeBytes: z.number(),
  etag: z.string(),
  modifiedMs: z.number(),
  checksums: textsSchema,
  partSizes: z.array(z.number()),
});
const checksumSchema = z.object({
  name: z.enum(["crc32", "crc32c", "crc64nvme", "sha1", "sha256"]),
  type: z.enum(["COMPOSITE", "FULL_OBJECT"]),
});

/** A row of `multipart_uploads`. */
export interface UploadRow {
  readonly upload_id: string;
  readonly owner_id: string;
  readonly bucket: string;
  readonly bucket_created_ms: string;
  readonly key: string;
  readonly headers: unknown;
  readonly metadata: unknown;
  readonly tags: unknown;
  readonly checksum: string | null;
  readonly checksum_type: string | null;
  readonly created_at: Date;
  readonly plan: unknown;
  readonly is_completed: boolean;
}

/** A row of `multipart_parts`. */
export interface PartRow {
  readonly part_number: number;
  readonly content_cid: string;
  readonly size_bytes: string;
  readonly dag_bytes: string;
  readonly etag: string;
  readonly checksums: unknown;
  readonly modified_at: Date;
}

/** Columns of an `UploadRow`. */
export const UPLOAD_COLUMNS = `upload_id, owner_id, bucket, bucket_created_ms, key, headers, metadata, tags, checksum,
        checksum_type, created_at, plan, completed_at is not null as is_completed`;
/** Columns of a `PartRow`. */
export const PART_COLUMNS = "part_number, content_cid, size_bytes, dag_bytes, etag, checksums, modified_at";

function checksumOf(row: Pick<UploadRow, "checksum" | "checksum_type">): UploadChecksum | null {
  return row.checksum === null ? null : checksumSchema.parse({ name: row.checksum, type: row.checksum_type });
}

/** The plan of a row; null where it has none. */
export function planOf(value: unknown): CompletionPlan | null {
  return value === null ? null : planSchema.parse(value);
}

/** Reads a row. */
export function uploadOf(row: UploadRow): UploadRecord {
  return {
    uploadId: row.upload_id,
    ownerId: row.owner_id,
    bucket: row.bucket,
    bucketCreatedMs: Number(row.bucket_created_ms),
    key: row.key,
    headers: textsSchema.parse(row.headers),
    metadata: textsSchema.parse(row.metadata),
    tags: textsSchema.parse(row.tags),
    checksum: checksumOf(row),
    createdMs: row.created_at.getTime(),
    plan: planOf(row.plan),
    isCompleted: row.is_completed,
  };
}

/** Reads a row of a listing. */
export function listedUploadOf(
  row: Pick<UploadRow, "upload_id" | "key" | "created_at" | "checksum" | "checksum_type">,
): ListedUpload {
  return {
    uploadId: row.upload_id,
    key: row.key,
    createdMs: row.created_at.getTime(),
    checksum: checksumOf(row),
  };
}

/** Reads a row. */
export function partOf(row: PartRow): ListedPart {
  return {
    partNumber: row.part_number,
    content: row.content_cid,
    sizeBytes: Number(row.size_bytes),
    dagBytes: Number(row.dag_bytes),
    etag: row.etag,
    checksums: textsSchema.parse(row.checksums),
    modifiedMs: row.modified_at.getTime(),
  };
}
