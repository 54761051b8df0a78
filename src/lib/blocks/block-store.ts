import type { CID } from "multiformats/cid";

/**
 * Blocks by CID. Every implementation verifies on the way in and on the way out, so that no caller ever holds bytes
 * that do not hash to the CID it asked for.
 */
export interface BlockStore {
  /** Stores a block; a second put of the same CID is a no-op. @throws FulaError FULA_BLOCK_MISMATCH when the bytes do not hash to `cid` */
  put(cid: CID, bytes: Uint8Array, signal?: AbortSignal): Promise<void>;
  /** Returns verified bytes. @throws FulaError FULA_BLOCK_MISSING, FULA_BLOCK_CORRUPT */
  get(cid: CID, signal?: AbortSignal): Promise<Uint8Array>;
  /** True when a block of this multihash is there; does not read its bytes. */
  has(cid: CID): Promise<boolean>;
  /** Removes a block; false where there was none. */
  delete(cid: CID): Promise<boolean>;
}
