import { type EntryRef, etagOf, type ObjectEntry, type Texts } from "../buckets/tree/object-entry.ts";
import type { RequestHeaders } from "../identity/raw-request.ts";
import { contentEncodings } from "./object-body.ts";
import { S3Error } from "./s3-error.ts";

/** Headers of a PUT that come back with the object as they were. */
const KEPT_HEADERS = ["content-type", "cache-control", "content-disposition", "content-language", "expires"] as const;
const META_PREFIX = "x-amz-meta-";
/** Metadata that is meant for the gateway and not kept. */
export const CONTROL_PREFIX = "fula-remote-";
const CONTROL_PREFIXES = [CONTROL_PREFIX, "fula-debug-"] as const;
/** S3's limit: names without prefix and values together. */
const METADATA_BYTES_MAX = 2_048;
/** What S3 gives where the client named no type. */
const DEFAULT_CONTENT_TYPE = "binary/octet-stream";

/** The headers of a PUT that belong to the object. */
export function keptHeaders(headers: RequestHeaders): Readonly<Record<string, string>> {
  const kept: Record<string, string> = {};
  for (const name of KEPT_HEADERS) {
    const value = headers.single(name);
    if (value !== null && value !== "") kept[name] = value;
  }
  kept["content-type"] ??= DEFAULT_CONTENT_TYPE;
  const encodings = contentEncodings(headers).filter((coding) => coding !== "aws-chunked");
  if (encodings.length > 0) kept["content-encoding"] = encodings.join(", ");
  return kept;
}

/** The user's metadata of a PUT. @throws S3Error MetadataTooLarge */
export function userMetadata(headers: RequestHeaders): Readonly<Record<string, string>> {
  const entries = headers
    .names()
    .filter((name) => name.startsWith(META_PREFIX))
    // A header that stands twice is one with a comma (RFC 9110 §5.3).
    .map((name) => [name.slice(META_PREFIX.length), headers.all(name).join(",")] as const)
    .filter(([name]) => !CONTROL_PREFIXES.some((prefix) => name.startsWith(prefix)));
  const size = entries.reduce((sum, [name, value]) => sum + name.length + value.length, 0);
  if (size > METADATA_BYTES_MAX) {
    throw new S3Error("MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size.", {
      fields: { Size: String(size), MaxSizeAllowed: String(METADATA_BYTES_MAX) },
    });
  }
  return Object.fromEntries(entries);
}

/** The ETag as headers and documents have it. */
export function quotedEtagOf(object: Pick<EntryRef, "etag" | "content">): string {
  return `"${etagOf(object)}"`;
}

/** Tells where the content can be had from any node, whatever the ETag is. */
export const CID_HEADER = "x-fula-cid";

/** Headers that a GET or HEAD gives of every object. */
interface ObjectHeaders extends Texts {
  readonly etag: string;
  readonly "last-modified": string;
}

/** The headers that a GET or HEAD gives of an object, without length and range. */
export function objectHeaders(object: ObjectEntry): ObjectHeaders {
  const metadata = Object.entries(object.metadata).map(([name, value]) => [`${META_PREFIX}${name}`, value] as const);
  const tagCount = Object.keys(object.tags).length;
  return {
    ...object.headers,
    ...Object.fromEntries(metadata),
    ...(tagCount > 0 && { "x-amz-tagging-count": String(tagCount) }),
    etag: quotedEtagOf(object),
    [CID_HEADER]: object.content.toString(),
    "last-modified": new Date(object.modifiedMs).toUTCString(),
    "accept-ranges": "bytes",
    // What users upload is never to run as a page of this origin.
    "x-content-type-options": "nosniff",
  };
}

/** Checksums of the whole object as answer headers; one that was made of its parts' checksums ends in their number. */
export function checksumHeaders(checksums: Texts): Texts {
  const entries = Object.entries(checksums);
  if (entries.length === 0) return {};
  const isComposite = entries.some(([, value]) => /-\d+$/.test(value));
  return {
    ...Object.fromEntries(entries.map(([name, value]) => [`x-amz-checksum-${name}`, value] as const)),
    "x-amz-checksum-type": isComposite ? "COMPOSITE" : "FULL_OBJECT",
  };
}
