import type { CID } from "multiformats/cid";
import type { BlockStore } from "../../blocks/block-store.ts";
import { IDENTITY, isEmptyBlock } from "../../blocks/cid.ts";
import { isFulaError } from "../../kernel/errors.ts";
import { S3Error } from "../s3-error.ts";

/** The error for what is not to be had here. */
export function notHere(what: string): S3Error {
  return new S3Error("NoSuchContent", what);
}

/** True for a CID that is its own content: it stands in whatever names it, and is never sent. */
export function isInline(cid: CID): boolean {
  return cid.multihash.code === IDENTITY;
}

/**
 * Reads blocks that lie on this box: whoever may ask without a key must not make us fetch from others, and keep, whatever
 * he names.
 * @throws S3Error NoSuchContent, InvalidRequest for a CID that nobody here can check
 */
export function ownBlocks(blocks: Pick<BlockStore, "find">): (cid: CID) => Promise<Uint8Array> {
  return async (cid) => {
    if (isInline(cid)) return cid.multihash.digest;
    if (isEmptyBlock(cid)) return new Uint8Array();
    let bytes: Uint8Array | null;
    try {
      bytes = await blocks.find(cid);
    } catch (error) {
      if (isFulaError(error, "FULA_CID_UNSUPPORTED")) throw new S3Error("InvalidRequest", error.message);
      if (!isFulaError(error, "FULA_BLOCK_CORRUPT")) throw error;
      const message = `Block ${cid.toString()} is damaged here.`;
      throw new S3Error("NoSuchContent", message, { cause: error, isFault: true });
    }
    if (bytes === null) throw notHere(`Block ${cid.toString()} is not here.`);
    return bytes;
  };
}
