import { LRUCache } from "lru-cache";
import type { CID } from "multiformats/cid";
import type { NewBlock, NodeReader } from "./node-store.ts";

/** What a block takes in memory when it is decoded too, against its bytes. Measured: 12 of leaves, 15 of inner nodes. */
const DECODED_FACTOR = 15;

/** Makes something of a block. One function for one kind of block: what it made is kept under its name. */
export type Decode<T> = (cid: CID, bytes: Uint8Array) => T;

/** A reader that can keep what was made of a block. */
export interface DecodingReader extends NodeReader {
  /** What `decode` makes of the block, or made of it before. @throws what `get` and `decode` throw; that is not kept */
  decoded<T>(cid: CID, decode: Decode<T>, signal?: AbortSignal): Promise<T>;
}

interface Kept {
  readonly bytes: Uint8Array;
  /** By whom it was decoded, and what came out. A block that is read as another kind is decoded anew. */
  readonly decoded: { readonly by: Decode<unknown>; readonly value: unknown } | null;
}

function sizeOf({ bytes, decoded }: Kept): number {
  return bytes.byteLength * (decoded === null ? 1 : DECODED_FACTOR) + 200;
}

/** True for a reader that keeps what is decoded. */
export function isDecodingReader(reader: NodeReader): reader is DecodingReader {
  return "decoded" in reader;
}

/**
 * Keeps the blocks that were read last, and what was made of them, in so many bytes of memory. A block never changes,
 * so nothing has to be dropped but for room.
 */
export class CachedReader implements DecodingReader {
  readonly #reader: NodeReader;
  readonly #kept: LRUCache<string, Kept>;

  /** @param bytesMax of memory, about; blocks and what they were decoded to */
  constructor(reader: NodeReader, bytesMax: number) {
    this.#reader = reader;
    this.#kept = new LRUCache({ maxSize: bytesMax, sizeCalculation: sizeOf });
  }

  async get(cid: CID, signal?: AbortSignal): Promise<Uint8Array> {
    const key = cid.toString();
    const kept = this.#kept.get(key);
    if (kept !== undefined) return kept.bytes;
    const bytes = await this.#reader.get(cid, signal);
    this.#kept.set(key, { bytes, decoded: null });
    return bytes;
  }

  async decoded<T>(cid: CID, decode: Decode<T>, signal?: AbortSignal): Promise<T> {
    const key = cid.toString();
    const decoded = this.#kept.get(key)?.decoded;
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the same function made it, so it is of its type
    if (decoded?.by === decode) return decoded.value as T;
    const bytes = await this.get(cid, signal);
    const value = decode(cid, bytes);
    this.#kept.set(key, { bytes, decoded: { by: decode, value } });
    return value;
  }

  /** Keeps a block that was just written, which is what is read next. */
  add({ cid, bytes }: NewBlock): void {
    this.#kept.set(cid.toString(), { bytes, decoded: null });
  }
}
