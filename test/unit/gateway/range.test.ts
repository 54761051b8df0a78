import { describe, expect, test } from "vitest";
import { parseRange } from "../../../src/lib/gateway/range.ts";
import { S3Error } from "../../../src/lib/gateway/s3-error.ts";

function codeOf(header: string, sizeBytes: number): string {
  try {
    parseRange(header, sizeBytes);
  } catch (error) {
    if (error instanceof S3Error) return error.code;
    throw error;
  }
  return "accepted";
}

describe("a Range header", () => {
  test.each([
    ["bytes=0-0", 10, 0, 0],
    ["bytes=0-9", 10, 0, 9],
    ["bytes=2-5", 10, 2, 5],
    ["bytes=9-9", 10, 9, 9],
    ["bytes=5-100", 10, 5, 9],
    ["bytes=5-", 10, 5, 9],
    ["bytes=0-", 10, 0, 9],
    ["bytes=-1", 10, 9, 9],
    ["bytes=-10", 10, 0, 9],
    ["bytes=-100", 10, 0, 9],
    [" bytes=1-2 ", 10, 1, 2],
    ["bytes=5-9223372036854775806", 10, 5, 9],
    ["bytes=-18446744073709551615", 10, 0, 9],
  ])("%s of %i bytes is %i to %i", (header, size, start, end) => {
    expect(parseRange(header, size)).toEqual({ start, end });
  });

  test("that is missing asks for everything", () => {
    expect(parseRange(null, 10)).toBeNull();
  });

  test.each([
    ["bytes=10-", 10, "InvalidRange"],
    ["bytes=10-20", 10, "InvalidRange"],
    ["bytes=9223372036854775806-", 10, "InvalidRange"],
    ["bytes=-0", 10, "InvalidRange"],
    ["bytes=0-0", 0, "InvalidRange"],
    ["bytes=-5", 0, "InvalidRange"],
    ["bytes=5-2", 10, "InvalidArgument"],
    ["bytes=-", 10, "InvalidArgument"],
    ["bytes=a-b", 10, "InvalidArgument"],
    ["bytes 0-1", 10, "InvalidArgument"],
    ["items=0-1", 10, "InvalidArgument"],
    ["bytes=0x1-2", 10, "InvalidArgument"],
    ["bytes=1e1-20", 100, "InvalidArgument"],
    ["bytes=0-1,3-4", 10, "NotImplemented"],
  ])("%s of %i bytes is %s", (header, size, expected) => {
    expect(codeOf(header, size)).toBe(expected);
  });

  test("outside of the object is answered with the object's size", () => {
    expect(() => parseRange("bytes=10-", 10)).toThrow(
      expect.objectContaining({ headers: { "content-range": "bytes */10" } }),
    );
  });
});
