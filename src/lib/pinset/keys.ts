import { createPublicKey, type KeyObject, verify } from "node:crypto";
import { Point } from "@noble/ed25519";

/** Names a public key by itself: `ed25519:` and the 32 raw bytes in lower-case hex. */
export type KeyId = `ed25519:${string}`;

/** A key whose signatures count, and why. */
export interface TrustedKey {
  readonly keyId: KeyId;
  /** Where the trust comes from: this box's own key, or `snapshot.trustedKeys`. */
  readonly source: "own" | "settings";
}

const KEY_ID = /^ed25519:([0-9a-f]{64})$/;

// RFC 8410 §4: AlgorithmIdentifier 1.3.101.112, then a BIT STRING of the 32 raw bytes.
const SPKI_PREFIX = Buffer.from("302a300506032b6570032100", "hex");

/** The id of a raw public key. */
export function keyIdOf(publicKey: Uint8Array): KeyId {
  return `ed25519:${Buffer.from(publicKey).toString("hex")}`;
}

/** The 32 raw bytes of a key id; null where the text is not a key id. */
export function rawKeyOf(keyId: string): Uint8Array | null {
  const hex = KEY_ID.exec(keyId)?.[1];
  return hex === undefined ? null : new Uint8Array(Buffer.from(hex, "hex"));
}

/** True for a text that is a key id in its one spelling. */
export function isKeyId(text: string): text is KeyId {
  return KEY_ID.test(text);
}

/**
 * True where the bytes are a point that a private key can have. The few points of small order are refused, because
 * signatures that hold for any message can be made for them.
 */
export function isUsablePublicKey(publicKey: Uint8Array): boolean {
  try {
    return !Point.fromBytes(publicKey).isSmallOrder();
  } catch {
    return false;
  }
}

/** The key in the form that `node:crypto` and openssl take. */
export function publicKeyObject(publicKey: Uint8Array): KeyObject {
  return createPublicKey({ key: Buffer.concat([SPKI_PREFIX, publicKey]), format: "der", type: "spki" });
}

/** Checks a raw 64-byte ed25519 signature (RFC 8032, OpenSSL). Anything of another length is no signature. */
export function verifyEd25519(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (signature.length !== 64 || !isUsablePublicKey(publicKey)) return false;
  return verify(null, message, publicKeyObject(publicKey), signature);
}
