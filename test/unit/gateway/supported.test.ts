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
    const lines = new RequestHeaders(Object.entries(headers).flat());
    const operation = findOperation(method, address, parameters, lines);
    refuseUnknown(lines, parameters, operation);
    refuseSpecialTreatment(lines);
    if (!operation.takesBody) refuseBody(lines);
  });
}

describe("what an operation does not understand is refused, never ignored", () => {
  test.each([
    ["GET", OBJECT, "attributes"],
    ["GET", OBJECT, "torrent"],
    ["GET", OBJECT, "retention"],
    ["GET", OBJECT, "legal-hold"],
    ["GET", OBJECT, "X-Amz-Signature=00"],
    ["GET", OBJECT, "anything"],
    ["GET", OBJECT, "tagging&anything"],
    ["HEAD", OBJECT, "tagging"],
    ["PUT", OBJECT, "versionId=null"],
    ["PUT", OBJECT, "retention"],
    ["DELETE", OBJECT, "acl"],
    ["POST", OBJECT, "restore"],
    ["POST", OBJECT, "select&select-type=2"],
    ["GET", BUCKET, "analytics"],
    ["GET", BUCKET, "inventory"],
    ["GET", BUCKET, "list-type=2&unknown=1"],
    ["GET", BUCKET, "list-type=2&marker=a"],
    ["GET", BUCKET, "marker=a&start-after=b"],
    ["PUT", BUCKET, "versioning"],
    ["PUT", BUCKET, "policy"],
    ["PUT", BUCKET, "lifecycle"],
    ["DELETE", BUCKET, "policy"],
    ["GET", SERVICE, "unknown=1"],
    ["PUT", SERVICE, ""],
  ])("%s %j ?%s", (method, address, query) => {
    expect(admit(method, address, query)).toBe("NotImplemented");
  });

  test.each([
    ["PUT", OBJECT, "", ["if-modified-since", "if-unmodified-since", "if-range", "content-range"]],
    ["DELETE", OBJECT, "", ["if-modified-since", "if-unmodified-since", "if-range", "content-range"]],
    ["GET", OBJECT, "", ["content-range"]],
    ["GET", OBJECT, "tagging", ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"]],
    ["PUT", OBJECT, "tagging", ["if-match", "if-none-match"]],
    ["PUT", BUCKET, "", ["if-match", "if-none-match"]],
    ["DELETE", BUCKET, "", ["if-match", "if-none-match"]],
    ["GET", BUCKET, "", ["if-match", "if-none-match", "if-modified-since"]],
  ] as const)("%s %j ?%s with one of %j", (method, address, query, names) => {
    for (const name of names) {
      expect([name, admit(method, address, query, { [name]: "*" })]).toEqual([name, "NotImplemented"]);
    }
  });

  test.each([
    "x-amz-copy-source-if-match",
    "x-amz-metadata-directive",
    "x-amz-if-match-size",
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
    ["x-amz-acl", "authenticated-read"],
    ["x-amz-storage-class", "GLACIER"],
    ["x-amz-storage-class", "DEEP_ARCHIVE"],
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
    ["HEAD", OBJECT, "versionId=null", { "if-none-match": '"a"' }],
    ["GET", OBJECT, "response-content-type=text%2Fhtml&partNumber=1", { range: "bytes=0-1", "if-range": '"a"' }],
    ["GET", OBJECT, "tagging&versionId=null", {}],
    ["PUT", OBJECT, "", { "if-none-match": "*", "x-amz-tagging": "a=1", "x-amz-acl": "bucket-owner-full-control" }],
    ["PUT", OBJECT, "", { "x-amz-storage-class": "STANDARD_IA" }],
    [
      "PUT",
      OBJECT,
      "x-id=CopyObject",
      {
        "x-amz-copy-source": "/a/b",
        "x-amz-copy-source-if-match": "a",
        "x-amz-metadata-directive": "REPLACE",
        "x-amz-tagging-directive": "COPY",
        "if-none-match": "*",
      },
    ],
    ["PUT", OBJECT, "acl", { "x-amz-acl": "private" }],
    ["PUT", OBJECT, "tagging", { "content-md5": "x", "x-amz-sdk-checksum-algorithm": "CRC32" }],
    ["DELETE", OBJECT, "versionId=null", { "if-match": '"a"' }],
    ["GET", BUCKET, "versions&key-marker=a&version-id-marker=null&prefix=b", {}],
    ["GET", BUCKET, "marker=a&prefix=b&delimiter=%2F&max-keys=5&encoding-type=url", {}],
    ["GET", BUCKET, "versioning", {}],
    ["GET", BUCKET, "policy", {}],
    ["GET", BUCKET, "acl", {}],
    ["GET", BUCKET, "tagging", {}],
    ["HEAD", SERVICE, "", {}],
    ["GET", SERVICE, "prefix=a&max-buckets=5&continuation-token=x", {}],
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
