import type { CID } from "multiformats/cid";
import type { BlockStore } from "../../src/lib/blocks/block-store.ts";
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

  async get(cid: CID): Promise<Uint8Array> {
    this.gets += 1;
    const bytes = this.blocks.get(keyOf(cid));
    if (bytes === undefined) throw new FulaError("FULA_BLOCK_MISSING", `No block ${cid.toString()}.`);
    return bytes;
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
