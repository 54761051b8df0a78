import type { WriteCondition } from "../buckets/buckets.ts";
import type { RequestHeaders } from "../identity/raw-request.ts";
import { S3Error } from "./s3-error.ts";

/** Conditional headers of a GET or HEAD. */
export const READ_CONDITIONS = [
  "if-match",
  "if-none-match",
  "if-modified-since",
  "if-unmodified-since",
  "if-range",
] as const;
/** Conditional headers of whatever changes an object. */
export const WRITE_CONDITIONS = ["if-match", "if-none-match"] as const;
/** What comes before the name of a condition that is about the source of a copy. */
export const COPY_SOURCE_PREFIX = "x-amz-copy-source-";

/** What an object is judged by. */
export interface Judged {
  /** Without quotes. */
  readonly etag: string;
  readonly modifiedMs: number;
}

interface EntityTag {
  readonly text: string;
  readonly isWeak: boolean;
}

function badHeader(name: string, value: string, why: string): S3Error {
  return new S3Error("InvalidArgument", why, { fields: { ArgumentName: name, ArgumentValue: value } });
}

/** Reads `"a", W/"b"`; S3 clients leave the quotes out as well. */
function parseTags(name: string, value: string): readonly EntityTag[] {
  const tags: EntityTag[] = [];
  const one = /\s*(W\/)?(?:"([^"]*)"|([^\s",*]+))\s*(,|$)/y;
  while (one.lastIndex < value.length) {
    const match = one.exec(value);
    if (match === null) throw badHeader(name, value, `The header ${name} is no list of ETags.`);
    tags.push({ text: match[2] ?? match[3] ?? "", isWeak: match[1] !== undefined });
  }
  if (tags.length === 0) throw badHeader(name, value, `The header ${name} is empty.`);
  return tags;
}

/**
 * The ETags of a condition, without quotes; null where the header is missing. A weak one is the same as ours where it is
 * enough that the content is alike, and never where it must be the very same (RFC 9110 §8.8.3.2).
 */
function tagsOf(headers: RequestHeaders, name: string, comparison: "strong" | "weak"): readonly string[] | "*" | null {
  const values = headers.all(name);
  if (values.length === 0) return null;
  const value = values.join(",");
  if (value.trim() === "*") return "*";
  return parseTags(name, value)
    .filter(({ isWeak }) => comparison === "weak" || !isWeak)
    .map(({ text }) => text);
}

function dateMsOf(headers: RequestHeaders, name: string): number | null {
  const value = headers.single(name);
  if (value === null) return null;
  const ms = /^[A-Za-z]{3,9}, .{10,30} GMT$/.test(value) ? Date.parse(value) : Number.NaN;
  if (Number.isNaN(ms)) throw badHeader(name, value, `The header ${name} is no date of HTTP.`);
  return ms;
}

/** The condition that a request makes its change depend on; null where it makes none. @throws S3Error InvalidArgument */
export function writeConditionOf(headers: RequestHeaders): WriteCondition | null {
  const ifMatch = tagsOf(headers, "if-match", "strong");
  const ifNoneMatch = tagsOf(headers, "if-none-match", "weak");
  return ifMatch === null && ifNoneMatch === null ? null : { ifMatch, ifNoneMatch };
}

function includes(tags: readonly string[] | "*", { etag }: Judged): boolean {
  return tags === "*" || tags.includes(etag);
}

/** HTTP's dates have no parts of a second. */
function wasModifiedAfter({ modifiedMs }: Judged, sinceMs: number): boolean {
  return Math.floor(modifiedMs / 1000) * 1000 > sinceMs;
}

/** The error for a condition that does not hold. */
export function preconditionFailed(condition: string): S3Error {
  const message = "At least one of the pre-conditions you specified did not hold.";
  return new S3Error("PreconditionFailed", message, { fields: { Condition: condition } });
}

/**
 * Judges the conditions of a read in the order of RFC 9110 §13.2.2, which is S3's: an ETag that matches outweighs a date.
 * @param prefix `x-amz-copy-source-` where the object is the source of a copy
 * @returns whether the object is to be sent, or is the one that the client has already
 * @throws S3Error PreconditionFailed, InvalidArgument
 */
export function judgeRead(headers: RequestHeaders, object: Judged, prefix = ""): "send" | "not-modified" {
  const ifMatch = tagsOf(headers, `${prefix}if-match`, "strong");
  const unmodifiedSinceMs = dateMsOf(headers, `${prefix}if-unmodified-since`);
  const ifNoneMatch = tagsOf(headers, `${prefix}if-none-match`, "weak");
  const modifiedSinceMs = dateMsOf(headers, `${prefix}if-modified-since`);
  if (ifMatch !== null) {
    if (!includes(ifMatch, object)) throw preconditionFailed(`${prefix}If-Match`);
  } else if (unmodifiedSinceMs !== null && wasModifiedAfter(object, unmodifiedSinceMs)) {
    throw preconditionFailed(`${prefix}If-Unmodified-Since`);
  }
  if (ifNoneMatch !== null) return includes(ifNoneMatch, object) ? "not-modified" : "send";
  if (modifiedSinceMs !== null) return wasModifiedAfter(object, modifiedSinceMs) ? "send" : "not-modified";
  return "send";
}

/** False where an `If-Range` says that the client's part is of another object, so that it must get all of this one. */
export function allowsRange(headers: RequestHeaders, object: Judged): boolean {
  const value = headers.single("if-range");
  if (value === null) return true;
  if (value.endsWith(" GMT")) return !wasModifiedAfter(object, dateMsOf(headers, "if-range") ?? 0);
  const tags = tagsOf(headers, "if-range", "strong");
  return tags !== null && tags !== "*" && includes(tags, object);
}
