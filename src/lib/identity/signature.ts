import { createHash, createHmac, timingSafeEqual } from "node:crypto";

/** The name of Signature V4's one algorithm. */
export const ALGORITHM = "AWS4-HMAC-SHA256";

/** The date, region and service that a signing key is good for. */
export interface CredentialScope {
  /** `20130524` */
  readonly date: string;
  readonly region: string;
  readonly service: string;
}

/** `20130524/us-east-1/s3/aws4_request`. */
export function renderScope({ date, region, service }: CredentialScope): string {
  return `${date}/${region}/${service}/aws4_request`;
}

/** SHA-256 in lower-case hex; text is taken as Latin-1, one byte a character. */
export function sha256Hex(data: string | Uint8Array): string {
  const hash = createHash("sha256");
  return (typeof data === "string" ? hash.update(data, "latin1") : hash.update(data)).digest("hex");
}

/** SHA-256 of nothing. */
export const EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

function hmac(key: string | Uint8Array, data: string): Buffer {
  return createHmac("sha256", key).update(data, "latin1").digest();
}

/** The key that signs everything of one day, region and service. */
export function deriveSigningKey(secret: string, scope: CredentialScope): Uint8Array {
  const dateKey = hmac(Buffer.from(`AWS4${secret}`, "utf8"), scope.date);
  return hmac(hmac(hmac(dateKey, scope.region), scope.service), "aws4_request");
}

/** What is signed for a request. @param timestamp `x-amz-date`: `20130524T000000Z` */
export function stringToSign(canonical: string, timestamp: string, scope: CredentialScope): string {
  return [ALGORITHM, timestamp, renderScope(scope), sha256Hex(canonical)].join("\n");
}

/** The signature in lower-case hex. */
export function sign(signingKey: Uint8Array, text: string): string {
  return hmac(signingKey, text).toString("hex");
}

/** Compares two signatures or secrets in a time that does not depend on where they differ. */
export function equalsSecretly(a: string, b: string): boolean {
  // Hashing first makes both the same length, so that the length does not show either.
  return timingSafeEqual(digestOf(a), digestOf(b));
}

function digestOf(text: string): Buffer {
  return createHash("sha256").update(text, "utf8").digest();
}
