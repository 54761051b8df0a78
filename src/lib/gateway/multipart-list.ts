import { uriEncode } from "../identity/raw-request.ts";
import { requireBucket } from "./bucket-access.ts";
import type { Exchange } from "./exchange.ts";
import { commonPrefixOf, prefixEnd } from "./listing.ts";
import { requireOpenUpload } from "./multipart-access.ts";
import type { UploadChecksum } from "./multipart-checksums.ts";
import type { ListedUpload } from "./multipart-record.ts";
import { listParts, listUploads } from "./multipart-table.ts";
import { type Operation, type OperationParts, READS } from "./operation.ts";
import type { QueryMap } from "./query.ts";
import { S3Error } from "./s3-error.ts";
import { element, s3Document, type Xml } from "./xml.ts";

const XML = "application/xml";
/** S3's own upper limit of one page. */
const PAGE_MAX = 1_000;

function numberOf(query: QueryMap, name: string, absent: number): number {
  const text = query.get(name);
  if (text === undefined) return absent;
  if (/^\d{1,10}$/.test(text)) return Number(text);
  throw new S3Error("InvalidArgument", `${name} is not a number from 0 up.`, {
    fields: { ArgumentName: name, ArgumentValue: text },
  });
}

/** How keys are written: as they are, or percent-encoded where the client cannot read what XML does to them. */
function encoderOf(query: QueryMap): (text: string) => string {
  const encoding = query.get("encoding-type");
  if (encoding === undefined) return (text) => text;
  if (encoding === "url") return (text) => uriEncode(Buffer.from(text, "utf8")).replaceAll("%2F", "/");
  throw new S3Error("InvalidArgument", "Invalid Encoding Method specified in Request.", {
    fields: { ArgumentName: "encoding-type", ArgumentValue: encoding },
  });
}

function ownerElements(ownerId: string): readonly Xml[] {
  const who = [element("ID", ownerId), element("DisplayName", ownerId)];
  return [element("Initiator", ...who), element("Owner", ...who), element("StorageClass", "STANDARD")];
}

function checksumElements(checksum: UploadChecksum | null): readonly Xml[] {
  if (checksum === null) return [];
  return [element("ChecksumAlgorithm", checksum.name.toUpperCase()), element("ChecksumType", checksum.type)];
}

function optional(tag: string, text: string): Xml | null {
  return text === "" ? null : element(tag, text);
}

/** GET /{bucket}/{key}?uploadId. */
async function listPartsOperation(exchange: Exchange, parts: OperationParts): Promise<void> {
  const { query, wire } = exchange;
  const encode = encoderOf(query);
  const after = numberOf(query, "part-number-marker", 0);
  const maxParts = Math.min(numberOf(query, "max-parts", PAGE_MAX), PAGE_MAX);
  const upload = await requireOpenUpload(exchange, parts);
  // One more than fits tells whether there is a next page.
  const held = await listParts(parts.multipart.pool, upload.uploadId, { after, limit: maxParts + 1 });
  const page = held.slice(0, maxParts);
  const isTruncated = held.length > page.length && page.length > 0;
  const document = s3Document(
    "ListPartsResult",
    element("Bucket", upload.bucket),
    element("Key", encode(upload.key)),
    element("UploadId", upload.uploadId),
    ...ownerElements(upload.ownerId),
    ...checksumElements(upload.checksum),
    element("PartNumberMarker", after),
    element("NextPartNumberMarker", page.at(-1)?.partNumber ?? after),
    element("MaxParts", maxParts),
    query.has("encoding-type") ? element("EncodingType", "url") : null,
    element("IsTruncated", isTruncated),
    ...page.map((part) =>
      element(
        "Part",
        element("PartNumber", part.partNumber),
        element("LastModified", new Date(part.modifiedMs).toISOString()),
        element("ETag", `"${part.etag}"`),
        element("Size", part.sizeBytes),
        ...Object.entries(part.checksums).map(([name, value]) => element(`Checksum${name.toUpperCase()}`, value)),
      ),
    ),
  );
  wire.text(200, XML, document);
}

interface UploadsRequest {
  readonly prefix: string;
  readonly delimiter: string;
  readonly keyMarker: string;
  readonly idMarker: string;
  readonly maxUploads: number;
}

interface UploadsPage {
  readonly uploads: readonly ListedUpload[];
  readonly prefixes: readonly string[];
  /** Null at the end. */
  readonly next: { readonly key: string; readonly uploadId: string } | null;
}

/** Greater than every upload id, which are hex. */
const AFTER_ALL_IDS = "~";

/** Where a page begins. A key marker without an id, and one that is a common prefix, stand for all that they begin. */
function firstCursor({ keyMarker, idMarker, ...request }: UploadsRequest): { after: string; afterId: string } | null {
  if (keyMarker === "") return { after: "", afterId: "" };
  const common = commonPrefixOf(keyMarker, request);
  if (common === keyMarker) {
    const end = prefixEnd(common);
    return end === null ? null : { after: end, afterId: "" };
  }
  return { after: keyMarker, afterId: idMarker === "" ? AFTER_ALL_IDS : idMarker };
}

/**
 * Reads one page.
 * @param read uploads in order after a cursor, at most so many
 */
export async function readUploadsPage(
  read: (
    cursor: { readonly after: string; readonly afterId: string },
    limit: number,
  ) => Promise<readonly ListedUpload[]>,
  request: UploadsRequest,
): Promise<UploadsPage> {
  const uploads: ListedUpload[] = [];
  const prefixes: string[] = [];
  let last = { key: "", uploadId: "" };
  let cursor = request.maxUploads === 0 ? null : firstCursor(request);
  while (cursor !== null) {
    const found: readonly ListedUpload[] = await read(
      cursor,
      request.maxUploads - uploads.length - prefixes.length + 1,
    );
    cursor = null;
    for (const upload of found) {
      if (uploads.length + prefixes.length >= request.maxUploads) return { uploads, prefixes, next: last };
      const common = commonPrefixOf(upload.key, request);
      if (common === null) {
        uploads.push(upload);
        last = { key: upload.key, uploadId: upload.uploadId };
        continue;
      }
      prefixes.push(common);
      last = { key: common, uploadId: "" };
      const end = prefixEnd(common);
      cursor = end === null ? null : { after: end, afterId: "" };
      break;
    }
  }
  return { uploads, prefixes, next: null };
}

/** GET /{bucket}?uploads. */
async function listMultipartUploads(exchange: Exchange, parts: OperationParts): Promise<void> {
  const { query, wire } = exchange;
  const encode = encoderOf(query);
  const { state } = await requireBucket(exchange, parts.buckets);
  const { ownerId, bucket, createdAtMs: bucketCreatedMs } = state;
  const request: UploadsRequest = {
    prefix: query.get("prefix") ?? "",
    delimiter: query.get("delimiter") ?? "",
    keyMarker: query.get("key-marker") ?? "",
    idMarker: query.get("upload-id-marker") ?? "",
    maxUploads: Math.min(numberOf(query, "max-uploads", PAGE_MAX), PAGE_MAX),
  };
  const bounds = { prefix: request.prefix, prefixEnd: request.prefix === "" ? null : prefixEnd(request.prefix) };
  const page = await readUploadsPage(
    async (cursor, limit) =>
      await listUploads(parts.multipart.pool, { ownerId, bucket, bucketCreatedMs }, { ...bounds, ...cursor, limit }),
    request,
  );
  const document = s3Document(
    "ListMultipartUploadsResult",
    element("Bucket", bucket),
    element("KeyMarker", encode(request.keyMarker)),
    element("UploadIdMarker", request.idMarker),
    element("NextKeyMarker", encode(page.next?.key ?? "")),
    element("NextUploadIdMarker", page.next?.uploadId ?? ""),
    element("Prefix", encode(request.prefix)),
    optional("Delimiter", encode(request.delimiter)),
    element("MaxUploads", request.maxUploads),
    query.has("encoding-type") ? element("EncodingType", "url") : null,
    element("IsTruncated", page.next !== null),
    ...page.uploads.map(({ uploadId, key, createdMs, checksum }) =>
      element(
        "Upload",
        element("Key", encode(key)),
        element("UploadId", uploadId),
        ...ownerElements(ownerId),
        element("Initiated", new Date(createdMs).toISOString()),
        ...checksumElements(checksum),
      ),
    ),
    ...page.prefixes.map((prefix) => element("CommonPrefixes", element("Prefix", encode(prefix)))),
  );
  wire.text(200, XML, document);
}

/** Listing parts and uploads. */
export const MULTIPART_LIST_OPERATIONS: readonly Operation[] = [
  {
    ...READS,
    name: "ListParts",
    target: "object",
    method: "GET",
    chosenBy: { query: ["uploadId"] },
    query: ["uploadId", "max-parts", "part-number-marker", "encoding-type"],
    run: listPartsOperation,
  },
  {
    ...READS,
    name: "ListMultipartUploads",
    target: "bucket",
    method: "GET",
    chosenBy: { query: ["uploads"] },
    query: ["uploads", "prefix", "delimiter", "key-marker", "upload-id-marker", "max-uploads", "encoding-type"],
    run: listMultipartUploads,
  },
];
