import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { AccessKey } from "../../../src/lib/identity/access-key.ts";
import {
  authenticate,
  type AuthenticatedRequest,
  type AuthenticationFacts,
  type Principal,
  requireScope,
} from "../../../src/lib/identity/authenticate.ts";
import type { RawRequest } from "../../../src/lib/identity/raw-request.ts";
import { Refusal } from "../../../src/lib/identity/refusal.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { property } from "../../support/property.ts";
import {
  authenticationFacts,
  presign,
  rawRequest,
  SIGNED_AT_MS,
  sha256Of,
  signRequest,
  TEST_KEY,
  TEST_SCOPE,
  type Unsigned,
} from "../../support/signing.ts";

async function check(
  request: RawRequest,
  more: { readonly key?: AccessKey | null; readonly nowMs?: number; readonly region?: string } = {},
): Promise<AuthenticatedRequest> {
  const key = more.key === undefined ? TEST_KEY : more.key;
  return await authenticate(request, {
    ...authenticationFacts(key),
    region: more.region ?? "us-east-1",
    nowMs: more.nowMs ?? SIGNED_AT_MS,
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

const PUT: Unsigned = {
  method: "PUT",
  path: "/photos/a%20b/../c",
  query: "x-id=PutObject&b=2&a=1",
  headers: [
    ["x-amz-meta-color", "blue green"],
    ["content-type", "text/plain"],
  ],
  body: Buffer.from("hello"),
};

function signed(request: Unsigned = PUT): RawRequest {
  return rawRequest(request, signRequest(request).headers);
}

function withHeader(request: Unsigned, name: string, change: (value: string) => string): RawRequest {
  const { headers } = signRequest(request);
  return rawRequest(
    request,
    headers.map(([key, value]) => [key, key === name ? change(value) : value]),
  );
}

describe("a signed request", () => {
  test("names its sender, whose owner id is the fleet's", async () => {
    const { principal, payload } = await check(signed());
    expect(principal.credentialId).toBe(TEST_KEY.keyId);
    expect(principal.ownerId).toMatch(/^[0-9a-f]{32}$/);
    expect(payload).toEqual({ kind: "hashed", sha256: sha256Of("hello") });
  });

  test("is accepted whatever key, query and metadata it is about", async () => {
    const path = fc.string({
      unit: fc.constantFrom("a", "Z", "0", "/", ".", "~", "%20", "%2F", "%25", "%C3%A9"),
      maxLength: 20,
    });
    const query = fc.array(
      fc.tuple(fc.constantFrom("a", "b", "prefix", "x-id"), fc.constantFrom("", "1", "a%20b", "%2F")),
      { maxLength: 4 },
    );
    await fc.assert(
      fc.asyncProperty(path, query, fc.string({ maxLength: 20 }), async (key, parameters, meta) => {
        const request: Unsigned = {
          method: "GET",
          path: `/photos/${key}`,
          query: parameters.map(([name, value]) => `${name}=${value}`).join("&"),
          headers: [["x-amz-meta-a", meta]],
        };
        expect(await codeOf(check(signed(request)))).toBe("accepted");
      }),
      property(),
    );
  });

  test.each([
    ["method", { ...PUT, method: "GET" }],
    ["method in lower case", { ...PUT, method: "put" }],
    ["bucket", { ...PUT, path: "/photoz/a%20b/../c" }],
    ["key", { ...PUT, path: "/photos/a%20b/../d" }],
    ["key, folded", { ...PUT, path: "/photos/c" }],
    ["key, decoded", { ...PUT, path: "/photos/a b/../c" }],
    ["key with a slash more", { ...PUT, path: "/photos//a%20b/../c" }],
    ["query value", { ...PUT, query: "x-id=PutObject&b=2&a=2" }],
    ["query name", { ...PUT, query: "x-id=PutObject&b=2&c=1" }],
    ["query parameter less", { ...PUT, query: "x-id=PutObject&b=2" }],
    ["query parameter more", { ...PUT, query: "x-id=PutObject&b=2&a=1&acl=" }],
    ["query values swapped", { ...PUT, query: "x-id=PutObject&b=1&a=2" }],
  ])("is refused after a change of its %s", async (_what, changed) => {
    expect(await codeOf(check(rawRequest(changed, signRequest(PUT).headers)))).toBe("SignatureDoesNotMatch");
  });

  test("is refused after any single character of any header line is another one", async () => {
    const { headers } = signRequest(PUT);
    const anyLine = fc.nat(headers.length - 1);
    await fc.assert(
      fc.asyncProperty(anyLine, fc.nat(300), fc.integer({ min: 1, max: 94 }), async (line, place, shift) => {
        const [name = "", value = ""] = headers[line] ?? [];
        const index = place % value.length;
        const char = String.fromCharCode(33 + ((value.charCodeAt(index) - 33 + shift + 95) % 94));
        const changed = value.slice(0, index) + char + value.slice(index + 1);
        fc.pre(changed !== value && char !== " ");
        const lines = headers.map(([key, text], each) => [key, each === line ? changed : text] as const);
        expect([name, changed, await codeOf(check(rawRequest(PUT, lines)))]).not.toContain("accepted");
      }),
      property(500),
    );
  });

  test("is refused without any one of its headers", async () => {
    const { headers } = signRequest(PUT);
    for (const [name] of headers) {
      const lines = headers.filter(([key]) => key !== name);
      expect([name, await codeOf(check(rawRequest(PUT, lines)))]).not.toContain("accepted");
    }
  });

  test("is refused with an x-amz- header that was not signed", async () => {
    const lines = [...signRequest(PUT).headers, ["x-amz-acl", "public-read"] as const];
    expect(await codeOf(check(rawRequest(PUT, lines)))).toBe("AccessDenied");
  });

  test("is refused when a header that was signed once arrives twice", async () => {
    const lines = [...signRequest(PUT).headers, ["x-amz-meta-color", "red"] as const];
    expect(await codeOf(check(rawRequest(PUT, lines)))).toBe("SignatureDoesNotMatch");
  });

  test.each(["authorization", "x-amz-date", "x-amz-content-sha256"])("is refused with two %s headers", async (name) => {
    const { headers } = signRequest(PUT);
    const again = headers.filter(([key]) => key === name);
    expect(await codeOf(check(rawRequest(PUT, [...again, ...headers])))).toBe("InvalidRequest");
  });

  test("is good for 900 s before and after its date, and no longer", async () => {
    const request = signed();
    expect(await codeOf(check(request, { nowMs: SIGNED_AT_MS + 900_000 }))).toBe("accepted");
    expect(await codeOf(check(request, { nowMs: SIGNED_AT_MS - 900_000 }))).toBe("accepted");
    expect(await codeOf(check(request, { nowMs: SIGNED_AT_MS + 900_001 }))).toBe("RequestTimeTooSkewed");
    expect(await codeOf(check(request, { nowMs: SIGNED_AT_MS - 900_001 }))).toBe("RequestTimeTooSkewed");
  });

  test.each([
    ["another date than x-amz-date", { ...TEST_SCOPE, date: "20261119" }],
    ["another region", { ...TEST_SCOPE, region: "eu-west-1" }],
    ["another service", { ...TEST_SCOPE, service: "sts" }],
  ])("is refused when its scope has %s", async (_what, scope) => {
    const { headers } = signRequest(PUT, TEST_KEY, scope);
    expect(await codeOf(check(rawRequest(PUT, headers)))).toBe("AuthorizationHeaderMalformed");
  });

  test("for the region of another gateway is told the right one", async () => {
    await expect(check(signed(), { region: "eu-north-1" })).rejects.toMatchObject({ fields: { Region: "eu-north-1" } });
  });

  test.each([
    ["an unknown key", null],
    ["a revoked key", { ...TEST_KEY, revoked: true }],
  ])("of %s is refused", async (_what, key) => {
    expect(await codeOf(check(signed(), { key }))).toBe("InvalidAccessKeyId");
  });

  test("of a key whose secret is another one is refused", async () => {
    const { headers } = signRequest(PUT, {
      ...TEST_KEY,
      secret: new Secret("guessed"),
    });
    expect(await codeOf(check(rawRequest(PUT, headers)))).toBe("SignatureDoesNotMatch");
  });

  test.each([
    ["20261131T030000Z", "AccessDenied"],
    ["20261120T030000", "AccessDenied"],
    ["2026-11-20T03:00:00Z", "AccessDenied"],
  ])("dated %s is refused", async (timestamp, expected) => {
    expect(await codeOf(check(signed({ ...PUT, timestamp })))).toBe(expected);
  });

  test.each([
    ["", "InvalidArgument"],
    ["abc", "InvalidArgument"],
    ["STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "NotImplemented"],
  ])("with the body form %j is refused", async (payload, expected) => {
    expect(await codeOf(check(signed({ ...PUT, payload })))).toBe(expected);
  });
});

describe("an authorization header", () => {
  test("that is missing is AccessDenied", async () => {
    expect(await codeOf(check(rawRequest(PUT, [["host", "h"]])))).toBe("AccessDenied");
  });

  test.each([
    ["AWS AKIA:sig", "InvalidRequest"],
    ["Basic dXNlcjpwYXNz", "InvalidRequest"],
    ["AWS4-ECDSA-P256-SHA256 Credential=x", "InvalidRequest"],
    ["AWS4-HMAC-SHA256 ", "AuthorizationHeaderMalformed"],
    ["AWS4-HMAC-SHA256 Credential=a/b", "AuthorizationHeaderMalformed"],
  ])("that reads %j is refused", async (value, expected) => {
    expect(await codeOf(check(withHeader(PUT, "authorization", () => value)))).toBe(expected);
  });

  test.each([
    ["a part twice", (value: string) => `${value}, Signature=${"0".repeat(64)}`],
    ["an unknown part", (value: string) => `${value}, Extra=1`],
    [
      "an upper-case signature",
      (value: string) =>
        value.replace(/Signature=(.*)$/, (_, hex: string) => `Signature=${hex.toUpperCase().replace(/^\d+$/, "A")}`),
    ],
    ["unsorted header names", (value: string) => value.replace("content-type;host", "host;content-type")],
    ["a header name twice", (value: string) => value.replace("host;", "host;host;")],
    ["a credential with too many parts", (value: string) => value.replace("/aws4_request", "/aws4_request/x")],
    ["a credential without its end", (value: string) => value.replace("/aws4_request", "/aws5_request")],
  ])("with %s is malformed", async (_what, change) => {
    expect(await codeOf(check(withHeader(PUT, "authorization", change)))).toBe("AuthorizationHeaderMalformed");
  });
});

describe("a bearer token", () => {
  const token = `${TEST_KEY.keyId}.${TEST_KEY.secret.reveal()}`;
  const bearer = (value: string, ...more: (readonly [string, string])[]): RawRequest =>
    rawRequest(PUT, [["host", "h"], ["authorization", value], ...more]);

  test.each([`Bearer ${token}`, `bearer ${token}`])("of key id and secret names its sender: %s", async (value) => {
    expect((await check(bearer(value))).principal.userId).toBe("a".repeat(64));
  });

  test.each([
    ["another secret", `Bearer ${TEST_KEY.keyId}.wrong`],
    ["an empty secret", `Bearer ${TEST_KEY.keyId}.`],
    ["no secret", `Bearer ${TEST_KEY.keyId}`],
    ["an unknown key", `Bearer FULAZZZZZZZZZZZZZZZZ.${TEST_KEY.secret.reveal()}`],
    ["more at its end", `Bearer ${token}x`],
  ])("with %s is refused", async (_what, value) => {
    expect(await codeOf(check(bearer(value)))).toBe("InvalidToken");
  });

  test("of a revoked key is refused", async () => {
    expect(await codeOf(check(bearer(`Bearer ${token}`), { key: { ...TEST_KEY, revoked: true } }))).toBe(
      "InvalidToken",
    );
  });

  test("cannot come with signed chunks, whose signatures nothing would check", async () => {
    const request = bearer(`Bearer ${token}`, ["x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"]);
    expect(await codeOf(check(request))).toBe("InvalidRequest");
  });
});

test("a key without a scope may not do what needs it", async () => {
  const { principal } = await check(signed(), { key: { ...TEST_KEY, scopes: ["storage:read"] } });
  expect(() => requireScope(principal, "storage:read")).not.toThrow();
  expect(() => requireScope(principal, "storage:write")).toThrow(Refusal);
});

describe("a token in place of a key's id", () => {
  const TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln";
  const owner: Principal = { credentialId: "jwt:0", userId: "u", ownerId: "o", scopes: ["storage:read"] };
  const signedWith = (keyId: string, more: Partial<Unsigned> = {}): RawRequest => {
    const request = { ...PUT, ...more };
    return rawRequest(request, signRequest(request, { keyId, secret: new Secret("whatever") }).headers);
  };
  const checkToken = async (
    request: RawRequest,
    more: Partial<AuthenticationFacts> = {},
  ): Promise<AuthenticatedRequest> =>
    await authenticate(request, {
      ...authenticationFacts(TEST_KEY),
      jwtAccessKeys: true,
      identifyBearer: async (token) => {
        if (token !== TOKEN) throw new Refusal("InvalidToken", "Nobody is known by it.");
        return owner;
      },
      ...more,
    });

  test("names its sender where the settings allow it, with a signature that nobody checks", async () => {
    expect((await checkToken(signedWith(`JWT:${TOKEN}`))).principal).toEqual(owner);
    const chunked = signedWith(`JWT:${TOKEN}`, { payload: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" });
    const { payload, chunkSigner } = await checkToken(chunked);
    expect([payload.kind, chunkSigner?.acceptChunk("", ""), chunkSigner?.acceptTrailer("", "")]).toEqual([
      "chunked",
      true,
      true,
    ]);
  });

  test("is refused where they do not, and its text is not repeated", async () => {
    const refusal = await checkToken(signedWith(`JWT:${TOKEN}`), { jwtAccessKeys: false }).catch(
      (error: unknown) => error,
    );
    expect(refusal).toMatchObject({ code: "InvalidAccessKeyId", fields: { AWSAccessKeyId: "JWT:****" } });
  });

  test("is judged like any other bearer token, and never taken for a key", async () => {
    expect(await codeOf(checkToken(signedWith("JWT:a.b.c")))).toBe("InvalidToken");
    const pair = `JWT:${TEST_KEY.keyId}.${TEST_KEY.secret.reveal()}`;
    for (const keyId of [pair, "JWT:", "JWT:a.b", "jwt:a.b.c", TOKEN]) {
      expect([keyId, await codeOf(checkToken(signedWith(keyId)))]).toEqual([keyId, "InvalidAccessKeyId"]);
    }
  });

  test.each([
    ["10 minutes slow", -600_000, "accepted"],
    ["10 minutes fast", 600_000, "accepted"],
    ["20 minutes slow", -1_200_000, "RequestTimeTooSkewed"],
    ["20 minutes fast", 1_200_000, "RequestTimeTooSkewed"],
  ])("of a client whose clock is %s is told %s ms: %s", async (_what, ms, code) => {
    expect(await codeOf(checkToken(signedWith(`JWT:${TOKEN}`), { nowMs: SIGNED_AT_MS - ms }))).toBe(code);
  });

  test("does not open a presigned URL: it would be written down in every log on its way", async () => {
    const query = presign({ method: "GET", path: "/photos/a" }, { keyId: `JWT:${TOKEN}`, secret: new Secret("x") });
    const request = rawRequest({ method: "GET", path: "/photos/a", query }, [["host", "127.0.0.1:9000"]]);
    expect(await codeOf(checkToken(request))).toBe("InvalidAccessKeyId");
  });
});

describe("a key", () => {
  test("whose time is over is refused with the right signature alone", async () => {
    const key = { ...TEST_KEY, expiresMs: SIGNED_AT_MS };
    expect(await codeOf(check(signed(), { key }))).toBe("ExpiredToken");
    expect(await codeOf(check(signed(), { key: { ...TEST_KEY, expiresMs: SIGNED_AT_MS + 1 } }))).toBe("accepted");
    const other = signRequest(PUT, { ...TEST_KEY, secret: new Secret("another") });
    expect(await codeOf(check(rawRequest(PUT, other.headers), { key }))).toBe("SignatureDoesNotMatch");
  });

  test("that is kept as a hash opens with its secret, and signs nothing", async () => {
    const key = { ...TEST_KEY, secret: null };
    const bearer = [["authorization", `Bearer ${TEST_KEY.keyId}.${TEST_KEY.secret.reveal()}`]] as const;
    expect(await codeOf(check(rawRequest(PUT, [["host", "h"], ...bearer]), { key }))).toBe("accepted");
    expect(await codeOf(check(signed(), { key }))).toBe("InvalidAccessKeyId");
  });
});
