import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isBucketName, parseAddress } from "../../../src/lib/gateway/address.ts";
import { readQuery } from "../../../src/lib/gateway/query.ts";
import { S3Error, toS3Error } from "../../../src/lib/gateway/s3-error.ts";
import { uriEncode } from "../../../src/lib/identity/raw-request.ts";
import { property } from "../../support/property.ts";

function codeOf(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    const known = toS3Error(error, 412);
    if (known.code === "InternalError") throw error;
    return known.code;
  }
  return "accepted";
}

describe("a path", () => {
  test.each([
    ["/", null, null],
    ["/photos", "photos", null],
    ["/photos/", "photos", null],
    ["/photos/a", "photos", "a"],
    ["/photos/a/", "photos", "a/"],
    ["/photos//a", "photos", "/a"],
    ["/photos/a//b", "photos", "a//b"],
    ["/photos/a/../k", "photos", "a/../k"],
    ["/photos/../../etc/passwd", "photos", "../../etc/passwd"],
    ["/photos/%2e%2e/k", "photos", "../k"],
    ["/photos/./k", "photos", "./k"],
    ["/photos/a%2Fb", "photos", "a/b"],
    ["/photos/a%252Fb", "photos", "a%2Fb"],
    ["/photos/a+b", "photos", "a+b"],
    ["/photos/%20", "photos", " "],
    ["/photos/%C3%BC", "photos", "ü"],
    ["/photos/%F0%9F%98%80", "photos", "😀"],
    ["/photos/a%0Ab", "photos", "a\nb"],
    ["/photos/a#b", "photos", "a#b"],
    ["/photos/a\\..\\b", "photos", "a\\..\\b"],
    ["/photos/%EF%BB%BFa", "photos", "\uFEFFa"],
  ])("%s names a bucket and the literal key", (path, bucket, key) => {
    expect(parseAddress(path)).toEqual({ bucket, key });
  });

  test("of any key leads back to that key", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", minLength: 1, maxLength: 100 }), (key) => {
        fc.pre(!key.includes("\0"));
        expect(parseAddress(`/photos/${uriEncode(Buffer.from(key, "utf8"))}`).key).toBe(key);
      }),
      property(),
    );
  });

  test.each([
    ["/photos/%", "InvalidURI"],
    ["/photos/%4", "InvalidURI"],
    ["/photos/%zz", "InvalidURI"],
    ["/photos/%FF", "InvalidURI"],
    ["/photos/%C0%AF", "InvalidURI"],
    ["/photos/%ED%A0%80", "InvalidURI"],
    ["/photos/a%00b", "InvalidArgument"],
    ["//a", "InvalidBucketName"],
    ["/ph%6Ftos/a", "InvalidBucketName"],
    ["http://evil/photos/a", "InvalidURI"],
    ["*", "InvalidURI"],
    ["", "InvalidURI"],
  ])("%s is refused", (path, expected) => {
    expect(codeOf(() => parseAddress(path))).toBe(expected);
  });

  test("may have a key of 1,024 bytes, not of one more, however its characters are encoded", () => {
    expect(parseAddress(`/photos/${"a".repeat(1_024)}`).key).toHaveLength(1_024);
    expect(parseAddress(`/photos/${"%C3%BC".repeat(512)}`).key).toHaveLength(512);
    expect(codeOf(() => parseAddress(`/photos/${"a".repeat(1_025)}`))).toBe("KeyTooLongError");
    expect(codeOf(() => parseAddress(`/photos/${"%C3%BC".repeat(512)}a`))).toBe("KeyTooLongError");
  });
});

describe("a bucket name", () => {
  test.each(["abc", "a-b", "a.b.c", "0ab", "a".repeat(63), "my-bucket.example.com", "healthz", "metrics"])(
    "may be %s",
    (name) => {
      expect(isBucketName(name)).toBe(true);
    },
  );

  test.each([
    "ab",
    "a".repeat(64),
    "Abc",
    "a_b",
    "-abc",
    "abc-",
    ".abc",
    "abc.",
    "a..b",
    "a.-b",
    "192.168.1.1",
    "a b",
    "ü-bucket",
    "a/b",
    "..",
    "...",
  ])("may not be %s", (name) => {
    expect(isBucketName(name)).toBe(false);
  });
});

describe("a query", () => {
  test("is decoded once, with + as a space", () => {
    expect([...readQuery("prefix=a+b%2Bc&location&x=%C3%BC")]).toEqual([
      ["prefix", "a b+c"],
      ["location", ""],
      ["x", "ü"],
    ]);
  });

  test.each([
    ["a=1&a=2", "InvalidArgument"],
    ["a=1&%61=2", "InvalidArgument"],
    ["a=%00", "InvalidArgument"],
    ["a=%FF", "InvalidURI"],
    ["a=%", "InvalidURI"],
  ])("%s is refused", (query, expected) => {
    expect(codeOf(() => readQuery(query))).toBe(expected);
  });
});

test("an error that is none of the client's doing says nothing about our insides", () => {
  const error = toS3Error(new Error("password=hunter2 at /opt/fula-master"), 412);
  expect(error).toBeInstanceOf(S3Error);
  expect([error.code, error.status]).toEqual(["InternalError", 500]);
  expect(error.message).not.toContain("hunter2");
});
