import { CID } from "multiformats/cid";
import type { BlockStore } from "../blocks/block-store.ts";
import type { Clock } from "../kernel/clock.ts";
import type { Pool } from "../postgres/pool.ts";
import { isBucketGone } from "./bucket-table.ts";
import { noSuchBucket, requireBucket } from "./bucket-operations.ts";
import type { Exchange } from "./exchange.ts";
import { checksumHeaders, etagOf, keptHeaders, objectHeaders, userMetadata } from "./object-headers.ts";
import { openObjectBody, type ObjectBody } from "./object-body.ts";
import { findObject, type ObjectRecord } from "./object-table.ts";
import type { Publication } from "./publication.ts";
import { parseRange } from "./range.ts";
import { S3Error } from "./s3-error.ts";
import { readContent, storeContent, type StoredContent } from "./unixfs.ts";
import type { UploadRegistry } from "./upload-blocks.ts";

/** What operations on objects need. */
export interface ObjectParts {
  readonly pool: Pool;
  readonly blocks: BlockStore;
  readonly uploads: UploadRegistry;
  readonly publication: Publication;
  readonly maxObjectBytes: number;
  readonly clock: Clock;
}

/** Stores a body; one that fails leaves no block behind. The caller says whether the blocks are kept. */
async function receive(body: ObjectBody, parts: ObjectParts): Promise<StoredContent> {
  const upload = parts.uploads.begin();
  try {
    const stored = await storeContent(body.bytes, upload);
    // From here on a row may come to refer to them, even where the answer to its commit is lost.
    upload.keep();
    return stored;
  } catch (error) {
    await upload.discard();
    throw error;
  }
}

/** PUT /{bucket}/{key}: body → blocks → pin → row, each only after the one before it. */
export async function putObjectOperation(exchange: Exchange, parts: ObjectParts): Promise<void> {
  const { headers } = exchange.raw;
  const key = exchange.address.key ?? "";
  const bucket = await requireBucket(exchange, parts.pool);
  const kept = keptHeaders(headers);
  const metadata = userMetadata(headers);
  const body = await openObjectBody(headers, exchange.auth, exchange.wire.body(), parts.maxObjectBytes);
  const stored = await receive(body, parts);
  const checksum = body.verifiedChecksum();
  const checksums = checksum === null ? {} : { [checksum.name]: checksum.value };
  const object: ObjectRecord = {
    key,
    rootCid: stored.root.toString(),
    sizeBytes: stored.sizeBytes,
    headers: kept,
    metadata,
    checksums,
    modifiedAtMs: parts.clock.nowMs(),
  };
  try {
    await parts.publication.publish(bucket, stored.root, object);
  } catch (error) {
    throw isBucketGone(error) ? noSuchBucket(bucket.name) : error;
  }
  exchange.wire.empty(200, { etag: etagOf(object.rootCid), ...checksumHeaders(checksums) });
}

async function requireObject(exchange: Exchange, pool: Pool): Promise<ObjectRecord> {
  const bucket = await requireBucket(exchange, pool);
  const key = exchange.address.key ?? "";
  const object = await findObject(pool, bucket.bucketId, key);
  if (object === null) throw new S3Error("NoSuchKey", "The specified key does not exist.", { fields: { Key: key } });
  return object;
}

/** The head of an answer about an object, and which of its bytes are asked for. */
function planAnswer(
  exchange: Exchange,
  object: ObjectRecord,
): {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | number>>;
  readonly range: { readonly start: number; readonly end: number };
} {
  const { headers } = exchange.raw;
  const mode = headers.single("x-amz-checksum-mode");
  if (mode !== null && mode !== "ENABLED") {
    throw new S3Error("InvalidArgument", "x-amz-checksum-mode must be ENABLED.", {
      fields: { ArgumentName: "x-amz-checksum-mode", ArgumentValue: mode },
    });
  }
  const asked = parseRange(headers.single("range"), object.sizeBytes);
  const range = asked ?? { start: 0, end: object.sizeBytes - 1 };
  const partly = asked === null ? {} : { "content-range": `bytes ${range.start}-${range.end}/${object.sizeBytes}` };
  // A checksum of the whole says nothing about a part.
  const checksums = asked === null && mode !== null ? checksumHeaders(object.checksums) : {};
  return {
    status: asked === null ? 200 : 206,
    headers: { ...objectHeaders(object), ...partly, ...checksums, "content-length": range.end - range.start + 1 },
    range,
  };
}

/** GET /{bucket}/{key}. */
export async function getObjectOperation(exchange: Exchange, parts: ObjectParts): Promise<void> {
  const object = await requireObject(exchange, parts.pool);
  const { status, headers, range } = planAnswer(exchange, object);
  await exchange.wire.stream(status, headers, readContent(CID.parse(object.rootCid), range, parts.blocks));
}

/** HEAD /{bucket}/{key}. */
export async function headObjectOperation(exchange: Exchange, parts: ObjectParts): Promise<void> {
  const object = await requireObject(exchange, parts.pool);
  const { status, headers } = planAnswer(exchange, object);
  exchange.wire.headOnly(status, headers);
}

/** DELETE /{bucket}/{key}; a key that is not there counts as deleted. */
export async function deleteObjectOperation(exchange: Exchange, parts: ObjectParts): Promise<void> {
  const bucket = await requireBucket(exchange, parts.pool);
  await parts.publication.remove(bucket.bucketId, exchange.address.key ?? "");
  exchange.wire.empty(204);
}
