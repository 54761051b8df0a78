import { createHash } from "node:crypto";
import { type AccessKey, type AccessKeyPair, hashOfSecret } from "../../src/lib/identity/access-key.ts";
import type { AuthenticationFacts } from "../../src/lib/identity/authenticate.ts";
import { canonicalRequest } from "../../src/lib/identity/canonical-request.ts";
import { type RawRequest, RequestHeaders } from "../../src/lib/identity/raw-request.ts";
import { Refusal } from "../../src/lib/identity/refusal.ts";
import { ALGORITHM, deriveSigningKey, renderScope, sign, stringToSign } from "../../src/lib/identity/signature.ts";
import { ownerOfSubject, subjectText } from "../../src/lib/identity/subject.ts";
import { Secret } from "../../src/lib/kernel/secret.ts";

/** A key as the tables of tests have it. */
export const TEST_KEY: AccessKey & AccessKeyPair = accessKey({
  keyId: "FULAABCDEFGHIJKLMNOP",
  secret: new Secret("0123456789abcdefghijklmnopqrstuvwxyzABCD"),
});

/** A key as it is found: of one user, in force, without an end. */
export function accessKey(pair: AccessKeyPair, userId = "a".repeat(64)): AccessKey & AccessKeyPair {
  return {
    ...pair,
    secretHash: hashOfSecret(pair.secret.reveal()),
    subject: { kind: "user", userId },
    scopes: ["storage:read", "storage:write"],
    revoked: false,
    createdMs: 0,
    expiresMs: null,
  };
}

/** When everything here is signed: 2026-11-20T03:00:00Z. */
export const SIGNED_AT_MS = Date.UTC(2026, 10, 20, 3);
const TIMESTAMP = "20261120T030000Z";
/** The scope that everything here is signed for. */
export const TEST_SCOPE = { date: "20261120", region: "us-east-1", service: "s3" } as const;

/** What requests are checked against where one key is known, and nobody else. */
export function authenticationFacts(key: AccessKey | null): AuthenticationFacts {
  return {
    findKey: async (keyId) => (key?.keyId === keyId ? key : null),
    admitKey: async ({ keyId, subject, scopes }) => ({
      credentialId: keyId,
      userId: subjectText(subject),
      ownerId: ownerOfSubject(subject),
      scopes,
    }),
    identifyBearer: async () => {
      throw new Refusal("InvalidToken", "Nobody is known here.");
    },
    jwtAccessKeys: false,
    region: TEST_SCOPE.region,
    nowMs: SIGNED_AT_MS,
  };
}

/** A request that is still to be signed, as header lines. */
export interface Unsigned {
  readonly method: string;
  readonly path: string;
  readonly query?: string;
  /** Beside host, x-amz-date and x-amz-content-sha256. */
  readonly headers?: readonly (readonly [string, string])[];
  readonly body?: Uint8Array;
  /** Stands in x-amz-content-sha256; default the hash of the body. */
  readonly payload?: string;
  readonly host?: string;
  readonly timestamp?: string;
}

/** Lower-case hex SHA-256. */
export function sha256Of(bytes: Uint8Array | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** The header lines of a signed request, Authorization last, and its signature. */
export function signRequest(
  request: Unsigned,
  key: AccessKeyPair = TEST_KEY,
  scope: { readonly date: string; readonly region: string; readonly service: string } = TEST_SCOPE,
): { readonly headers: readonly (readonly [string, string])[]; readonly signature: string } {
  const payload = request.payload ?? sha256Of(request.body ?? "");
  const timestamp = request.timestamp ?? TIMESTAMP;
  const lines = [
    ["host", request.host ?? "127.0.0.1:9000"],
    ["x-amz-date", timestamp],
    ["x-amz-content-sha256", payload],
    ...(request.headers ?? []),
  ] as const;
  const names = [...new Set(lines.map(([name]) => name.toLowerCase()))].toSorted();
  const canonical = canonicalRequest(rawRequest(request, lines), names, payload);
  const signature = sign(deriveSigningKey(key.secret.reveal(), scope), stringToSign(canonical, timestamp, scope));
  const authorization = `${ALGORITHM} Credential=${key.keyId}/${renderScope(scope)}, SignedHeaders=${names.join(";")}, Signature=${signature}`;
  return { headers: [...lines, ["authorization", authorization]], signature };
}

/** A request as the server sees it. */
export function rawRequest(
  { method, path, query = "" }: Pick<Unsigned, "method" | "path" | "query">,
  headers: readonly (readonly [string, string])[],
): RawRequest {
  return { method, path, query, headers: new RequestHeaders(headers.flat()) };
}

/** A presigned URL's query, signature last. */
export function presign(
  request: Pick<Unsigned, "method" | "path" | "query" | "host" | "timestamp"> & {
    /** Beside host. */
    readonly headers?: readonly (readonly [string, string])[];
    readonly expiresSeconds?: number;
    /** Stands in place of the body's hash; a further parameter where it is given. */
    readonly payload?: string;
  },
  key: AccessKeyPair = TEST_KEY,
  scope: { readonly date: string; readonly region: string; readonly service: string } = TEST_SCOPE,
): string {
  const timestamp = request.timestamp ?? TIMESTAMP;
  const lines = [["host", request.host ?? "127.0.0.1:9000"], ...(request.headers ?? [])] as const;
  const names = [...new Set(lines.map(([name]) => name.toLowerCase()))].toSorted();
  const parameters = [
    ["X-Amz-Algorithm", ALGORITHM],
    ...(request.payload === undefined ? [] : [["X-Amz-Content-Sha256", request.payload] as const]),
    ["X-Amz-Credential", `${key.keyId}/${renderScope(scope)}`],
    ["X-Amz-Date", timestamp],
    ["X-Amz-Expires", String(request.expiresSeconds ?? 3_600)],
    ["X-Amz-SignedHeaders", names.join(";")],
  ] as const;
  const own = parameters.map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  const query = [...(request.query === undefined || request.query === "" ? [] : [request.query]), ...own].join("&");
  const canonical = canonicalRequest(
    rawRequest({ ...request, query }, lines),
    names,
    request.payload ?? "UNSIGNED-PAYLOAD",
  );
  const signature = sign(deriveSigningKey(key.secret.reveal(), scope), stringToSign(canonical, timestamp, scope));
  return `${query}&X-Amz-Signature=${signature}`;
}
