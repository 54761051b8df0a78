import { exporter } from "ipfs-unixfs-exporter";
import { importByteStream } from "ipfs-unixfs-importer";
import { fixedSize } from "ipfs-unixfs-importer/chunker";
import { balanced } from "ipfs-unixfs-importer/layout";
import type { CID } from "multiformats/cid";
import type { BlockStore } from "../blocks/block-store.ts";
import { mendUnixFsMarshal } from "./unixfs-marshal.ts";

mendUnixFsMarshal();

/**
 * The profile that objects are stored in; the same bytes give the same CID as `ipfs add --cid-version=1` does
 * (Kubo's default chunker and layout), so that an object can be checked and fetched with every IPFS tool.
 * docs/decisions tells why.
 */
export const UNIXFS_PROFILE = {
  cidVersion: 1,
  rawLeaves: true,
  chunkBytes: 262_144,
  /** Children of one node of the balanced tree. */
  maxChildren: 174,
} as const;

/** Blocks that one upload writes at the same time: four MiB in flight at most. */
const BLOCK_WRITES_AT_ONCE = 8;
/** Blocks that one download reads ahead. */
const BLOCK_READS_AT_ONCE = 4;
/**
 * A download asks the exporter for so much at once: it queues everything that it was asked for as fast as the disk
 * gives it, so a whole large object would pile up in memory behind a slow client.
 */
const READ_WINDOW_BYTES = 2 * 1024 * 1024;

/** What an upload became. */
export interface StoredContent {
  readonly root: CID;
  readonly sizeBytes: number;
}

/** Cuts a stream into blocks and stores them, in constant memory. @throws what the stream or the store throws */
export async function storeContent(
  bytes: AsyncIterable<Uint8Array>,
  blocks: Pick<BlockStore, "put">,
): Promise<StoredContent> {
  let sizeBytes = 0;
  const counted = async function* (): AsyncGenerator<Uint8Array> {
    for await (const piece of bytes) {
      sizeBytes += piece.byteLength;
      yield piece;
    }
  };
  const { cid } = await importByteStream(
    counted(),
    {
      put: async (key, block) => {
        if (!(block instanceof Uint8Array)) throw new Error("The importer stored a block in pieces");
        await blocks.put(key, block);
        return key;
      },
    },
    {
      cidVersion: UNIXFS_PROFILE.cidVersion,
      rawLeaves: UNIXFS_PROFILE.rawLeaves,
      reduceSingleLeafToSelf: true,
      chunker: fixedSize({ chunkSize: UNIXFS_PROFILE.chunkBytes }),
      layout: balanced({ maxChildrenPerNode: UNIXFS_PROFILE.maxChildren }),
      blockWriteConcurrency: BLOCK_WRITES_AT_ONCE,
    },
  );
  return { root: cid, sizeBytes };
}

/** Bytes `start` to `end`, both included. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/**
 * Reads a part of stored content, verified block by block, in constant memory.
 * @throws FulaError FULA_BLOCK_MISSING, FULA_BLOCK_CORRUPT; whatever the exporter makes of a block that is no UnixFS
 */
export async function* readContent(
  root: CID,
  range: ByteRange,
  blocks: Pick<BlockStore, "get">,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const source = {
    get: async function* (cid: CID): AsyncGenerator<Uint8Array> {
      yield await blocks.get(cid, signal);
    },
  };
  const entry = await exporter(root, source);
  if (entry.type !== "file" && entry.type !== "raw")
    throw new Error(`${root.toString()} is a ${entry.type}, not a file`);
  const size = Number(entry.size);
  if (range.end >= size) throw new Error(`${root.toString()} has ${size} bytes; byte ${range.end} was asked for`);
  for (let offset = range.start; offset <= range.end; offset += READ_WINDOW_BYTES) {
    const length = Math.min(READ_WINDOW_BYTES, range.end - offset + 1);
    yield* entry.content({ offset, length, blockReadConcurrency: BLOCK_READS_AT_ONCE });
  }
}
