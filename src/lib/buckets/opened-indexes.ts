import { LRUCache } from "lru-cache";
import type { CID } from "multiformats/cid";
import type { BucketIndex } from "./tree/bucket-index.ts";

/** Indexes that stay opened: the log of one is held in memory, its tree in the cache of blocks that all share. */
const OPENED_MAX = 1_000;
/** Memory for their logs, about. */
const OPENED_BYTES_MAX = 128e6;
/** What an entry takes in memory, against its bytes in a block; measured, most of it for CIDs and texts. */
const DECODED_FACTOR = 5;

function memoryOf({ heldBytes }: BucketIndex): number {
  return 1_000 + heldBytes * DECODED_FACTOR;
}

/** Indexes by their root. An index never changes, so one that was opened once is right for ever. */
export class OpenedIndexes {
  readonly #opened = new LRUCache<string, BucketIndex>({
    max: OPENED_MAX,
    maxSize: OPENED_BYTES_MAX,
    sizeCalculation: memoryOf,
  });
  readonly #opening = new Map<string, Promise<BucketIndex>>();
  readonly #open: (root: CID) => Promise<BucketIndex>;

  constructor(open: (root: CID) => Promise<BucketIndex>) {
    this.#open = open;
  }

  /** @throws what opening throws */
  async at(root: CID): Promise<BucketIndex> {
    const name = root.toString();
    const opened = this.#opened.get(name);
    if (opened !== undefined) return opened;
    const opening = this.#opening.get(name) ?? this.#begin(name, root);
    return await opening;
  }

  /** Adds an index that a flush has made; whoever asks for it next reads nothing. */
  add(index: BucketIndex): void {
    this.#opened.set(index.root.toString(), index);
  }

  async #begin(name: string, root: CID): Promise<BucketIndex> {
    const opening = this.#open(root);
    this.#opening.set(name, opening);
    try {
      const index = await opening;
      this.#opened.set(name, index);
      return index;
    } finally {
      this.#opening.delete(name);
    }
  }
}
