import { S3Error } from "./s3-error.ts";
import type { ByteRange } from "./unixfs.ts";

function unsatisfiable(header: string, sizeBytes: number): S3Error {
  return new S3Error("InvalidRange", "The requested range is not satisfiable.", {
    fields: { RangeRequested: header, ActualObjectSize: String(sizeBytes) },
    headers: { "content-range": `bytes */${sizeBytes}` },
  });
}

/**
 * Reads a `Range` header of one range: `bytes=a-b`, `bytes=a-`, `bytes=-n` (RFC 9110 §14.1.2).
 * @returns null where there is no header
 * @throws S3Error InvalidArgument for what is no byte range, NotImplemented for several, InvalidRange for one outside
 */
export function parseRange(header: string | null, sizeBytes: number): ByteRange | null {
  if (header === null) return null;
  if (header.includes(",")) {
    throw new S3Error("NotImplemented", "Only a single range is supported.", { fields: { Header: "Range" } });
  }
  // However large: some SDKs ask for everything from a byte on with the largest number that they know.
  const match = /^bytes=(\d*)-(\d*)$/.exec(header.trim());
  const [, first = "", last = ""] = match ?? [];
  if (
    match === null ||
    (first === "" && last === "") ||
    (first !== "" && last !== "" && Number(last) < Number(first))
  ) {
    throw new S3Error("InvalidArgument", "The Range header is not bytes=<first>-<last>.", {
      fields: { ArgumentName: "Range", ArgumentValue: header },
    });
  }
  const range =
    first === ""
      ? { start: Math.max(0, sizeBytes - Number(last)), end: sizeBytes - 1 }
      : { start: Number(first), end: Math.min(last === "" ? sizeBytes - 1 : Number(last), sizeBytes - 1) };
  if (range.start > range.end || (first === "" && Number(last) === 0)) throw unsatisfiable(header, sizeBytes);
  return range;
}
