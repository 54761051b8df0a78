import type { RequestHeaders } from "../identity/raw-request.ts";
import { isChecksumHeader } from "./checksums.ts";
import type { Understood } from "./operation.ts";
import type { QueryMap } from "./query.ts";
import { S3Error } from "./s3-error.ts";

/** Query parameters of every request: the AWS SDK names the operation in `x-id`. */
const COMMON_QUERY: ReadonlySet<string> = new Set(["x-id"]);
/** `x-amz-*` headers of every request. */
const COMMON_HEADERS: ReadonlySet<string> = new Set(["x-amz-date", "x-amz-content-sha256", "x-amz-user-agent"]);
/** A condition that is ignored is a write that should not have happened. */
const CONDITIONS = [
  "if-match",
  "if-none-match",
  "if-modified-since",
  "if-unmodified-since",
  "if-range",
  "content-range",
];

function notImplemented(what: string, fields: Readonly<Record<string, string>>): S3Error {
  return new S3Error("NotImplemented", `${what} implies functionality that is not implemented.`, { fields });
}

function isUnderstoodHeader(name: string, understood: Understood): boolean {
  if (!name.startsWith("x-amz-") || COMMON_HEADERS.has(name)) return true;
  return understood.headers.some((known) =>
    known.endsWith("*") ? name.startsWith(known.slice(0, -1)) : name === known,
  );
}

/**
 * Refuses a request that asks for more than the operation does. Nothing that S3 gives a meaning to is ignored.
 * @throws S3Error NotImplemented, InvalidToken
 */
export function refuseUnknown(headers: RequestHeaders, query: QueryMap, understood: Understood): void {
  const condition = CONDITIONS.find((name) => headers.has(name) && !understood.conditions.includes(name));
  if (condition !== undefined) throw notImplemented("A header you provided", { Header: condition });
  if (headers.has("x-amz-security-token")) {
    throw new S3Error("InvalidToken", "Session tokens are not issued here; sign with an access key alone.");
  }
  const header = headers.names().find((name) => !isUnderstoodHeader(name, understood));
  if (header !== undefined) throw notImplemented("A header you provided", { Header: header });
  const parameter = [...query.keys()].find((name) => !COMMON_QUERY.has(name) && !understood.query.includes(name));
  if (parameter !== undefined) throw notImplemented("A query parameter you provided", { ArgumentName: parameter });
}

/** Headers of which only values are understood that make no difference here. */
const NEUTRAL_VALUES: ReadonlyMap<string, readonly string[]> = new Map([
  // All that there is in a bucket is its owner's.
  ["x-amz-acl", ["private", "bucket-owner-full-control"]],
  // These promise no more than we keep of every object; the archives' would have it restored before it can be read.
  ["x-amz-storage-class", ["STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING"]],
]);

/** @throws S3Error NotImplemented for an ACL or storage class that would make a difference */
export function refuseSpecialTreatment(headers: RequestHeaders): void {
  for (const [name, neutral] of NEUTRAL_VALUES) {
    const value = headers.single(name);
    if (value !== null && !neutral.includes(value)) throw notImplemented(`${name}: ${value}`, { Header: name });
  }
}

/** @throws S3Error InvalidRequest where an operation that takes no body was sent one */
export function refuseBody(headers: RequestHeaders): void {
  const length = headers.single("content-length");
  if (headers.has("transfer-encoding") || (length !== null && length !== "0")) {
    throw new S3Error("InvalidRequest", "This request takes no body.");
  }
  const checksum = headers.names().find(isChecksumHeader);
  if (checksum !== undefined) throw notImplemented("A header you provided", { Header: checksum });
}
