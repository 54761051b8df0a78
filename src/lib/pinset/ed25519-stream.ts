import { createHash } from "node:crypto";
import { Point } from "@noble/ed25519";
import { isUsablePublicKey } from "./keys.ts";

/** Order of the base point (RFC 8032 §5.1). */
const L = 2n ** 252n + 27742317777372353535851937790883648493n;

/**
 * Checks an ed25519 signature over a message that is too large to hold: RFC 8032 §5.1.7 needs the message only for one
 * SHA-512, so it can pass by once. Compares as OpenSSL does (without cofactor), so that both always agree.
 */
export async function verifyEd25519Stream(
  publicKey: Uint8Array,
  message: AsyncIterable<Uint8Array>,
  signature: Uint8Array,
): Promise<boolean> {
  const hash = createHash("sha512").update(signature.subarray(0, 32)).update(publicKey);
  for await (const chunk of message) hash.update(chunk);
  if (signature.length !== 64 || !isUsablePublicKey(publicKey)) return false;
  const s = littleEndian(signature.subarray(32));
  if (s >= L) return false;
  const k = littleEndian(hash.digest()) % L;
  const expected = multiply(Point.BASE, s).add(multiply(Point.fromBytes(publicKey), k).negate());
  return Buffer.from(expected.toBytes()).equals(signature.subarray(0, 32));
}

function littleEndian(bytes: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(bytes.toReversed()).toString("hex")}`);
}

function multiply(point: Point, factor: bigint): Point {
  return factor === 0n ? Point.ZERO : point.multiply(factor, false);
}
