import { base32 } from "multiformats/bases/base32";
import type { Random } from "../kernel/random.ts";
import { Secret } from "../kernel/secret.ts";

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
export interface AccessKey extends AccessKeyPair {
  /** 64 hex digits, see `user-id.ts`. */
  readonly userId: string;
  readonly scopes: readonly Scope[];
  readonly revoked: boolean;
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
