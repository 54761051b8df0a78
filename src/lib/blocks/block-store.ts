import type { CID } from "multiformats/cid";
import { FulaError } from "../kernel/errors.ts";

/** No IPFS peer sends or takes a larger block (bitswap's message limit); one that we stored could never be replicated. */
export const BLOCK_BYTES_MAX = 2 * 1024 * 1024;

/** A block that was not there before it was added. */
export interface AddedBlock {
  /** Takes it out again, unless anybody has put it since, also in another process. */
  takeBack(): Promise<void>;
}

/**
 * Blocks by CID. Every implementation verifies on the way in and on the way out, so that no caller ever holds bytes
 * that do not hash to the CID it asked for.
 */
export interface BlockStore {
  /** Stores a block; a second put of the same CID is a no-op. @throws FulaError FULA_BLOCK_MISMATCH when the bytes do not hash to `cid` */
  put(cid: CID, bytes: Uint8Array, signal?: AbortSignal): Promise<void>;
  /**
   * Stores a block as `put` does, for somebody who may think better of it.
   * @returns null where it was there, or where the store cannot tell who else has put it: then it stays
   */
  add(cid: CID, bytes: Uint8Array, signal?: AbortSignal): Promise<AddedBlock | null>;
  /** Returns verified bytes. @throws FulaError FULA_BLOCK_MISSING, FULA_BLOCK_CORRUPT */
  get(cid: CID, signal?: AbortSignal): Promise<Uint8Array>;
  /** Returns verified bytes of what lies in the store itself, and asks nobody else; null where it does not. @throws FulaError FULA_BLOCK_CORRUPT */
  find(cid: CID, signal?: AbortSignal): Promise<Uint8Array | null>;
  /** True when a block of this multihash is there; does not read its bytes. */
  has(cid: CID): Promise<boolean>;
  /** Removes a block; false where there was none. @throws FulaError FULA_BLOCK_PINNED where somebody pinned it */
  delete(cid: CID): Promise<boolean>;
}

/** Refuses a block that no IPFS peer could fetch from us. @throws FulaError FULA_BLOCK_TOO_LARGE */
export function assertBlockFits(cid: CID, bytes: Uint8Array): void {
  if (bytes.byteLength <= BLOCK_BYTES_MAX) return;
  throw new FulaError(
    "FULA_BLOCK_TOO_LARGE",
    `Block ${cid.toString()} has ${bytes.byteLength} bytes; at most ${BLOCK_BYTES_MAX} are allowed.`,
    { hint: "cut the file into blocks (every IPFS tool does: 256 KiB or 1 MiB chunks)." },
  );
}
