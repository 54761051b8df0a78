import type { AccessKey, Scope } from "./access-key.ts";
import { isExpired, isKeyId, opensKey } from "./access-key.ts";
import { parseAuthorization } from "./bearer.ts";
import { canonicalRequest } from "./canonical-request.ts";
import type { ChunkSigner } from "./chunk-signer.ts";
import { createChunkSigner } from "./chunk-signer.ts";
import { type PayloadForm, parsePayloadForm, UNSIGNED_PAYLOAD } from "./payload.ts";
import type { Secret } from "../kernel/secret.ts";
import { shownKeyId, tokenOfKeyId, UNCHECKED_CHUNKS } from "./jwt-access-key.ts";
import type { RawRequest } from "./raw-request.ts";
import { Refusal } from "./refusal.ts";
import { parseSignatureHeader, type SignatureHeader } from "./signature-header.ts";
import { parseSignedQuery, type SignedQuery } from "./signed-query.ts";
import { ALGORITHM, deriveSigningKey, equalsSecretly, renderScope, sign, stringToSign } from "./signature.ts";

/** Who sent a request. */
export interface Principal {
  /** Names the credential in messages and log lines without being usable: the id of a key, or the start of a digest. */
  readonly credentialId: string;
  /** The account that pays, 64 hex digits. */
  readonly userId: string;
  /** Owner of buckets, 32 hex digits. */
  readonly ownerId: string;
  readonly scopes: readonly Scope[];
}

/** A request whose sender is known, and what is still to be checked while its body is read. */
export interface AuthenticatedRequest {
  /** The request as its operation is to see it: of a presigned URL, headers that stand in its query are headers. */
  readonly request: RawRequest;
  readonly principal: Principal;
  readonly payload: PayloadForm;
  /** Checks the signatures of chunks and trailers; null where the body is not signed chunk by chunk. */
  readonly chunkSigner: ChunkSigner | null;
}

/** What a request is checked against. */
export interface AuthenticationFacts {
  readonly findKey: (keyId: string) => Promise<AccessKey | null>;
  /** Finds out who a key stands for, once that its secret was used is known. @throws Refusal InvalidAccessKeyId */
  readonly admitKey: (key: AccessKey) => Promise<Principal>;
  /** Finds out whose bearer token it is that names no key. @throws Refusal InvalidToken */
  readonly identifyBearer: (token: string) => Promise<Principal>;
  /** Whether a token may stand in place of a key's id, with a signature that cannot be checked. */
  readonly jwtAccessKeys: boolean;
  readonly region: string;
  /** Wall time, milliseconds. */
  readonly nowMs: number;
}

/** A signature may be this much older or newer than our clock. */
const CLOCK_SKEW_MAX_MS = 900_000;

const SERVICE = "s3";

/** Reads `20130524T000000Z`; null for anything else, also for a day that there is not. */
function parseTimestampMs(text: string): number | null {
  const match = /^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z$/.exec(text);
  if (match === null) return null;
  const [, year, month, day, hour, minute, second] = match;
  const iso = `${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`;
  const ms = Date.parse(iso);
  return Number.isNaN(ms) || new Date(ms).toISOString() !== iso ? null : ms;
}

/** What is signed, wherever the signature stands. */
interface Claims extends SignatureHeader {
  readonly timestamp: string;
  /** What stands in place of the body's hash in what was signed. */
  readonly payloadHash: string;
  /** The request with the query that was signed. */
  readonly signed: RawRequest;
  /** The code for a Credential of another place or day. */
  readonly malformed: "AuthorizationHeaderMalformed" | "AuthorizationQueryParametersError";
}

function headerTimestamp(request: RawRequest, nowMs: number): string {
  const timestamp = request.headers.single("x-amz-date");
  const timeMs = timestamp === null ? null : parseTimestampMs(timestamp);
  if (timestamp === null || timeMs === null) {
    throw new Refusal("AccessDenied", "AWS authentication requires a valid x-amz-date header (20130524T000000Z).");
  }
  if (Math.abs(nowMs - timeMs) > CLOCK_SKEW_MAX_MS) {
    throw new Refusal(
      "RequestTimeTooSkewed",
      "The difference between the request time and the server's time is too large.",
      {
        RequestTime: timestamp,
        ServerTime: new Date(nowMs).toISOString(),
        MaxAllowedSkewMilliseconds: String(CLOCK_SKEW_MAX_MS),
      },
    );
  }
  return timestamp;
}

/** A URL is good from its date on, by our clock; whose clock is ahead of ours may be so by the skew of any request. */
function checkValidity({ timestamp, expiresSeconds }: SignedQuery, nowMs: number): void {
  const timeMs = parseTimestampMs(timestamp);
  if (timeMs === null) {
    throw new Refusal(
      "AuthorizationQueryParametersError",
      "X-Amz-Date must be in the ISO8601 long form: 20130524T000000Z.",
    );
  }
  if (timeMs - nowMs > CLOCK_SKEW_MAX_MS) throw new Refusal("AccessDenied", "The presigned URL is not yet valid.");
  const expiresMs = timeMs + expiresSeconds * 1_000;
  if (nowMs >= expiresMs) {
    throw new Refusal("AccessDenied", "The presigned URL has expired.", {
      "X-Amz-Expires": String(expiresSeconds),
      Expires: new Date(expiresMs).toISOString(),
      ServerTime: new Date(nowMs).toISOString(),
    });
  }
}

function checkScope({ scope, timestamp, malformed }: Claims, region: string): void {
  if (scope.region !== region) {
    throw new Refusal(malformed, `The region '${scope.region}' is wrong; expecting '${region}'.`, { Region: region });
  }
  if (scope.service !== SERVICE) {
    throw new Refusal(malformed, `The service '${scope.service}' is wrong; expecting '${SERVICE}'.`);
  }
  if (scope.date !== timestamp.slice(0, 8)) {
    throw new Refusal(malformed, "The date of the Credential is not the date of the request.");
  }
}

function checkSignedHeaders(request: RawRequest, { signedHeaders }: Claims): void {
  const signed = new Set(signedHeaders);
  const mustSign = request.headers.names().filter((name) => name === "host" || name.startsWith("x-amz-"));
  const unsigned = ["host", ...mustSign].filter((name) => !signed.has(name));
  if (unsigned.length > 0) {
    throw new Refusal("AccessDenied", "There were headers present in the request which were not signed.", {
      HeadersNotSigned: [...new Set(unsigned)].join(", "),
    });
  }
  const absent = signedHeaders.filter((name) => !request.headers.has(name));
  if (absent.length > 0) {
    throw new Refusal("SignatureDoesNotMatch", `Headers were signed that did not arrive: ${absent.join(", ")}.`);
  }
}

async function usableKey(keyId: string, facts: AuthenticationFacts): Promise<AccessKey | null> {
  const key = isKeyId(keyId) ? await facts.findKey(keyId) : null;
  return key === null || key.revoked ? null : key;
}

/** The key that a signature names, with its secret. */
async function signingKeyOf(
  { keyId }: Claims,
  facts: AuthenticationFacts,
): Promise<{ readonly key: AccessKey; readonly secret: Secret }> {
  const key = await usableKey(keyId, facts);
  const fields = { AWSAccessKeyId: shownKeyId(keyId) };
  if (key === null) {
    const message = "The access key id does not exist here, or has been revoked.";
    throw new Refusal("InvalidAccessKeyId", message, fields);
  }
  if (key.secret !== null) return { key, secret: key.secret };
  const message =
    "The access key is good as a bearer token alone: its secret is not kept, so no signature can be checked.";
  throw new Refusal("InvalidAccessKeyId", message, fields);
}

/** Only told to whoever has the secret; SDKs ask for new credentials then. */
async function admitInForce(key: AccessKey, facts: AuthenticationFacts): Promise<Principal> {
  if (isExpired(key, facts.nowMs)) throw new Refusal("ExpiredToken", "The access key has expired.");
  return await facts.admitKey(key);
}

function claimsOfHeader(request: RawRequest, authorization: string, nowMs: number): Claims {
  const header = parseSignatureHeader(authorization);
  const timestamp = headerTimestamp(request, nowMs);
  const payloadHash = request.headers.single("x-amz-content-sha256");
  if (payloadHash === null) throw new Refusal("InvalidRequest", "The header x-amz-content-sha256 is missing.");
  return { ...header, timestamp, payloadHash, signed: request, malformed: "AuthorizationHeaderMalformed" };
}

function claimsOfQuery(request: RawRequest, query: SignedQuery, nowMs: number): Claims {
  checkValidity(query, nowMs);
  return {
    ...query,
    // Who makes a URL for somebody else seldom knows the body; who knows it has it signed.
    payloadHash: query.payloadHash ?? request.headers.single("x-amz-content-sha256") ?? UNSIGNED_PAYLOAD,
    signed: { ...request, query: query.canonicalQuery },
    malformed: "AuthorizationQueryParametersError",
  };
}

async function authenticateSigned(
  request: RawRequest,
  claims: Claims,
  facts: AuthenticationFacts,
): Promise<AuthenticatedRequest> {
  checkScope(claims, facts.region);
  checkSignedHeaders(claims.signed, claims);
  const payload = parsePayloadForm(claims.payloadHash);
  const { key, secret } = await signingKeyOf(claims, facts);
  const { scope, timestamp, signature } = claims;
  const signingKey = deriveSigningKey(secret.reveal(), scope);
  const canonical = canonicalRequest(claims.signed, claims.signedHeaders, claims.payloadHash);
  if (!equalsSecretly(sign(signingKey, stringToSign(canonical, timestamp, scope)), signature)) {
    throw new Refusal("SignatureDoesNotMatch", "The signature does not match the request and the secret of the key.");
  }
  const chunkSigner =
    payload.kind === "chunked" && payload.signed
      ? createChunkSigner({ signingKey, timestamp, scope: renderScope(scope), seed: signature })
      : null;
  return { request, principal: await admitInForce(key, facts), payload, chunkSigner };
}

/** A token in place of a key's id: all that is checked beside it is when the request was made. */
async function authenticateTokenKey(
  request: RawRequest,
  token: string,
  facts: AuthenticationFacts,
): Promise<AuthenticatedRequest> {
  headerTimestamp(request, facts.nowMs);
  const payload = bearerPayload(request);
  const principal = await facts.identifyBearer(token);
  const isSigned = payload.kind === "chunked" && payload.signed;
  return { request, principal, payload, chunkSigner: isSigned ? UNCHECKED_CHUNKS : null };
}

/** How a body is protected where nothing has to be said about it. */
function bearerPayload(request: RawRequest): PayloadForm {
  const payloadHash = request.headers.single("x-amz-content-sha256");
  return payloadHash === null ? { kind: "unsigned" } : parsePayloadForm(payloadHash);
}

async function authenticateHeader(
  request: RawRequest,
  authorization: string,
  facts: AuthenticationFacts,
): Promise<AuthenticatedRequest> {
  const token = facts.jwtAccessKeys ? tokenOfKeyId(parseSignatureHeader(authorization).keyId) : null;
  if (token !== null) return await authenticateTokenKey(request, token, facts);
  return await authenticateSigned(request, claimsOfHeader(request, authorization, facts.nowMs), facts);
}

/** Whose key pair stands in a bearer token; of tokens of other kinds, whoever those say. */
async function bearerPrincipal(token: string, facts: AuthenticationFacts): Promise<Principal> {
  const [keyId = "", ...rest] = token.split(".");
  if (!isKeyId(keyId)) return await facts.identifyBearer(token);
  const key = await usableKey(keyId, facts);
  if (key === null || !opensKey(key, rest.join("."))) {
    throw new Refusal("InvalidToken", "The bearer token is not <access key id>.<secret> of a key that is in force.");
  }
  return await admitInForce(key, facts);
}

async function authenticateBearer(
  request: RawRequest,
  token: string,
  facts: AuthenticationFacts,
): Promise<AuthenticatedRequest> {
  const principal = await bearerPrincipal(token, facts);
  const payload = bearerPayload(request);
  if (payload.kind === "chunked" && payload.signed) {
    throw new Refusal(
      "InvalidRequest",
      "Chunks can only be signed where the request is: use Signature V4, or an unsigned body.",
    );
  }
  return { request, principal, payload, chunkSigner: null };
}

function explainUnsigned({ query }: RawRequest): Refusal {
  return /(?:^|&)Signature=/i.test(query)
    ? new Refusal("InvalidRequest", `URLs of Signature V2 are not supported; presign with ${ALGORITHM}.`)
    : new Refusal("AccessDenied", "Access denied: the request is not signed.");
}

/**
 * Finds out who sent a request: by AWS Signature V4 in the header form or as a presigned URL, by the same key pair as a
 * bearer token, `Authorization: Bearer <key id>.<secret>`, by a bearer token of another kind, or by such a token in place
 * of a key's id where the settings allow it.
 * @throws Refusal for every request whose sender is not beyond doubt
 */
export async function authenticate(request: RawRequest, facts: AuthenticationFacts): Promise<AuthenticatedRequest> {
  const authorization = request.headers.single("authorization");
  const query = parseSignedQuery(request);
  if (query !== null && authorization !== null) {
    throw new Refusal("InvalidArgument", "Only one way of authentication is allowed: the URL or the header.", {
      ArgumentName: "Authorization",
    });
  }
  if (query !== null) {
    return await authenticateSigned(query.request, claimsOfQuery(request, query, facts.nowMs), facts);
  }
  if (authorization === null) throw explainUnsigned(request);
  if (authorization.split(" ", 1)[0] === ALGORITHM) return await authenticateHeader(request, authorization, facts);
  const bearer = parseAuthorization(authorization);
  if (bearer !== null) return await authenticateBearer(request, bearer, facts);
  throw new Refusal("InvalidRequest", `The authorization mechanism is not supported; use ${ALGORITHM} or Bearer.`);
}

/** @throws Refusal AccessDenied where the sender's credential lacks the scope */
export function requireScope(principal: Principal, scope: Scope): void {
  if (!principal.scopes.includes(scope)) {
    throw new Refusal("AccessDenied", `Access denied: ${principal.credentialId} has no ${scope}.`);
  }
}
