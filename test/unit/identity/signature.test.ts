import { describe, expect, test } from "vitest";
import { canonicalRequest } from "../../../src/lib/identity/canonical-request.ts";
import { deriveSigningKey, EMPTY_SHA256, sha256Hex, sign, stringToSign } from "../../../src/lib/identity/signature.ts";
import { rawRequest } from "../../support/signing.ts";

type Lines = readonly (readonly [string, string])[];

function signatureOf(request: {
  readonly method: string;
  readonly path?: string;
  readonly query?: string;
  readonly headers: Lines;
  readonly payloadHash?: string;
  readonly timestamp: string;
  readonly region: string;
  readonly service: string;
  readonly secret: string;
}): string {
  const { method, path = "/", query = "", headers, timestamp, region, service, secret } = request;
  const scope = { date: timestamp.slice(0, 8), region, service };
  const names = [...new Set(headers.map(([name]) => name.toLowerCase()))].toSorted();
  const canonical = canonicalRequest(
    rawRequest({ method, path, query }, headers),
    names,
    request.payloadHash ?? EMPTY_SHA256,
  );
  return sign(deriveSigningKey(secret, scope), stringToSign(canonical, timestamp, scope));
}

const SUITE = {
  timestamp: "20150830T123600Z",
  region: "us-east-1",
  service: "service",
  secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
} as const;
const HOST: Lines = [["Host", "example.amazonaws.com"]];
const DATE: Lines = [["X-Amz-Date", "20150830T123600Z"]];
const UNRESERVED = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

// The published signatures of AWS's Signature Version 4 test suite; those of its cases that fold paths are left out,
// because S3 does not fold them.
const SUITE_CASES = [
  ["get-vanilla", "GET", "/", "", [], "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"],
  [
    "get-vanilla-query-order-key-case",
    "GET",
    "/",
    "Param2=value2&Param1=value1",
    [],
    "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
  ],
  [
    "get-vanilla-query-order-value",
    "GET",
    "/",
    "Param1=value2&Param1=value1",
    [],
    "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694",
  ],
  [
    "get-vanilla-empty-query-key",
    "GET",
    "/",
    "Param1=value1",
    [],
    "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
  ],
  [
    "get-vanilla-query-unreserved",
    "GET",
    "/",
    `${UNRESERVED}=${UNRESERVED}`,
    [],
    "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
  ],
  [
    "get-vanilla-utf8-query",
    "GET",
    "/",
    Buffer.from("ሴ=bar").toString("latin1"),
    [],
    "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
  ],
  [
    "get-unreserved",
    "GET",
    `/${UNRESERVED}`,
    "",
    [],
    "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
  ],
  ["get-utf8", "GET", "/%E1%88%B4", "", [], "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"],
  [
    "get-header-key-duplicate",
    "GET",
    "/",
    "",
    [
      ["My-Header1", "value2"],
      ["My-Header1", "value2"],
      ["My-Header1", "value1"],
    ],
    "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
  ],
  [
    "get-header-value-order",
    "GET",
    "/",
    "",
    [
      ["My-Header1", "value4"],
      ["My-Header1", "value1"],
      ["My-Header1", "value3"],
      ["My-Header1", "value2"],
    ],
    "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
  ],
  [
    "get-header-value-trim",
    "GET",
    "/",
    "",
    [
      ["My-Header1", " value1"],
      ["My-Header2", ' "a   b   c"'],
    ],
    "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
  ],
  ["post-vanilla", "POST", "/", "", [], "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"],
  [
    "post-vanilla-query",
    "POST",
    "/",
    "Param1=value1",
    [],
    "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
  ],
  [
    "post-header-key-sort",
    "POST",
    "/",
    "",
    [["My-Header1", "value1"]],
    "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
  ],
  [
    "post-header-value-case",
    "POST",
    "/",
    "",
    [["My-Header1", "VALUE1"]],
    "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
  ],
] as const satisfies readonly (readonly [string, string, string, string, Lines, string])[];

describe("AWS's own Signature V4 test suite", () => {
  test.each(SUITE_CASES)("%s has the published signature", (_name, method, path, query, headers, expected) => {
    expect(signatureOf({ ...SUITE, method, path, query, headers: [...HOST, ...headers, ...DATE] })).toBe(expected);
  });

  test("post-x-www-form-urlencoded has the published signature", () => {
    const headers: Lines = [["Content-Type", "application/x-www-form-urlencoded"], ...HOST, ...DATE];
    expect(signatureOf({ ...SUITE, method: "POST", headers, payloadHash: sha256Hex("Param1=value1") })).toBe(
      "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    );
  });
});

const S3_DOCS = {
  timestamp: "20130524T000000Z",
  region: "us-east-1",
  service: "s3",
  secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
} as const;

function s3Headers(payloadHash: string, ...more: Lines): Lines {
  return [
    ["Host", "examplebucket.s3.amazonaws.com"],
    ["x-amz-content-sha256", payloadHash],
    ["x-amz-date", "20130524T000000Z"],
    ...more,
  ];
}

// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
describe("the examples of the S3 documentation", () => {
  test("GET of a range", () => {
    const headers = s3Headers(EMPTY_SHA256, ["Range", "bytes=0-9"]);
    expect(signatureOf({ ...S3_DOCS, method: "GET", path: "/test.txt", headers })).toBe(
      "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    );
  });

  test("PUT of a key that needs encoding, signed as it stands in the request line", () => {
    const payloadHash = sha256Hex("Welcome to Amazon S3.");
    const headers = s3Headers(
      payloadHash,
      ["Date", "Fri, 24 May 2013 00:00:00 GMT"],
      ["x-amz-storage-class", "REDUCED_REDUNDANCY"],
    );
    expect(signatureOf({ ...S3_DOCS, method: "PUT", path: "/test%24file.text", headers, payloadHash })).toBe(
      "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    );
  });

  test("keeps every byte of UTF-8 in a header: only spaces and tabs are blank", () => {
    const value = Buffer.from("voilà à bientôt à").toString("latin1");
    const request = rawRequest({ method: "PUT", path: "/", query: "" }, [["x-amz-meta-a", `  ${value}\t `]]);
    expect(canonicalRequest(request, ["x-amz-meta-a"], EMPTY_SHA256)).toContain(`\nx-amz-meta-a:${value}\n`);
  });

  test("GET with a flag that has no value", () => {
    const headers = s3Headers(EMPTY_SHA256);
    expect(signatureOf({ ...S3_DOCS, method: "GET", query: "lifecycle", headers })).toBe(
      "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    );
  });

  test("GET of a listing", () => {
    const headers = s3Headers(EMPTY_SHA256);
    expect(signatureOf({ ...S3_DOCS, method: "GET", query: "max-keys=2&prefix=J", headers })).toBe(
      "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    );
  });
});
