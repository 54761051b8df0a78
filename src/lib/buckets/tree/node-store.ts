import type { CID } from "multiformats/cid";

/** Where blocks of an index are read from. Bytes are verified against their CID before anybody sees them. */
export interface NodeReader {
  /** @throws FulaError FULA_BLOCK_MISSING, FULA_BLOCK_CORRUPT, FULA_KUBO_UNREACHABLE */
  get(cid: CID, signal?: AbortSignal): Promise<Uint8Array>;
}

/** A block that an index is to consist of. */
export interface NewBlock {
  readonly cid: CID;
  readonly bytes: Uint8Array;
}

/** Where new blocks of an index go. They count for nothing until a root that names them is published. */
export interface NodeWriter {
  put(block: NewBlock): Promise<void>;
}
