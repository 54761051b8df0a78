import { describe, expect, test } from "vitest";
import { authenticate, type AuthenticatedRequest } from "../../../src/lib/identity/authenticate.ts";
import { Refusal } from "../../../src/lib/identity/refusal.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import {
  authenticationFacts,
  presign,
  rawRequest,
  SIGNED_AT_MS,
  sha256Of,
  signRequest,
  TEST_KEY,
} from "../../support/signing.ts";

const HOST = ["host", "127.0.0.1:9000"] as const;
const GET = { method: "GET", path: "/photos/a%20b/../c" } as const;

type Lines = readonly (readonly [string, string])[];

async function check(query: string, headers: Lines = [HOST], nowMs = SIGNED_AT_MS): Promise<AuthenticatedRequest> {
  return await authenticate(rawRequest({ ...GET, query }, headers), {
    ...authenticationFacts(TEST_KEY),
    nowMs,
  });
}

async function codeOf(checking: Promise<unknown>): Promise<string> {
  try {
    await checking;
  } catch (error) {
    if (error instanceof Refusal) return error.code;
    throw error;
  }
  return "accepted";
}

describe("a presigned URL", () => {
  test("has the signature that AWS publishes for its example", () => {
    const key = {
      ...TEST_KEY,
      keyId: "AKIAIOSFODNN7EXAMPLE",
      secret: new Secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    };
    const request = {
      method: "GET",
      path: "/test.txt",
      host: "examplebucket.s3.amazonaws.com",
      timestamp: "20130524T000000Z",
      expiresSeconds: 86_400,
    };
    expect(presign(request, key, { date: "20130524", region: "us-east-1", service: "s3" })).toMatch(
      /&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404$/,
    );
  });

  test("names its sender, and its operation sees nothing of the signature", async () => {
    const { principal, payload, request, chunkSigner } = await check(
      presign({ ...GET, query: "list-type=2&prefix=a%2Bb" }),
    );
    expect(principal.credentialId).toBe(TEST_KEY.keyId);
    expect(payload).toEqual({ kind: "unsigned" });
    expect(chunkSigner).toBeNull();
    expect(request.query).toBe("list-type=2&prefix=a%2Bb");
    expect(request.path).toBe(GET.path);
  });

  test("may have its parameters in any order and case, and others that nobody knows, as long as they are signed", async () => {
    const query = presign({ ...GET, query: "X-Amz-Unknown=1&versionId=null" });
    expect(await codeOf(check(query.split("&").toReversed().join("&")))).toBe("accepted");
    expect(await codeOf(check(query.replace("X-Amz-Unknown=1", "X-Amz-Unknown=2")))).toBe("SignatureDoesNotMatch");
    expect(await codeOf(check(`${query}&X-Amz-Other=1`))).toBe("SignatureDoesNotMatch");
  });

  test("has headers in its query, where SDKs put them; what they say twice stands there twice", async () => {
    const query = presign({ ...GET, query: "x-amz-meta-color=dark%20blue&X-Amz-Acl=private" });
    const { request } = await check(query);
    expect(request.headers.single("x-amz-meta-color")).toBe("dark blue");
    expect(request.headers.single("x-amz-acl")).toBe("private");
    expect(request.query).toBe("");
    const header = ["x-amz-meta-color", "red"] as const;
    const both = await check(presign({ ...GET, query: "x-amz-meta-color=blue", headers: [header] }), [HOST, header]);
    expect(both.request.headers.all("x-amz-meta-color")).toEqual(["red", "blue"]);
  });

  test("says what the body must be, in the URL or in a signed header", async () => {
    const sha256 = sha256Of("hello");
    expect((await check(presign({ ...GET, payload: sha256 }))).payload).toEqual({ kind: "hashed", sha256 });
    const streaming = await check(presign({ ...GET, payload: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" }));
    expect(streaming.chunkSigner).not.toBeNull();
  });

  test("is good from its date on until it expires, by our clock", async () => {
    const query = presign({ ...GET, expiresSeconds: 60 });
    expect(await codeOf(check(query, [HOST], SIGNED_AT_MS + 59_999))).toBe("accepted");
    expect(await codeOf(check(query, [HOST], SIGNED_AT_MS + 60_000))).toBe("AccessDenied");
    expect(await codeOf(check(query, [HOST], SIGNED_AT_MS - 900_000))).toBe("accepted");
    expect(await codeOf(check(query, [HOST], SIGNED_AT_MS - 900_001))).toBe("AccessDenied");
  });

  test("is refused where a header with a meaning came along unsigned", async () => {
    const headers = [HOST, ["x-amz-meta-color", "blue"]] as const;
    expect(await codeOf(check(presign(GET), headers))).toBe("AccessDenied");
    expect(await codeOf(check(presign({ ...GET, headers: headers.slice(1) }), headers))).toBe("accepted");
  });

  test("is refused beside a signed header: two answers to who sent it", async () => {
    const both = signRequest({ ...GET, query: presign(GET) }).headers;
    expect(await codeOf(check(presign(GET), both))).toBe("InvalidArgument");
  });

  const good = presign(GET);
  test.each([
    ["another method was signed", presign({ ...GET, method: "PUT" }), "SignatureDoesNotMatch"],
    ["another path was signed", presign({ ...GET, path: "/photos/c" }), "SignatureDoesNotMatch"],
    ["another host was signed", presign({ ...GET, host: "evil" }), "SignatureDoesNotMatch"],
    ["the time was made longer", good.replace("Expires=3600", "Expires=3601"), "SignatureDoesNotMatch"],
    ["a key is nobody's", good.replace(TEST_KEY.keyId, "FULAAAAAAAAAAAAAAAAA"), "InvalidAccessKeyId"],
    ["the region is another", good.replace("us-east-1", "eu-west-1"), "AuthorizationQueryParametersError"],
    ["the service is another", good.replace("%2Fs3%2F", "%2Fec2%2F"), "AuthorizationQueryParametersError"],
    ["the days differ", good.replace("%2F20261120%2F", "%2F20261119%2F"), "AuthorizationQueryParametersError"],
    ["the date is no date", good.replace("20261120T030000Z", "tomorrow"), "AuthorizationQueryParametersError"],
    [
      "it would be good for more than a week",
      presign({ ...GET, expiresSeconds: 604_801 }),
      "AuthorizationQueryParametersError",
    ],
    ["it would be good for no time", presign({ ...GET, expiresSeconds: 0 }), "AuthorizationQueryParametersError"],
    ["the time is no number", good.replace("Expires=3600", "Expires=-1"), "AuthorizationQueryParametersError"],
    ["the algorithm is another", good.replace("HMAC-SHA256", "ECDSA-P256-SHA256"), "AuthorizationQueryParametersError"],
    ["a parameter is missing", good.replace(/&X-Amz-Expires=\d+/, ""), "AuthorizationQueryParametersError"],
    ["the signature is missing", good.replace(/&X-Amz-Signature=.*/, ""), "AuthorizationQueryParametersError"],
    ["the signature is no hex", good.replace(/Signature=../, "Signature=zz"), "AuthorizationQueryParametersError"],
    ["a parameter is there twice", `${good}&X-Amz-Expires=3600`, "AuthorizationQueryParametersError"],
    ["a % stands alone", `${good}&a=%`, "InvalidURI"],
    ["it is one of Signature V2", "AWSAccessKeyId=a&Expires=1&Signature=b", "InvalidRequest"],
  ])("is refused where %s", async (_what, query, expected) => {
    expect(await codeOf(check(query))).toBe(expected);
  });

  test.each([
    ["a line end in its value", "x-amz-meta-color=a%0D%0Ab"],
    ["a NUL in its value", "x-amz-meta-color=%00"],
    ["a space in its name", "x-amz-meta-a%20b=c"],
    ["a letter in its name that no header has", "x-amz-meta-%C3%A9=c"],
  ])("is refused where it stands for a header with %s", async (_what, parameter) => {
    expect(await codeOf(check(presign({ ...GET, query: parameter })))).toBe("InvalidArgument");
  });

  test("must have its host signed", async () => {
    const query = good.replace("SignedHeaders=host", "SignedHeaders=accept");
    expect(await codeOf(check(query, [HOST, ["accept", "*"]]))).toBe("AccessDenied");
  });
});
