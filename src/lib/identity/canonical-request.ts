import { parseQuery, type RawRequest, uriEncode } from "./raw-request.ts";

function canonicalQuery(query: string): string {
  return parseQuery(query)
    .map(({ name, value }) => [uriEncode(name), uriEncode(value)] as const)
    .toSorted(([nameA, valueA], [nameB, valueB]) => compare(nameA, nameB) || compare(valueA, valueB))
    .map(([name, value]) => `${name}=${value}`)
    .join("&");
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

function canonicalHeaders(request: RawRequest, signedHeaders: readonly string[]): string {
  return signedHeaders.map((name) => `${name}:${request.headers.all(name).map(collapseSpaces).join(",")}\n`).join("");
}

/** Of ASCII alone: the byte A0 is a part of letters in UTF-8. The values are trimmed already. */
function collapseSpaces(value: string): string {
  return value.replaceAll(/[\t ]+/g, " ");
}

/**
 * The canonical request of Signature V4 in the S3 form: the path exactly as it stood in the request line, because S3
 * clients encode it once and sign what they send; the query decoded and encoded again, sorted.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
 *
 * @param signedHeaders lower-case names, ascending
 * @param payloadHash what stands in `x-amz-content-sha256`
 * @returns text of which every character is one byte (Latin-1)
 */
export function canonicalRequest(request: RawRequest, signedHeaders: readonly string[], payloadHash: string): string {
  return [
    request.method,
    request.path === "" ? "/" : request.path,
    canonicalQuery(request.query),
    canonicalHeaders(request, signedHeaders),
    signedHeaders.join(";"),
    payloadHash,
  ].join("\n");
}
