import { requireCurrentBucket } from "./bucket-access.ts";
import type { Random } from "../kernel/random.ts";
import type { Pool } from "../postgres/pool.ts";
import type { Exchange } from "./exchange.ts";
import type { UploadRecord } from "./multipart-record.ts";
import { findUpload } from "./multipart-table.ts";
import type { OperationParts } from "./operation.ts";
import { S3Error } from "./s3-error.ts";

/** Where multipart uploads stand, and how many there may be. */
export interface Multipart {
  readonly pool: Pool;
  readonly random: Random;
  /** Open uploads of one owner. */
  readonly openMax: number;
  /** Bytes of every part but the last. */
  readonly partBytesMin: number;
}

/** S3's own. */
export const PART_NUMBER_MAX = 10_000;

/** The error for an upload that is not there, or not the sender's. */
export function noSuchUpload(uploadId: string): S3Error {
  return new S3Error(
    "NoSuchUpload",
    "The specified multipart upload does not exist: its id is wrong, or it was aborted, completed or has expired.",
    { fields: { UploadId: uploadId } },
  );
}

/**
 * The upload that a request names, where it is the sender's own and of this bucket and key. Nothing is changed before.
 * @throws S3Error NoSuchBucket, NoSuchUpload
 */
export async function requireUpload(
  exchange: Exchange,
  parts: Pick<OperationParts, "buckets" | "multipart">,
): Promise<UploadRecord> {
  const { state } = await requireCurrentBucket(exchange, parts.buckets);
  const uploadId = exchange.query.get("uploadId") ?? "";
  const upload = await findUpload(parts.multipart.pool, uploadId);
  const isOfBucket =
    upload?.ownerId === state.ownerId && upload.bucket === state.bucket && upload.bucketCreatedMs === state.createdAtMs;
  if (!isOfBucket || upload.key !== exchange.address.key) throw noSuchUpload(uploadId);
  return upload;
}

/** The same, where parts can still be added. @throws S3Error NoSuchBucket, NoSuchUpload */
export async function requireOpenUpload(
  exchange: Exchange,
  parts: Pick<OperationParts, "buckets" | "multipart">,
): Promise<UploadRecord> {
  const upload = await requireUpload(exchange, parts);
  if (upload.isCompleted) throw noSuchUpload(upload.uploadId);
  return upload;
}

/** Reads `partNumber`. @throws S3Error InvalidArgument */
export function partNumberOf({ query }: Pick<Exchange, "query">): number {
  const text = query.get("partNumber") ?? "";
  const partNumber = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (partNumber >= 1 && partNumber <= PART_NUMBER_MAX) return partNumber;
  throw new S3Error("InvalidArgument", `Part number must be an integer between 1 and ${PART_NUMBER_MAX}, inclusive.`, {
    fields: { ArgumentName: "partNumber", ArgumentValue: text },
  });
}
