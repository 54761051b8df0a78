import type { CID } from "multiformats/cid";
import type { BlockStore } from "../blocks/block-store.ts";

/** The blocks of one upload, so that a refused one leaves nothing behind. */
export interface UploadBlocks extends Pick<BlockStore, "put"> {
  /** The upload was published: its blocks stay. */
  keep(): void;
  /** The upload failed: removes its blocks, but for those that were there before or that another upload needs. */
  discard(): Promise<void>;
}

/** A block that at least one upload under way has put. */
interface SharedBlock {
  readonly cid: CID;
  readonly uploads: Set<symbol>;
  /** Whether the store had it before the first of them. */
  readonly wasThere: Promise<boolean>;
  /** True once one of them was published. */
  kept: boolean;
  /** Set while it is being removed; whoever puts it then waits, and writes it again. */
  removing: Promise<void> | null;
}

/**
 * Knows which uploads of this process put which block. A block is removed only when every upload that put it has
 * failed and the store did not have it before them; so one that fails never takes a block from one that succeeds.
 */
export class UploadRegistry {
  readonly #blocks: BlockStore;
  readonly #shared = new Map<string, SharedBlock>();

  constructor(blocks: BlockStore) {
    this.#blocks = blocks;
  }

  begin(): UploadBlocks {
    const upload = Symbol("upload");
    const mine = new Map<string, SharedBlock>();
    return {
      put: async (cid, bytes, signal) => {
        const name = Buffer.from(cid.multihash.bytes).toString("base64");
        const block = await this.#join(name, cid, upload);
        mine.set(name, block);
        // Looked for before it is written, by whichever upload is first.
        await block.wasThere;
        await this.#blocks.put(cid, bytes, signal);
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

  async #join(name: string, cid: CID, upload: symbol): Promise<SharedBlock> {
    for (;;) {
      const known = this.#shared.get(name);
      if (known?.removing !== null && known !== undefined) {
        await known.removing;
        continue;
      }
      // What cannot be looked for counts as having been there: it stays.
      const wasThere = known?.wasThere ?? this.#blocks.has(cid).catch(() => true);
      const block = known ?? { cid, uploads: new Set<symbol>(), wasThere, kept: false, removing: null };
      block.uploads.add(upload);
      this.#shared.set(name, block);
      return block;
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
      if (!(await block.wasThere)) await this.#blocks.delete(block.cid);
    } catch {
      // What cannot be removed is garbage, and harmless; the upload's own error is what its client must hear.
    } finally {
      this.#shared.delete(name);
    }
  }
}
