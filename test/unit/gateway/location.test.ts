import { describe, expect, test } from "vitest";
import { readLocationConstraint } from "../../../src/lib/gateway/bucket-operations.ts";
import { parseXml } from "../../../src/lib/gateway/read-xml.ts";
import { S3Error } from "../../../src/lib/gateway/s3-error.ts";

function regionOf(document: string): string | null {
  return readLocationConstraint(document === "" ? null : parseXml(document, 64));
}

function codeOf(document: string): string {
  try {
    regionOf(document);
  } catch (error) {
    if (error instanceof S3Error) return error.code;
    throw error;
  }
  return "accepted";
}

const NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"';

describe("the body of CreateBucket", () => {
  test.each([
    ["", null],
    ["<CreateBucketConfiguration/>", null],
    [`<CreateBucketConfiguration ${NAMESPACE}></CreateBucketConfiguration>`, null],
    [
      `<?xml version="1.0"?>\n<CreateBucketConfiguration ${NAMESPACE}><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>`,
      "eu-west-1",
    ],
    ["<CreateBucketConfiguration><LocationConstraint>0012</LocationConstraint></CreateBucketConfiguration>", "0012"],
  ])("%j asks for %j", (document, region) => {
    expect(regionOf(document)).toBe(region);
  });

  test.each([
    ["<CreateBucketConfiguration>", "MalformedXML"],
    ["not xml", "MalformedXML"],
    ["<Other/>", "MalformedXML"],
    ["<CreateBucketConfiguration><Tags/></CreateBucketConfiguration>", "NotImplemented"],
    [
      "<CreateBucketConfiguration><LocationConstraint>a</LocationConstraint><Bucket/></CreateBucketConfiguration>",
      "NotImplemented",
    ],
  ])("%j is refused", (document, expected) => {
    expect(codeOf(document)).toBe(expected);
  });
});
