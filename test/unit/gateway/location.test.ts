import { describe, expect, test } from "vitest";
import { readLocationConstraint } from "../../../src/lib/gateway/bucket-operations.ts";
import { S3Error } from "../../../src/lib/gateway/s3-error.ts";

function codeOf(document: string): string {
  try {
    readLocationConstraint(document);
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
    ["  \n", null],
    ["<CreateBucketConfiguration/>", null],
    [`<CreateBucketConfiguration ${NAMESPACE}></CreateBucketConfiguration>`, null],
    [
      `<?xml version="1.0"?>\n<CreateBucketConfiguration ${NAMESPACE}><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>`,
      "eu-west-1",
    ],
    ["<CreateBucketConfiguration><LocationConstraint>0012</LocationConstraint></CreateBucketConfiguration>", "0012"],
  ])("%j asks for %j", (document, region) => {
    expect(readLocationConstraint(document)).toBe(region);
  });

  test.each([
    ["<CreateBucketConfiguration>", "MalformedXML"],
    ["not xml", "MalformedXML"],
    ["<Other/>", "NotImplemented"],
    ["<CreateBucketConfiguration><Tags/></CreateBucketConfiguration>", "NotImplemented"],
    [
      "<CreateBucketConfiguration><LocationConstraint>a</LocationConstraint><Bucket/></CreateBucketConfiguration>",
      "NotImplemented",
    ],
  ])("%j is refused", (document, expected) => {
    expect(codeOf(document)).toBe(expected);
  });

  test("expands no entity", () => {
    const bomb = `<!DOCTYPE x [<!ENTITY a "${"a".repeat(50)}"><!ENTITY b "&a;&a;&a;&a;">]><CreateBucketConfiguration><LocationConstraint>&b;</LocationConstraint></CreateBucketConfiguration>`;
    expect(readLocationConstraint(bomb)).toBe("&b;");
  });
});
