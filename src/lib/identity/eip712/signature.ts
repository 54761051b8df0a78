import { secp256k1 } from "@noble/curves/secp256k1.js";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { bytesToHex } from "@noble/hashes/utils.js";

/** Bytes of a signature of a wallet with a key of its own: r, s, v. */
const SIGNATURE_BYTES = 65;

/** The recovery bit by the last byte: Ethereum adds 27, libraries of the curve do not. */
const RECOVERY_BITS: ReadonlyMap<number, number> = new Map([
  [0, 0],
  [1, 1],
  [27, 0],
  [28, 1],
]);

function addressOfPoint(uncompressed: Uint8Array): string {
  return `0x${bytesToHex(keccak_256(uncompressed.subarray(1)).subarray(-20))}`;
}

/** The address of a secret key, lower case. @throws where the 32 bytes are no key of secp256k1 */
export function addressOfKey(secretKey: Uint8Array): string {
  return addressOfPoint(secp256k1.getPublicKey(secretKey, false));
}

/** Signs 32 bytes: r, s, and the recovery bit (0 or 1) as the last byte. The same key and digest give the same bytes. */
export function signDigest(digest: Uint8Array, secretKey: Uint8Array): Uint8Array {
  const recovered = secp256k1.sign(digest, secretKey, { prehash: false, format: "recovered" });
  const signature = new Uint8Array(SIGNATURE_BYTES);
  signature.set(recovered.subarray(1));
  signature.set(recovered.subarray(0, 1), SIGNATURE_BYTES - 1);
  return signature;
}

/** Who signed a digest, or why nobody can have. */
export type Signer = { readonly address: string } | { readonly because: string };

/** Finds out which address signed a digest; of the two forms that every signature has, the one with the high s is none. */
export function recoverSigner(digest: Uint8Array, signature: Uint8Array): Signer {
  if (signature.length !== SIGNATURE_BYTES) return { because: "its signature has not 65 bytes" };
  const bit = RECOVERY_BITS.get(signature[SIGNATURE_BYTES - 1] ?? -1);
  if (bit === undefined) return { because: "the last byte of its signature is not 0, 1, 27 or 28" };
  try {
    const pair = secp256k1.Signature.fromBytes(signature.subarray(0, SIGNATURE_BYTES - 1), "compact");
    if (pair.hasHighS()) return { because: "its signature has the high one of two possible forms" };
    return { address: addressOfPoint(pair.addRecoveryBit(bit).recoverPublicKey(digest).toBytes(false)) };
  } catch {
    // The curve's library throws for numbers out of range and for an r that is no point's.
    return { because: "its signature is none of any wallet" };
  }
}
