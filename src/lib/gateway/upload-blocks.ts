import type { CID } from "multiformats/cid";
import type { AddedBlock, BlockStore } from "../blocks/block-store.ts";
import { verifyBlock } from "../blocks/cid.ts";

/** The blocks of one upload, so that a refused one leaves nothing behind. */
export interface UploadBlocks extends Pick<BlockStore, "put"> {
  /** The upload was published: its blocks stay. */
  keep(): void;
  /** The upload failed: removes its blocks, but for those that were there before or that somebody else has put too. */
  discard(): Promise<void>;
}

/** A block that at least one upload under way has put. */
interface SharedBlock {
  readonly uploads: Set<symbol>;
  /** How it came into the store; null where nobody has tried, or the last try failed. */
  adding: Promise<AddedBlock | null> | null;
  /** True once one of them was published. */
  kept: boolean;
  /** Set while it is being removed; whoever puts it then waits, and writes it again. */
  removing: Promise<void> | null;
}

/**
 * Knows which uploads of this process put which block. A block is taken back only when every upload that put it has failed;
 * and the store gives it back only where nobody else, here or in another process, has put it as well.
 */
export class UploadRegistry {
  readonly #blocks: Pick<BlockStore, "add">;
  readonly #shared = new Map<string, SharedBlock>();

  constructor(blocks: Pick<BlockStore, "add">) {
    this.#blocks = blocks;
  }

  begin(): UploadBlocks {
    const upload = Symbol("upload");
    const mine = new Map<string, SharedBlock>();
    return {
      put: async (cid, bytes, signal) => {
        const name = Buffer.from(cid.multihash.bytes).toString("base64");
        const block = await this.#join(name, upload);
        mine.set(name, block);
        await this.#store(block, cid, bytes, signal);
      },
      keep: () => {
        for (const [name, block] of mine) {
          block.kept = true;
          this.#leave(name, block, upload);
        }
        mine.clear();
      },
      discard: async () => {
        for (const [name, block] of mine) {
          this.#leave(name, block, upload);
          await block.removing;
        }
        mine.clear();
      },
    };
  }

  async #join(name: string, upload: symbol): Promise<SharedBlock> {
    for (;;) {
      const known = this.#shared.get(name);
      if (known?.removing !== null && known !== undefined) {
        await known.removing;
        continue;
      }
      const block = known ?? { uploads: new Set<symbol>(), adding: null, kept: false, removing: null };
      block.uploads.add(upload);
      this.#shared.set(name, block);
      return block;
    }
  }

  /** Stores a block once for all uploads that share it; an upload whose own try failed does not fail the others. */
  async #store(block: SharedBlock, cid: CID, bytes: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    if (block.adding !== null) {
      verifyBlock(cid, bytes);
      const isThere = await block.adding.then(
        () => true,
        () => false,
      );
      if (isThere) return;
    }
    const adding = this.#blocks.add(cid, bytes, signal);
    block.adding = adding;
    try {
      await adding;
    } catch (error) {
      if (block.adding === adding) block.adding = null;
      throw error;
    }
  }

  /** The last upload that leaves decides: the block stays if one of them was published, else it is being removed. */
  #leave(name: string, block: SharedBlock, upload: symbol): void {
    block.uploads.delete(upload);
    if (block.uploads.size > 0) return;
    if (block.kept) this.#shared.delete(name);
    else block.removing = this.#remove(name, block);
  }

  async #remove(name: string, block: SharedBlock): Promise<void> {
    try {
      const added = await block.adding;
      await added?.takeBack();
    } catch {
      // What cannot be removed is garbage, and harmless; the upload's own error is what its client must hear.
    } finally {
      this.#shared.delete(name);
    }
  }
}
