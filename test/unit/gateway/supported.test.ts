import { describe, expect, test } from "vitest";
import { findOperation } from "../../../src/lib/gateway/operations.ts";
import { readQuery } from "../../../src/lib/gateway/query.ts";
import { S3Error } from "../../../src/lib/gateway/s3-error.ts";
import { refuseBody, refuseSpecialTreatment, refuseUnknown } from "../../../src/lib/gateway/supported.ts";
import { RequestHeaders } from "../../../src/lib/identity/raw-request.ts";

const OBJECT = { bucket: "photos", key: "a" };
const BUCKET = { bucket: "photos", key: null };
const SERVICE = { bucket: null, key: null };

function codeOf(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    if (error instanceof S3Error) return error.code;
    throw error;
  }
  return "accepted";
}

function admit(
  method: string,
  address: typeof OBJECT | typeof BUCKET | typeof SERVICE,
  query: string,
  headers: Readonly<Record<string, string>> = {},
): string {
  return codeOf(() => {
    const parameters = readQuery(query);
    const operation = findOperation(method, address, parameters);
    const lines = new RequestHeaders(Object.entries(headers).flat());
    refuseUnknown(lines, parameters, operation);
    refuseSpecialTreatment(lines);
    if (!operation.takesBody) refuseBody(lines);
  });
}

describe("what an operation does not understand is refused, never ignored", () => {
  test.each([
    ["GET", OBJECT, "versionId=1"],
    ["GET", OBJECT, "partNumber=1"],
    ["GET", OBJECT, "acl"],
    ["GET", OBJECT, "tagging"],
    ["GET", OBJECT, "response-content-type=text%2Fhtml"],
    ["GET", OBJECT, "X-Amz-Signature=00"],
    ["GET", OBJECT, "anything"],
    ["HEAD", OBJECT, "versionId=null"],
    ["PUT", OBJECT, "partNumber=1&uploadId=x"],
    ["PUT", OBJECT, "acl"],
    ["DELETE", OBJECT, "uploadId=x"],
    ["DELETE", OBJECT, "versionId=x"],
    ["POST", OBJECT, "uploads"],
    ["GET", BUCKET, "versioning"],
    ["GET", BUCKET, "policy"],
    ["GET", BUCKET, "uploads"],
    ["GET", BUCKET, "list-type=2&unknown=1"],
    ["PUT", BUCKET, "versioning"],
    ["DELETE", BUCKET, "policy"],
    ["POST", BUCKET, "delete"],
    ["GET", SERVICE, "max-buckets=1"],
    ["PUT", SERVICE, ""],
  ])("%s %j ?%s", (method, address, query) => {
    expect(admit(method, address, query)).toBe("NotImplemented");
  });

  test.each(["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "content-range"])(
    "the header %s, on every operation",
    (name) => {
      for (const method of ["GET", "HEAD", "PUT", "DELETE"]) {
        expect([method, admit(method, OBJECT, "", { [name]: "*" })]).toEqual([method, "NotImplemented"]);
      }
    },
  );

  test.each([
    "x-amz-copy-source",
    "x-amz-tagging",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-object-lock-mode",
    "x-amz-expected-bucket-owner",
    "x-amz-request-payer",
    "x-amz-website-redirect-location",
    "x-amz-grant-read",
    "x-amz-write-offset-bytes",
    "x-amz-checksum-type",
    "x-amz-checksum-xxhash64",
  ])("the header %s on a PUT", (name) => {
    expect(admit("PUT", OBJECT, "", { [name]: "x" })).toBe("NotImplemented");
  });

  test.each([
    ["x-amz-acl", "public-read"],
    ["x-amz-storage-class", "GLACIER"],
  ])("%s: %s", (name, value) => {
    expect(admit("PUT", OBJECT, "", { [name]: value })).toBe("NotImplemented");
  });

  test("a session token", () => {
    expect(admit("GET", OBJECT, "", { "x-amz-security-token": "x" })).toBe("InvalidToken");
  });

  test("a method that S3 does not have", () => {
    expect(admit("PATCH", OBJECT, "")).toBe("MethodNotAllowed");
    expect(admit("OPTIONS", BUCKET, "")).toBe("MethodNotAllowed");
  });

  test.each([
    ["GET", { "content-length": "1" }],
    ["HEAD", { "transfer-encoding": "chunked" }],
    ["DELETE", { "content-length": "5" }],
  ])("a body of a %s", (method, headers) => {
    expect(admit(method, OBJECT, "", headers)).toBe("InvalidRequest");
  });
});

describe("what clients really send is understood", () => {
  test.each([
    [
      "PUT",
      OBJECT,
      "x-id=PutObject",
      {
        "x-amz-acl": "private",
        "x-amz-storage-class": "STANDARD",
        "x-amz-meta-a": "1",
        "x-amz-sdk-checksum-algorithm": "CRC32",
        "x-amz-checksum-crc32": "AAAAAA==",
      },
    ],
    ["PUT", OBJECT, "", { "x-amz-decoded-content-length": "1", "x-amz-trailer": "x-amz-checksum-crc64nvme" }],
    [
      "GET",
      OBJECT,
      "x-id=GetObject",
      { "x-amz-checksum-mode": "ENABLED", range: "bytes=0-1", "amz-sdk-request": "attempt=1" },
    ],
    ["HEAD", OBJECT, "", { "content-length": "0" }],
    ["DELETE", OBJECT, "x-id=DeleteObject", {}],
    [
      "GET",
      BUCKET,
      "list-type=2&prefix=a&delimiter=%2F&max-keys=5&encoding-type=url&fetch-owner=true&start-after=b",
      {},
    ],
    ["GET", BUCKET, "location", {}],
    ["PUT", BUCKET, "", { "x-amz-acl": "private" }],
    ["GET", SERVICE, "x-id=ListBuckets", {}],
  ])("%s %j ?%s", (method, address, query, headers) => {
    expect(admit(method, address, query, headers)).toBe("accepted");
  });
});
