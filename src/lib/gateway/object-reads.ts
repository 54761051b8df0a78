import type { Buckets } from "../buckets/buckets.ts";
import { etagOf, type ObjectEntry } from "../buckets/tree/object-entry.ts";
import { isFulaError } from "../kernel/errors.ts";
import { noSuchKey, requireBucket } from "./bucket-access.ts";
import { allowsRange, judgeRead, READ_CONDITIONS } from "./conditions.ts";
import type { AnswerHeaders, Exchange } from "./exchange.ts";
import { checksumHeaders, CID_HEADER, objectHeaders } from "./object-headers.ts";
import { overriddenHeaders, RESPONSE_PARAMETERS } from "./response-headers.ts";
import { type Operation, type OperationParts, READS } from "./operation.ts";
import { parseRange } from "./range.ts";
import { S3Error } from "./s3-error.ts";
import { type ByteRange, readContent } from "./unixfs.ts";
import { checkVersionId } from "./version-id.ts";

/** The object of a request. @throws S3Error NoSuchBucket, NoSuchKey */
export async function requireObject(exchange: Exchange, buckets: Buckets): Promise<ObjectEntry> {
  checkVersionId(exchange.query.get("versionId"));
  const key = exchange.address.key ?? "";
  const { index } = await requireBucket(exchange, buckets);
  const found = await index.find(key);
  if (found === null) throw noSuchKey(key);
  return found.entry;
}

/** The head of an answer about an object, and which of its bytes are asked for; null for none of them. */
interface PlannedAnswer {
  readonly status: number;
  readonly headers: AnswerHeaders;
  readonly range: ByteRange | null;
}

function wantsChecksums({ raw: { headers } }: Exchange): boolean {
  const mode = headers.single("x-amz-checksum-mode");
  if (mode === null || mode === "ENABLED") return mode !== null;
  throw new S3Error("InvalidArgument", "x-amz-checksum-mode must be ENABLED.", {
    fields: { ArgumentName: "x-amz-checksum-mode", ArgumentValue: mode },
  });
}

/** Where a part of an object lies that was joined from parts; one that came in a piece is its own first part. */
function rangeOfPart(text: string, { partSizes, sizeBytes }: ObjectEntry): ByteRange | null {
  if (!/^[1-9]\d{0,4}$/.test(text) || Number(text) > 10_000) {
    throw new S3Error("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive.", {
      fields: { ArgumentName: "partNumber", ArgumentValue: text },
    });
  }
  const sizes = partSizes.length === 0 ? [sizeBytes] : partSizes;
  const number = Number(text);
  const size = sizes[number - 1];
  // An empty part of something else has no byte that a Content-Range could name.
  if (size === undefined || (size === 0 && sizeBytes > 0)) {
    throw new S3Error("InvalidPartNumber", "The requested partnumber is not satisfiable.", {
      fields: { PartNumberRequested: text, ActualPartCount: String(sizes.length) },
    });
  }
  const start = sizes.slice(0, number - 1).reduce((sum, each) => sum + each, 0);
  return size === 0 ? null : { start, end: start + size - 1 };
}

/** The range that a request asks for; null where it is everything. */
function askedRange({ raw: { headers }, query }: Exchange, object: ObjectEntry): ByteRange | null {
  const part = query.get("partNumber");
  const range = headers.single("range");
  if (part !== undefined) {
    if (range !== null) throw new S3Error("InvalidRequest", "Cannot specify both Range header and partNumber.");
    return rangeOfPart(part, object);
  }
  return allowsRange(headers, judgedOf(object)) ? parseRange(range, object.sizeBytes) : null;
}

function judgedOf(object: ObjectEntry): { readonly etag: string; readonly modifiedMs: number } {
  return { etag: etagOf(object), modifiedMs: object.modifiedMs };
}

function planAnswer(exchange: Exchange, object: ObjectEntry): PlannedAnswer {
  const withChecksums = wantsChecksums(exchange);
  const common = { ...objectHeaders(object), ...overriddenHeaders(exchange.query) };
  if (judgeRead(exchange.raw.headers, judgedOf(object)) === "not-modified") {
    const { etag, "last-modified": modified, "cache-control": cached = null, expires = null } = common;
    const kept = { ...(cached !== null && { "cache-control": cached }), ...(expires !== null && { expires }) };
    return { status: 304, headers: { etag, "last-modified": modified, ...kept }, range: null };
  }
  const asked = askedRange(exchange, object);
  const range = asked ?? { start: 0, end: object.sizeBytes - 1 };
  const counted = exchange.query.has("partNumber") && object.partSizes.length > 0;
  const headers = {
    ...common,
    ...(asked !== null && { "content-range": `bytes ${range.start}-${range.end}/${object.sizeBytes}` }),
    ...(counted && { "x-amz-mp-parts-count": object.partSizes.length }),
    // A checksum of the whole says nothing about a part.
    ...(asked === null && withChecksums && checksumHeaders(object.checksums)),
    "content-length": range.end - range.start + 1,
  };
  return { status: asked === null ? 200 : 206, headers, range: range.end < range.start ? null : range };
}

/**
 * What is thrown where an object is there and its bytes are not, or are damaged. The fleet's devices fetch by CID after
 * a 404 and take a 5xx for a master that is offline; the log and the metrics tell the operator that it is our fault.
 */
function contentMissing(error: unknown, key: string, { content }: ObjectEntry): unknown {
  const isMissing = isFulaError(error, "FULA_BLOCK_MISSING") || isFulaError(error, "FULA_BLOCK_CORRUPT");
  if (!isMissing) return error;
  const cid = content.toString();
  return new S3Error("NoSuchKey", "The key exists; its content is not to be had here at the moment.", {
    fields: { Key: key, Cid: cid },
    headers: { [CID_HEADER]: cid, "x-fula-error": error.code },
    cause: error,
    isFault: true,
  });
}

async function getObject(exchange: Exchange, { buckets, blocks }: OperationParts): Promise<void> {
  const { wire, address } = exchange;
  const object = await requireObject(exchange, buckets);
  const { status, headers, range } = planAnswer(exchange, object);
  if (range === null) {
    wire.headOnly(status, headers);
    return;
  }
  try {
    await wire.stream(status, headers, readContent(object.content, range, blocks));
  } catch (error) {
    throw wire.answered ? error : contentMissing(error, address.key ?? "", object);
  }
}

async function headObject(exchange: Exchange, { buckets }: OperationParts): Promise<void> {
  const { status, headers } = planAnswer(exchange, await requireObject(exchange, buckets));
  exchange.wire.headOnly(status, headers);
}

const OBJECT_READ = {
  ...READS,
  target: "object",
  query: [...RESPONSE_PARAMETERS, "versionId", "partNumber"],
  headers: ["x-amz-checksum-mode"],
  conditions: READ_CONDITIONS,
} as const;

/** Operations that give an object or its head. */
export const OBJECT_READS: readonly Operation[] = [
  { ...OBJECT_READ, name: "GetObject", method: "GET", run: getObject },
  { ...OBJECT_READ, name: "HeadObject", method: "HEAD", run: headObject },
];
