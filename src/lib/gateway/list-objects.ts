import type { KeyRef } from "../buckets/tree/object-entry.ts";
import { uriEncode } from "../identity/raw-request.ts";
import { requireBucket } from "./bucket-access.ts";
import type { Exchange } from "./exchange.ts";
import { commonPrefixOf, type Page, type PageRequest, type Position, readPage } from "./listing.ts";
import { quotedEtagOf } from "./object-headers.ts";
import { type Operation, type OperationParts, READS } from "./operation.ts";
import type { QueryMap } from "./query.ts";
import { S3Error } from "./s3-error.ts";
import { NULL_VERSION } from "./version-id.ts";
import { element, s3Document, type Xml } from "./xml.ts";

/** S3's own upper limit of one page. */
const PAGE_KEYS_MAX = 1_000;

/** What all listings of a bucket have in common. */
interface Listing extends PageRequest {
  readonly bucket: string;
  readonly ownerId: string;
  /** Writes a key, prefix or delimiter as the client wants to have it. */
  readonly encode: (text: string) => string;
  readonly isEncoded: boolean;
}

function badArgument(name: string, value: string, why: string): S3Error {
  return new S3Error("InvalidArgument", why, { fields: { ArgumentName: name, ArgumentValue: value } });
}

function renderToken({ kind, text }: Position): string {
  return Buffer.from(`${kind} ${text}`, "utf8").toString("base64url");
}

function parseToken(token: string): Position {
  const text = Buffer.from(token, "base64url").toString("utf8");
  const match = /^(?<kind>key|prefix) (?<text>[^]+)$/.exec(text);
  const position: Position | null =
    match?.groups === undefined
      ? null
      : { kind: match.groups["kind"] === "key" ? "key" : "prefix", text: match.groups["text"] ?? "" };
  if (position !== null && !position.text.includes("\0") && renderToken(position) === token) return position;
  throw badArgument("continuation-token", token, "The continuation token provided is incorrect.");
}

function parseMaxKeys(text: string | undefined): number {
  if (text === undefined) return PAGE_KEYS_MAX;
  if (!/^\d{1,10}$/.test(text)) throw badArgument("max-keys", text, "max-keys is not a number from 0 up.");
  return Math.min(Number(text), PAGE_KEYS_MAX);
}

function startListing({ query, address, auth }: Exchange, from: Position | null): Listing {
  const encoding = query.get("encoding-type");
  if (encoding !== undefined && encoding !== "url") {
    throw badArgument("encoding-type", encoding, "Invalid Encoding Method specified in Request.");
  }
  const isEncoded = encoding === "url";
  return {
    bucket: address.bucket ?? "",
    ownerId: auth.principal.ownerId,
    prefix: query.get("prefix") ?? "",
    delimiter: query.get("delimiter") ?? "",
    maxKeys: parseMaxKeys(query.get("max-keys")),
    from,
    isEncoded,
    encode: (text) => (isEncoded ? uriEncode(Buffer.from(text, "utf8")).replaceAll("%2F", "/") : text),
  };
}

async function pageOf(exchange: Exchange, { buckets }: OperationParts, listing: Listing): Promise<Page> {
  const { index } = await requireBucket(exchange, buckets);
  return await readPage((range) => index.scan(range), listing);
}

/**
 * Where a listing begins that goes on after a marker, which clients take from the page before: of a common prefix, after
 * all of its keys; of anything else, after that text.
 */
function positionOfMarker(query: QueryMap, marker: string): Position | null {
  if (marker === "") return null;
  const shape = { prefix: query.get("prefix") ?? "", delimiter: query.get("delimiter") ?? "" };
  return { kind: commonPrefixOf(marker, shape) === marker ? "prefix" : "key", text: marker };
}

function optional(tag: string, text: string | null): Xml | null {
  return text === null ? null : element(tag, text);
}

function renderOwner(ownerId: string): Xml {
  return element("Owner", element("ID", ownerId), element("DisplayName", ownerId));
}

function renderFacts({ key, ref }: KeyRef, { encode }: Listing): readonly Xml[] {
  return [
    element("Key", encode(key)),
    element("LastModified", new Date(ref.modifiedMs).toISOString()),
    element("ETag", quotedEtagOf(ref)),
    element("Size", ref.sizeBytes),
    element("StorageClass", "STANDARD"),
  ];
}

/** What every listing says of itself. */
function renderFrame(listing: Listing, page: Page): readonly (Xml | null)[] {
  const { bucket, prefix, delimiter, maxKeys, isEncoded, encode } = listing;
  return [
    element("Name", bucket),
    element("Prefix", encode(prefix)),
    optional("Delimiter", delimiter === "" ? null : encode(delimiter)),
    element("MaxKeys", maxKeys),
    optional("EncodingType", isEncoded ? "url" : null),
    element("IsTruncated", page.next !== null),
  ];
}

function renderPrefixes({ prefixes }: Page, { encode }: Listing): readonly Xml[] {
  return prefixes.map((prefix) => element("CommonPrefixes", element("Prefix", encode(prefix))));
}

async function listObjectsV2(exchange: Exchange, parts: OperationParts): Promise<void> {
  const { query, wire } = exchange;
  const token = query.get("continuation-token") ?? null;
  const startAfter = query.get("start-after") ?? null;
  const after: Position | null = startAfter === null || startAfter === "" ? null : { kind: "key", text: startAfter };
  const listing = startListing(exchange, token === null ? after : parseToken(token));
  const page = await pageOf(exchange, parts, listing);
  const owner = query.get("fetch-owner") === "true" ? renderOwner(listing.ownerId) : null;
  const document = s3Document(
    "ListBucketResult",
    ...renderFrame(listing, page),
    optional("StartAfter", startAfter === null ? null : listing.encode(startAfter)),
    optional("ContinuationToken", token),
    element("KeyCount", page.objects.length + page.prefixes.length),
    optional("NextContinuationToken", page.next === null ? null : renderToken(page.next)),
    ...page.objects.map((object) => element("Contents", ...renderFacts(object, listing), owner)),
    ...renderPrefixes(page, listing),
  );
  wire.text(200, "application/xml", document);
}

async function listObjectsV1(exchange: Exchange, parts: OperationParts): Promise<void> {
  const { query, wire } = exchange;
  const marker = query.get("marker") ?? "";
  const listing = startListing(exchange, positionOfMarker(query, marker));
  const page = await pageOf(exchange, parts, listing);
  // Without a delimiter the last key is the marker, and S3 does not repeat it.
  const nextMarker = page.next === null || listing.delimiter === "" ? null : listing.encode(page.next.text);
  const document = s3Document(
    "ListBucketResult",
    ...renderFrame(listing, page),
    element("Marker", listing.encode(marker)),
    optional("NextMarker", nextMarker),
    ...page.objects.map((object) => element("Contents", ...renderFacts(object, listing), renderOwner(listing.ownerId))),
    ...renderPrefixes(page, listing),
  );
  wire.text(200, "application/xml", document);
}

/** Versions are not kept: every key has one, called null, which is the latest. */
async function listObjectVersions(exchange: Exchange, parts: OperationParts): Promise<void> {
  const { query, wire } = exchange;
  const [marker, versionMarker] = [query.get("key-marker") ?? "", query.get("version-id-marker") ?? ""];
  if (versionMarker !== "" && (versionMarker !== NULL_VERSION || marker === "")) {
    throw badArgument("version-id-marker", versionMarker, "Invalid version id specified.");
  }
  const listing = startListing(exchange, positionOfMarker(query, marker));
  const page = await pageOf(exchange, parts, listing);
  const next = page.next === null ? null : listing.encode(page.next.text);
  const versions = page.objects.map((object) =>
    element(
      "Version",
      ...renderFacts(object, listing),
      element("VersionId", NULL_VERSION),
      element("IsLatest", true),
      renderOwner(listing.ownerId),
    ),
  );
  const document = s3Document(
    "ListVersionsResult",
    ...renderFrame(listing, page),
    element("KeyMarker", listing.encode(marker)),
    element("VersionIdMarker", versionMarker),
    optional("NextKeyMarker", next),
    optional("NextVersionIdMarker", page.next?.kind === "key" ? NULL_VERSION : null),
    ...versions,
    ...renderPrefixes(page, listing),
  );
  wire.text(200, "application/xml", document);
}

/** Parameters of every listing. */
const COMMON = ["prefix", "delimiter", "max-keys", "encoding-type"] as const;
const OF_BUCKET = { ...READS, target: "bucket", method: "GET" } as const;

/** Listings of a bucket. */
export const LIST_OPERATIONS: readonly Operation[] = [
  {
    ...OF_BUCKET,
    name: "ListObjectsV2",
    chosenBy: { query: ["list-type"] },
    query: [...COMMON, "list-type", "continuation-token", "start-after", "fetch-owner"],
    run: listObjectsV2,
  },
  {
    ...OF_BUCKET,
    name: "ListObjectVersions",
    chosenBy: { query: ["versions"] },
    query: [...COMMON, "versions", "key-marker", "version-id-marker"],
    run: listObjectVersions,
  },
  { ...OF_BUCKET, name: "ListObjects", query: [...COMMON, "marker"], run: listObjectsV1 },
];
