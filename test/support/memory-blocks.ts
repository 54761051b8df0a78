import type { CID } from "multiformats/cid";
import type { AddedBlock, BlockStore } from "../../src/lib/blocks/block-store.ts";
import { verifyBlock } from "../../src/lib/blocks/cid.ts";
import { FulaError } from "../../src/lib/kernel/errors.ts";

/** A block store in memory that keeps the contract of the real one, and counts what it is asked. */
export class MemoryBlocks implements BlockStore {
  readonly blocks = new Map<string, Uint8Array>();
  /** Runs before each put and may delay or fail it. */
  beforePut: (cid: CID) => Promise<void> = async () => {};
  /** Runs before each delete. */
  beforeDelete: (cid: CID) => Promise<void> = async () => {};
  gets = 0;

  async put(cid: CID, bytes: Uint8Array): Promise<void> {
    await this.beforePut(cid);
    verifyBlock(cid, bytes);
    this.blocks.set(keyOf(cid), bytes.slice());
  }

  async add(cid: CID, bytes: Uint8Array): Promise<AddedBlock | null> {
    const key = keyOf(cid);
    const wasThere = this.blocks.get(key);
    await this.put(cid, bytes);
    if (wasThere !== undefined) return null;
    const added = this.blocks.get(key);
    return {
      takeBack: async () => {
        await this.beforeDelete(cid);
        // A later put makes it another copy.
        if (this.blocks.get(key) === added) this.blocks.delete(key);
      },
    };
  }

  async get(cid: CID): Promise<Uint8Array> {
    this.gets += 1;
    const bytes = this.blocks.get(keyOf(cid));
    if (bytes === undefined) throw new FulaError("FULA_BLOCK_MISSING", `No block ${cid.toString()}.`);
    return bytes;
  }

  async find(cid: CID): Promise<Uint8Array | null> {
    return this.blocks.get(keyOf(cid)) ?? null;
  }

  async has(cid: CID): Promise<boolean> {
    return this.blocks.has(keyOf(cid));
  }

  async delete(cid: CID): Promise<boolean> {
    await this.beforeDelete(cid);
    return this.blocks.delete(keyOf(cid));
  }
}

function keyOf(cid: CID): string {
  return Buffer.from(cid.multihash.bytes).toString("hex");
}
