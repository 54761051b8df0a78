import { hash } from "node:crypto";
import { blake3 } from "@noble/hashes/blake3.js";
import { base32 } from "multiformats/bases/base32";
import { base36 } from "multiformats/bases/base36";
import { base58btc } from "multiformats/bases/base58";
import { CID } from "multiformats/cid";
import { create as createMultihash } from "multiformats/hashes/digest";
import { FulaError } from "../kernel/errors.ts";

/** Multicodec of raw bytes (https://github.com/multiformats/multicodec/blob/master/table.csv). */
export const RAW_CODEC = 0x55;
/** Multicodec of dag-pb, the only one that a CIDv0 can have. */
export const DAG_PB_CODEC = 0x70;
/** Multihash code of SHA2-256. */
export const SHA2_256 = 0x12;
/** Multihash code of BLAKE3. */
export const BLAKE3 = 0x1e;
/** Multihash code of "the digest is the content itself". */
export const IDENTITY = 0x00;

const HASH_DIGEST_BYTES = 32;
/** Kubo refuses longer identity digests (verifcid.DefaultMaxIdentityDigestSize): a CID is a name, not a place for data. */
const IDENTITY_BYTES_MAX = 128;
/** Far above the longest CID we accept (identity, base32: about 220); keeps hostile text away from base58's quadratic decoder. */
const CID_TEXT_LENGTH_MAX = 512;

type Base = typeof base58btc | typeof base32 | typeof base36;

function baseOf(text: string): Base | null {
  if (text.startsWith("Qm") || text.startsWith("z")) return base58btc;
  if (text.startsWith("b")) return base32;
  return text.startsWith("k") ? base36 : null;
}

/** Why a well-formed CID is none that we take, or null. */
function findFault(cid: CID): string | null {
  const { code, digest, size } = cid.multihash;
  if (cid.version === 0 && (code !== SHA2_256 || size !== HASH_DIGEST_BYTES)) return "a CIDv0 has a 32-byte SHA2-256";
  if ((code === SHA2_256 || code === BLAKE3) && size !== HASH_DIGEST_BYTES) {
    return `its digest has ${size} bytes instead of ${HASH_DIGEST_BYTES}`;
  }
  if (code === IDENTITY && size > IDENTITY_BYTES_MAX)
    return `its identity digest is longer than ${IDENTITY_BYTES_MAX} bytes`;
  // A length or code may be written as a longer varint than needed: two byte strings for one CID.
  const shortest = CID.create(cid.version, cid.code, createMultihash(code, digest));
  return Buffer.compare(shortest.bytes, cid.bytes) === 0 ? null : "it is not in its shortest form";
}

function spell(cid: CID, base: Base): string {
  const text = base.encode(cid.bytes);
  return cid.version === 0 ? text.slice(1) : text;
}

function invalid(text: string, why: string, cause?: unknown): FulaError {
  const shown = text.length > 80 ? `${text.slice(0, 77)}...` : text;
  return new FulaError("FULA_CID_INVALID", `${JSON.stringify(shown)} is not a CID: ${why}.`, {
    hint: "a CID looks like bafybei..., bafkrei..., k51... or Qm...; check for a cut or added character.",
    ...(cause === undefined ? {} : { cause }),
  });
}

/**
 * Reads a CID: v0 (`Qm…`), or v1 in base32, base36 or base58btc. Only the canonical spelling is taken, so that two
 * texts of one base never name the same CID; any hash function may stand in it, `verifyBlock` says which can be checked.
 * @throws FulaError FULA_CID_INVALID
 */
export function parseCid(text: string): CID {
  if (text.length > CID_TEXT_LENGTH_MAX) throw invalid(text, `it is longer than ${CID_TEXT_LENGTH_MAX} characters`);
  const base = baseOf(text);
  if (base === null) throw invalid(text, "it starts like none of CIDv0, base32 (b), base36 (k), base58btc (z)");
  let cid: CID;
  try {
    cid = CID.parse(text, base);
  } catch (error) {
    throw invalid(text, "it does not decode", error);
  }
  const fault = findFault(cid);
  if (fault !== null) throw invalid(text, fault);
  // Encoded anew, because a parsed CID remembers the text that it was parsed from and gives that back.
  if (spell(cid, base) !== text) throw invalid(text, "it is not in canonical spelling");
  return cid;
}

function sha256(bytes: Uint8Array): Uint8Array {
  return hash("sha256", bytes, "buffer");
}

/** Names bytes with a CIDv1 of SHA2-256; `codec` says how they are to be read (`RAW_CODEC`, `DAG_PB_CODEC`, …). */
export function createCid(codec: number, bytes: Uint8Array): CID {
  return CID.createV1(codec, createMultihash(SHA2_256, sha256(bytes)));
}

const EMPTY_DIGESTS: readonly Uint8Array[] = [sha256(new Uint8Array()), blake3(new Uint8Array())];

/**
 * True for the block of no bytes. IPFS peers cannot fetch it from one another (bitswap takes it for a missing one), so a
 * peer that was not given it would never come to hold a pin of it.
 */
export function isEmptyBlock({ multihash: { code, digest } }: CID): boolean {
  if (code === IDENTITY) return digest.byteLength === 0;
  return EMPTY_DIGESTS.some((empty) => Buffer.compare(empty, digest) === 0);
}

/**
 * True when the bytes hash to the CID.
 * @throws FulaError FULA_CID_UNSUPPORTED for a hash function that cannot be computed here
 */
export function blockMatches(cid: CID, bytes: Uint8Array): boolean {
  const { code, digest } = cid.multihash;
  return Buffer.compare(digestOf(code, bytes, cid), digest) === 0;
}

function digestOf(code: number, bytes: Uint8Array, cid: CID): Uint8Array {
  if (code === SHA2_256) return sha256(bytes);
  if (code === BLAKE3) return blake3(bytes);
  if (code === IDENTITY) return bytes;
  throw new FulaError(
    "FULA_CID_UNSUPPORTED",
    `Cannot check ${cid.toString()}: it uses hash function 0x${code.toString(16)}; known are SHA2-256 (0x12), BLAKE3 (0x1e) and identity.`,
    { hint: "store the content again under a SHA2-256 CID, which every IPFS implementation makes by default." },
  );
}

/**
 * Checks that the bytes are the ones that the CID names.
 * @throws FulaError FULA_BLOCK_MISMATCH, FULA_CID_UNSUPPORTED
 */
export function verifyBlock(cid: CID, bytes: Uint8Array): void {
  if (blockMatches(cid, bytes)) return;
  throw new FulaError(
    "FULA_BLOCK_MISMATCH",
    `The ${bytes.byteLength} bytes sent as ${cid.toString()} do not hash to it.`,
    {
      hint: "send the bytes again; if that fails too, they were changed or cut on the way, or the CID is of another file.",
      details: { cid: cid.toString(), sizeBytes: bytes.byteLength },
    },
  );
}
