import type { Buckets, Mutation } from "../buckets/buckets.ts";
import { etagOf, type ObjectEntry } from "../buckets/tree/object-entry.ts";
import { percentDecode, type RequestHeaders, utf8OrNull } from "../identity/raw-request.ts";
import { type Address, parseAddress } from "./address.ts";
import {
  arbiterSilent,
  changeObject,
  noSuchBucket,
  noSuchKey,
  refuseEarly,
  requireCurrentBucket,
} from "./bucket-access.ts";
import { COPY_SOURCE_PREFIX, judgeRead, preconditionFailed, WRITE_CONDITIONS, writeConditionOf } from "./conditions.ts";
import type { Exchange } from "./exchange.ts";
import { keepFetched } from "./fetch-content.ts";
import { DESCRIPTION_HEADERS, describeObject } from "./object-description.ts";
import { quotedEtagOf } from "./object-headers.ts";
import { type Operation, type OperationParts, WRITES } from "./operation.ts";
import { S3Error } from "./s3-error.ts";
import { checkVersionId } from "./version-id.ts";
import { element, s3Document } from "./xml.ts";

/** Chooses a copy among the ways to PUT. */
export const COPY_SOURCE_HEADER = "x-amz-copy-source";

/** Headers about the source of a copy. */
export const COPY_SOURCE_HEADERS = [
  COPY_SOURCE_HEADER,
  `${COPY_SOURCE_PREFIX}if-match`,
  `${COPY_SOURCE_PREFIX}if-none-match`,
  `${COPY_SOURCE_PREFIX}if-modified-since`,
  `${COPY_SOURCE_PREFIX}if-unmodified-since`,
] as const;

/** Where a copy comes from. */
type Source = Address & { readonly bucket: string; readonly key: string };

function invalidSource(why: string): S3Error {
  return new S3Error("InvalidArgument", why, { fields: { ArgumentName: COPY_SOURCE_HEADER } });
}

/**
 * Reads `/bucket/key?versionId=null`, percent-encoded, with or without the first slash.
 * @throws S3Error InvalidArgument, NoSuchVersion, and what `parseAddress` throws
 */
function parseCopySource(value: string): Source {
  const [encoded = "", version, ...more] = value.split("?");
  if (more.length > 0 || (version !== undefined && !version.startsWith("versionId="))) {
    throw invalidSource("Copy Source must be /<bucket>/<key>, percent-encoded.");
  }
  if (version !== undefined) checkVersionId(utf8OrNull(percentDecode(version.slice("versionId=".length))) ?? "");
  // Some clients encode the slash behind the bucket as well; a bucket's name has none.
  const path = (encoded.startsWith("/") ? encoded : `/${encoded}`).replace(/^\/([^/%]*)%2f/i, "/$1/");
  const { bucket, key } = parseAddress(path);
  if (bucket === null || key === null) throw invalidSource("Copy Source must mention the source bucket and key.");
  return { bucket, key };
}

/**
 * The object that a request copies, of the same owner as the request: nobody copies out of another's bucket.
 * @throws S3Error NoSuchBucket, NoSuchKey, PreconditionFailed
 */
export async function readCopySource(exchange: Exchange, buckets: Buckets): Promise<Source & { entry: ObjectEntry }> {
  const { headers } = exchange.raw;
  const source = parseCopySource(headers.single(COPY_SOURCE_HEADER) ?? "");
  const open = await buckets.open({ ownerId: exchange.auth.principal.ownerId, bucket: source.bucket });
  if (open === null) throw noSuchBucket(source.bucket);
  if (open.staleMs !== null) throw arbiterSilent();
  const found = await open.index.find(source.key);
  if (found === null) throw noSuchKey(source.key);
  const { entry } = found;
  const judged = { etag: etagOf(entry), modifiedMs: entry.modifiedMs };
  if (judgeRead(headers, judged, COPY_SOURCE_PREFIX) === "not-modified") {
    throw preconditionFailed(`${COPY_SOURCE_PREFIX}If-None-Match`);
  }
  return { ...source, entry };
}

function directiveOf(headers: RequestHeaders, name: string): "COPY" | "REPLACE" {
  const value = headers.single(name) ?? "COPY";
  if (value === "COPY" || value === "REPLACE") return value;
  throw new S3Error("InvalidArgument", `Unknown ${name}: COPY or REPLACE is expected.`, {
    fields: { ArgumentName: name, ArgumentValue: value },
  });
}

/** Makes the copy's entry: the same content, with what the directives say of the rest. */
function copierOf(headers: RequestHeaders, nowMs: number): (source: ObjectEntry) => ObjectEntry {
  const metadata = directiveOf(headers, "x-amz-metadata-directive");
  const tagging = directiveOf(headers, "x-amz-tagging-directive");
  const described = describeObject(headers);
  return (source) => ({
    ...source,
    modifiedMs: nowMs,
    ...(metadata === "REPLACE" && { headers: described.headers, metadata: described.metadata }),
    ...(tagging === "REPLACE" && { tags: described.tags }),
  });
}

/**
 * A copy onto itself changes what is there, whoever has changed it meanwhile; it must change something. As on S3 it is
 * enough to name a storage class, which clients do to change it alone.
 */
function selfCopy(
  key: string,
  headers: RequestHeaders,
  copy: (source: ObjectEntry) => ObjectEntry,
): Mutation["change"] {
  const isReplaced = ["x-amz-metadata-directive", "x-amz-tagging-directive"].some(
    (name) => headers.single(name) === "REPLACE",
  );
  if (isReplaced || headers.has("x-amz-storage-class")) return { kind: "update", update: copy };
  throw new S3Error(
    "InvalidRequest",
    "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, tags or storage class.",
    { fields: { Key: key } },
  );
}

async function copyObject(exchange: Exchange, parts: OperationParts): Promise<void> {
  const { raw, auth, address, wire } = exchange;
  const key = address.key ?? "";
  const given = writeConditionOf(raw.headers);
  const copy = copierOf(raw.headers, parts.clock.nowMs());
  await refuseEarly(await requireCurrentBucket(exchange, parts.buckets), key, given);
  const source = await readCopySource(exchange, parts.buckets);
  const isSelf = source.bucket === address.bucket && source.key === key;
  // What was asked of the source must still hold of it at the moment at which it is changed.
  const isSourceJudged = COPY_SOURCE_HEADERS.some((name) => name !== COPY_SOURCE_HEADER && raw.headers.has(name));
  const asJudged = { ifMatch: [etagOf(source.entry)], ifNoneMatch: null };
  const condition = given ?? (isSelf && isSourceJudged ? asJudged : null);
  const change: Mutation["change"] = isSelf
    ? selfCopy(key, raw.headers, copy)
    : { kind: "put", entry: copy(source.entry) };
  if (!isSelf) await parts.quota.admit(auth.principal.userId, source.entry.sizeBytes);
  // The source's blocks may lie on another master's node as yet.
  const entry = await keepFetched(
    source.entry,
    parts.blocks,
    async () => await changeObject(exchange, parts.buckets, { key, change, condition }),
  );
  if (entry === null) throw new Error("A copy left no entry");
  const document = s3Document(
    "CopyObjectResult",
    element("LastModified", new Date(entry.modifiedMs).toISOString()),
    element("ETag", quotedEtagOf(entry)),
    ...Object.entries(entry.checksums).map(([name, value]) => element(`Checksum${name.toUpperCase()}`, value)),
  );
  wire.text(200, "application/xml", document);
}

/** Copies of whole objects. */
export const COPY_OPERATIONS: readonly Operation[] = [
  {
    ...WRITES,
    name: "CopyObject",
    target: "object",
    method: "PUT",
    chosenBy: { header: COPY_SOURCE_HEADER },
    headers: [...COPY_SOURCE_HEADERS, ...DESCRIPTION_HEADERS, "x-amz-metadata-directive", "x-amz-tagging-directive"],
    conditions: WRITE_CONDITIONS,
    run: copyObject,
  },
];
