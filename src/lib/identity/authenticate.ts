import type { AccessKey, Scope } from "./access-key.ts";
import { isKeyId } from "./access-key.ts";
import { canonicalRequest } from "./canonical-request.ts";
import type { ChunkSigner } from "./chunk-signer.ts";
import { createChunkSigner } from "./chunk-signer.ts";
import { type PayloadForm, parsePayloadForm } from "./payload.ts";
import type { RawRequest } from "./raw-request.ts";
import { Refusal } from "./refusal.ts";
import { parseSignatureHeader, type SignatureHeader } from "./signature-header.ts";
import { ALGORITHM, deriveSigningKey, equalsSecretly, renderScope, sign, stringToSign } from "./signature.ts";
import { ownerIdOf } from "./user-id.ts";

/** Who sent a request. */
export interface Principal {
  readonly keyId: string;
  readonly userId: string;
  /** Owner of buckets, 32 hex digits. */
  readonly ownerId: string;
  readonly scopes: readonly Scope[];
}

/** A request whose sender is known, and what is still to be checked while its body is read. */
export interface AuthenticatedRequest {
  readonly principal: Principal;
  readonly payload: PayloadForm;
  /** Checks the signatures of chunks and trailers; null where the body is not signed chunk by chunk. */
  readonly chunkSigner: ChunkSigner | null;
}

/** What a request is checked against. */
export interface AuthenticationFacts {
  readonly findKey: (keyId: string) => Promise<AccessKey | null>;
  readonly region: string;
  /** Wall time, milliseconds. */
  readonly nowMs: number;
}

/** A signature may be this much older or newer than our clock. */
const CLOCK_SKEW_MAX_MS = 900_000;

const SERVICE = "s3";

function principalOf(key: AccessKey): Principal {
  return { keyId: key.keyId, userId: key.userId, ownerId: ownerIdOf(key.userId), scopes: key.scopes };
}

/** Reads `20130524T000000Z`; null for anything else, also for a day that there is not. */
function parseTimestampMs(text: string): number | null {
  const match = /^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z$/.exec(text);
  if (match === null) return null;
  const [, year, month, day, hour, minute, second] = match;
  const iso = `${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`;
  const ms = Date.parse(iso);
  return Number.isNaN(ms) || new Date(ms).toISOString() !== iso ? null : ms;
}

function checkedTimestamp(request: RawRequest, header: SignatureHeader, nowMs: number): string {
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
  if (header.scope.date !== timestamp.slice(0, 8)) {
    throw new Refusal("AuthorizationHeaderMalformed", "The date of the Credential is not the date of x-amz-date.");
  }
  return timestamp;
}

function checkScope({ scope }: SignatureHeader, region: string): void {
  if (scope.region !== region) {
    throw new Refusal("AuthorizationHeaderMalformed", `The region '${scope.region}' is wrong; expecting '${region}'.`, {
      Region: region,
    });
  }
  if (scope.service !== SERVICE) {
    throw new Refusal(
      "AuthorizationHeaderMalformed",
      `The service '${scope.service}' is wrong; expecting '${SERVICE}'.`,
    );
  }
}

function checkSignedHeaders(request: RawRequest, { signedHeaders }: SignatureHeader): void {
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

async function authenticateSigned(
  request: RawRequest,
  authorization: string,
  facts: AuthenticationFacts,
): Promise<AuthenticatedRequest> {
  const header = parseSignatureHeader(authorization);
  checkScope(header, facts.region);
  const timestamp = checkedTimestamp(request, header, facts.nowMs);
  checkSignedHeaders(request, header);
  const payloadHash = request.headers.single("x-amz-content-sha256");
  if (payloadHash === null) throw new Refusal("InvalidRequest", "The header x-amz-content-sha256 is missing.");
  const payload = parsePayloadForm(payloadHash);
  const key = await usableKey(header.keyId, facts);
  if (key === null) {
    throw new Refusal("InvalidAccessKeyId", "The access key id does not exist here, or has been revoked.", {
      AWSAccessKeyId: header.keyId.slice(0, 128),
    });
  }
  const signingKey = deriveSigningKey(key.secret.reveal(), header.scope);
  const canonical = canonicalRequest(request, header.signedHeaders, payloadHash);
  if (!equalsSecretly(sign(signingKey, stringToSign(canonical, timestamp, header.scope)), header.signature)) {
    throw new Refusal("SignatureDoesNotMatch", "The signature does not match the request and the secret of the key.");
  }
  const chunkSigner =
    payload.kind === "chunked" && payload.signed
      ? createChunkSigner({ signingKey, timestamp, scope: renderScope(header.scope), seed: header.signature })
      : null;
  return { principal: principalOf(key), payload, chunkSigner };
}

async function authenticateBearer(
  request: RawRequest,
  token: string,
  facts: AuthenticationFacts,
): Promise<AuthenticatedRequest> {
  const dot = token.indexOf(".");
  const key = dot === -1 ? null : await usableKey(token.slice(0, dot), facts);
  if (key === null || !equalsSecretly(token.slice(dot + 1), key.secret.reveal())) {
    throw new Refusal("InvalidToken", "The bearer token is not <access key id>.<secret> of a key that is in force.");
  }
  const payloadHash = request.headers.single("x-amz-content-sha256");
  const payload: PayloadForm = payloadHash === null ? { kind: "unsigned" } : parsePayloadForm(payloadHash);
  if (payload.kind === "chunked" && payload.signed) {
    throw new Refusal(
      "InvalidRequest",
      "Chunks can only be signed where the request is: use Signature V4, or an unsigned body.",
    );
  }
  return { principal: principalOf(key), payload, chunkSigner: null };
}

function explainUnsigned({ query }: RawRequest): Refusal {
  return /(?:^|&)(?:X-Amz-Signature|Signature)=/i.test(query)
    ? new Refusal("NotImplemented", "Presigned URLs are not supported; sign the Authorization header.")
    : new Refusal("AccessDenied", "Access denied: the request is not signed.");
}

/**
 * Finds out who sent a request: by AWS Signature V4 in the header form, or by the same key pair as a bearer token,
 * `Authorization: Bearer <key id>.<secret>`.
 * @throws Refusal for every request whose sender is not beyond doubt
 */
export async function authenticate(request: RawRequest, facts: AuthenticationFacts): Promise<AuthenticatedRequest> {
  const authorization = request.headers.single("authorization");
  if (authorization === null) throw explainUnsigned(request);
  if (authorization.split(" ", 1)[0] === ALGORITHM) return await authenticateSigned(request, authorization, facts);
  const bearer = /^bearer +(\S+)$/i.exec(authorization)?.[1];
  if (bearer !== undefined) return await authenticateBearer(request, bearer, facts);
  throw new Refusal("InvalidRequest", `The authorization mechanism is not supported; use ${ALGORITHM} or Bearer.`);
}

/** @throws Refusal AccessDenied where the sender's key lacks the scope */
export function requireScope(principal: Principal, scope: Scope): void {
  if (!principal.scopes.includes(scope)) {
    throw new Refusal("AccessDenied", `Access denied: the key ${principal.keyId} has no ${scope}.`);
  }
}
