import { createPrivateKey, createPublicKey, sign } from "node:crypto";
import { type Authenticator, nkeys } from "@nats-io/transport-node";
import { base32upper } from "multiformats/bases/base32";

/** What stands before the 32 bytes of an Ed25519 seed in PKCS#8 (RFC 8410 §7). */
const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");
/** Two bytes of the seed's text say what it is of. */
const SEED_AT = 2;
const KEY_BYTES = 32;
/** Of a user's public key, so that it begins with U (nkeys, `PrefixByteUser`). */
const USER_PREFIX = 20 << 3;

/** CRC-16 as XMODEM has it (polynomial 0x1021), which ends every NKey, low byte first. */
function crc16(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit += 1) crc = ((crc & 0x8000) === 0 ? crc << 1 : (crc << 1) ^ 0x1021) & 0xffff;
  }
  return crc;
}

/**
 * Logs in with the NKey of a user. The library's own does the same with an Ed25519 in JavaScript, which takes as long as all
 * the rest of connecting.
 * @param seed its text, 58 characters that begin with SU
 * @throws NKeysError where it is no seed
 */
export function userAuthenticator(seed: string): Authenticator {
  // Tells what is no seed, or a damaged one, from one.
  nkeys.fromSeed(new TextEncoder().encode(seed));
  const raw = base32upper.baseDecode(seed).subarray(SEED_AT, SEED_AT + KEY_BYTES);
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, raw]), format: "der", type: "pkcs8" });
  const spki = createPublicKey(key).export({ format: "der", type: "spki" });
  const named = Buffer.concat([Buffer.of(USER_PREFIX), spki.subarray(-KEY_BYTES)]);
  const check = Buffer.alloc(2);
  check.writeUInt16LE(crc16(named));
  const nkey = base32upper.baseEncode(Buffer.concat([named, check]));
  return (nonce) => ({ nkey, sig: sign(null, Buffer.from(nonce ?? ""), key).toString("base64url") });
}
