import { createHash } from "node:crypto";
import { base32 } from "multiformats/bases/base32";
import type { Random } from "../kernel/random.ts";
import { Secret } from "../kernel/secret.ts";
import { type Identity, scopesOf } from "./bearer.ts";
import { equalsSecretly } from "./signature.ts";
import type { Subject } from "./subject.ts";

/** What a key may do. */
export const SCOPES = ["storage:read", "storage:write"] as const;
/** One of `SCOPES`. */
export type Scope = (typeof SCOPES)[number];

/** A pair as a client uses it; the secret is shown once, when it is made. */
export interface AccessKeyPair {
  /** `FULA` and 16 base32 characters. */
  readonly keyId: string;
  /** 40 characters of base64url. */
  readonly secret: Secret;
}

/** A key as a request is checked against it. */
export interface AccessKey {
  readonly keyId: string;
  /** Null of a key that is kept as a hash alone: it is good as a bearer token, and no signature can be checked with it. */
  readonly secret: Secret | null;
  /** See `hashOfSecret`. */
  readonly secretHash: string;
  readonly subject: Subject;
  readonly scopes: readonly Scope[];
  readonly revoked: boolean;
  /** Milliseconds since 1970. */
  readonly createdMs: number;
  /** Milliseconds since 1970; null for never. */
  readonly expiresMs: number | null;
}

const KEY_ID = /^FULA[A-Z2-7]{16}$/;
const KEY_ID_RANDOM_BYTES = 10;
const SECRET_RANDOM_BYTES = 30;

/** True for a text that may be the id of a key of ours; anything else needs no look into the database. */
export function isKeyId(text: string): boolean {
  return KEY_ID.test(text);
}

/** True for one of `SCOPES`. */
export function isScope(text: string): text is Scope {
  return SCOPES.some((scope) => scope === text);
}

/** Makes a new pair: 80 random bits name it, 240 keep it. */
export function generateAccessKey(random: Random): AccessKeyPair {
  // The multibase prefix "b" is cut off; 10 bytes are exactly 16 characters.
  const name = base32.encode(random.bytes(KEY_ID_RANDOM_BYTES)).slice(1).toUpperCase();
  // base64url, because "/" and "+" are the characters that get lost between a terminal and a settings file.
  const secret = Buffer.from(random.bytes(SECRET_RANDOM_BYTES)).toString("base64url");
  return { keyId: `FULA${name}`, secret: new Secret(secret) };
}

/** What a bearer token is compared with: lower-case hex SHA-256 of the secret, which has 240 random bits. */
export function hashOfSecret(secret: string): string {
  return createHash("sha256").update(secret, "utf8").digest("hex");
}

/** Tells a key in lists of what was revoked. */
export function digestOfKey(keyId: string): string {
  return createHash("sha256").update(keyId, "utf8").digest("hex");
}

/** What a key says of who uses it, once that he has its secret is known. */
export function identityOfKey({ keyId, subject, scopes, createdMs, expiresMs }: AccessKey): Identity {
  return {
    subject,
    scopes: scopesOf(scopes.join(" ")),
    by: "key",
    credential: { digest: digestOfKey(keyId), issuedMs: createdMs, expiresMs },
  };
}

/** True where a secret is that of a key; told in a time that does not depend on where it differs. */
export function opensKey({ secretHash }: AccessKey, secret: string): boolean {
  return equalsSecretly(hashOfSecret(secret), secretHash);
}

/** True where the time of a key is over. @param nowMs wall time, milliseconds */
export function isExpired({ expiresMs }: AccessKey, nowMs: number): boolean {
  return expiresMs !== null && expiresMs <= nowMs;
}
