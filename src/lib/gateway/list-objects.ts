import { uriEncode } from "../identity/raw-request.ts";
import type { Pool } from "../postgres/pool.ts";
import { requireBucket } from "./bucket-operations.ts";
import type { Exchange } from "./exchange.ts";
import { type ListedObject, listObjects, prefixEnd } from "./object-table.ts";
import type { QueryMap } from "./query.ts";
import { S3Error } from "./s3-error.ts";
import { element, s3Document, type Xml } from "./xml.ts";

/** Query parameters that ListObjectsV2 understands. */
export const LIST_PARAMETERS = [
  "list-type",
  "prefix",
  "delimiter",
  "max-keys",
  "continuation-token",
  "start-after",
  "encoding-type",
  "fetch-owner",
] as const;

/** S3's own upper limit of one page. */
const PAGE_KEYS_MAX = 1_000;

/** Where a page goes on: after a key, or after all keys of a common prefix. */
type Position = { readonly kind: "key" | "prefix"; readonly text: string };

interface ListRequest {
  readonly prefix: string;
  readonly delimiter: string;
  readonly maxKeys: number;
  readonly from: Position | null;
  readonly startAfter: string | null;
  readonly token: string | null;
  readonly encode: boolean;
  readonly fetchOwner: boolean;
}

interface Page {
  readonly objects: readonly ListedObject[];
  readonly prefixes: readonly string[];
  /** Where the next page begins; null at the end. */
  readonly next: Position | null;
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

function parseRequest(query: QueryMap): ListRequest {
  const encoding = query.get("encoding-type");
  if (encoding !== undefined && encoding !== "url") {
    throw badArgument("encoding-type", encoding, "Invalid Encoding Method specified in Request.");
  }
  const token = query.get("continuation-token") ?? null;
  return {
    prefix: query.get("prefix") ?? "",
    delimiter: query.get("delimiter") ?? "",
    maxKeys: parseMaxKeys(query.get("max-keys")),
    from: token === null ? null : parseToken(token),
    startAfter: query.get("start-after") ?? null,
    token,
    encode: encoding === "url",
    fetchOwner: query.get("fetch-owner") === "true",
  };
}

/** The part of a key up to and with the first delimiter after the prefix; null where there is none. */
function commonPrefixOf(key: string, { prefix, delimiter }: ListRequest): string | null {
  if (delimiter === "") return null;
  const at = key.indexOf(delimiter, prefix.length);
  return at === -1 ? null : key.slice(0, at + delimiter.length);
}

interface Cursor {
  readonly after: string;
  /** True where `after` itself may be given. */
  readonly inclusive: boolean;
}

/** The cursor behind a position; null where nothing can come after it. */
function cursorAfter(position: Position): Cursor | null {
  if (position.kind === "key") return { after: position.text, inclusive: false };
  const end = prefixEnd(position.text);
  return end === null ? null : { after: end, inclusive: true };
}

function firstCursor(request: ListRequest): Cursor | null {
  if (request.from !== null) return cursorAfter(request.from);
  return { after: request.startAfter ?? "", inclusive: false };
}

/**
 * Reads one page. Keys that share a common prefix are skipped in one step, so that a page of "folders" costs one query a
 * folder and not one row an object.
 */
async function readPage(pool: Pool, bucketId: string, request: ListRequest): Promise<Page> {
  const objects: ListedObject[] = [];
  const prefixes: string[] = [];
  let last: Position | null = null;
  let cursor = firstCursor(request);
  while (cursor !== null) {
    // One more than fits tells whether there is a next page.
    const limit = request.maxKeys - objects.length - prefixes.length + 1;
    const rows: readonly ListedObject[] = await listObjects(pool, bucketId, {
      prefix: request.prefix,
      ...cursor,
      limit,
    });
    cursor = null;
    for (const row of rows) {
      if (objects.length + prefixes.length >= request.maxKeys) return { objects, prefixes, next: last };
      const common = commonPrefixOf(row.key, request);
      if (common !== null) {
        prefixes.push(common);
        last = { kind: "prefix", text: common };
        cursor = cursorAfter(last);
        break;
      }
      objects.push(row);
      last = { kind: "key", text: row.key };
    }
  }
  return { objects, prefixes, next: null };
}

function optional(tag: string, text: string | null): Xml | null {
  return text === null ? null : element(tag, text);
}

function renderPage(name: string, request: ListRequest, page: Page, ownerId: string): string {
  const encode = (text: string): string =>
    request.encode ? uriEncode(Buffer.from(text, "utf8")).replaceAll("%2F", "/") : text;
  const owner = request.fetchOwner ? element("Owner", element("ID", ownerId), element("DisplayName", ownerId)) : null;
  const contents = page.objects.map((object) =>
    element(
      "Contents",
      element("Key", encode(object.key)),
      element("LastModified", new Date(object.modifiedAtMs).toISOString()),
      element("ETag", `"${object.rootCid}"`),
      element("Size", object.sizeBytes),
      element("StorageClass", "STANDARD"),
      owner,
    ),
  );
  return s3Document(
    "ListBucketResult",
    element("Name", name),
    element("Prefix", encode(request.prefix)),
    optional("Delimiter", request.delimiter === "" ? null : encode(request.delimiter)),
    optional("StartAfter", request.startAfter === null ? null : encode(request.startAfter)),
    optional("ContinuationToken", request.token),
    element("KeyCount", page.objects.length + page.prefixes.length),
    element("MaxKeys", request.maxKeys),
    optional("EncodingType", request.encode ? "url" : null),
    element("IsTruncated", page.next !== null),
    optional("NextContinuationToken", page.next === null ? null : renderToken(page.next)),
    ...contents,
    ...page.prefixes.map((prefix) => element("CommonPrefixes", element("Prefix", encode(prefix)))),
  );
}

/** GET /{bucket}?list-type=2. */
export async function listObjectsOperation(exchange: Exchange, { pool }: { readonly pool: Pool }): Promise<void> {
  if (exchange.query.get("list-type") !== "2") {
    throw new S3Error("NotImplemented", "Only version 2 of ListObjects is supported: list-type=2.");
  }
  const request = parseRequest(exchange.query);
  const bucket = await requireBucket(exchange, pool);
  const page: Page =
    request.maxKeys === 0 ? { objects: [], prefixes: [], next: null } : await readPage(pool, bucket.bucketId, request);
  const document = renderPage(bucket.name, request, page, exchange.auth.principal.ownerId);
  exchange.wire.text(200, "application/xml", document);
}
