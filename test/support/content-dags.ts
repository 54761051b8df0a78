import { CarReader } from "@ipld/car";
import * as dagPb from "@ipld/dag-pb";
import { UnixFS } from "ipfs-unixfs";
import { importer } from "ipfs-unixfs-importer";
import { fixedSize } from "ipfs-unixfs-importer/chunker";
import { CID } from "multiformats/cid";
import { createCid, DAG_PB_CODEC } from "../../src/lib/blocks/cid.ts";
import { mendUnixFsMarshal } from "../../src/lib/gateway/unixfs-marshal.ts";
import { MemoryBlocks } from "./memory-blocks.ts";

mendUnixFsMarshal();

/** The CIDs of a CAR file's blocks, in their order, and its roots; each block hashes to its CID. */
export async function readCar(bytes: Uint8Array): Promise<{ readonly roots: string[]; readonly blocks: string[] }> {
  const reader = await CarReader.fromBytes(bytes);
  const check = new MemoryBlocks();
  const blocks: string[] = [];
  for await (const { cid, bytes: block } of reader.blocks()) {
    await check.put(CID.decode(cid.bytes), block);
    blocks.push(cid.toString());
  }
  return { roots: (await reader.getRoots()).map(String), blocks };
}

/** Files to store under one directory, by their paths. */
export type Files = Readonly<Record<string, string>>;

/** What every path became. */
export type StoredFiles = Readonly<Record<string, CID>>;

/**
 * Stores a directory as every IPFS tool would, in chunks of ten bytes, four to a node; `""` is the directory itself.
 * @param sharded true shards every directory, however few names it has
 */
export async function storeFiles(blocks: MemoryBlocks, files: Files, sharded = false): Promise<StoredFiles> {
  const source = Object.entries(files).map(([path, text]) => ({ path, content: Buffer.from(text) }));
  const stored: Record<string, CID> = {};
  const put = async (cid: CID, bytes: Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<CID> => {
    if (!(bytes instanceof Uint8Array)) throw new Error("A block came in pieces");
    await blocks.put(cid, bytes);
    return cid;
  };
  const entries = importer(
    source,
    { put },
    {
      wrapWithDirectory: true,
      cidVersion: 1,
      rawLeaves: true,
      reduceSingleLeafToSelf: true,
      chunker: fixedSize({ chunkSize: 10 }),
      shardSplitThresholdBytes: sharded ? 0 : 1_000_000,
    },
  );
  for await (const { path, cid } of entries) stored[path ?? ""] = cid;
  return stored;
}

/** Stores a file over blocks that are there, whose sizes it says. */
export async function storeFileOver(
  blocks: MemoryBlocks,
  pieces: readonly { readonly cid: CID; readonly sizeBytes: number }[],
): Promise<CID> {
  const data = new UnixFS({ type: "file", blockSizes: pieces.map(({ sizeBytes }) => BigInt(sizeBytes)) });
  const links = pieces.map(({ cid, sizeBytes }) => ({ Name: "", Hash: cid, Tsize: sizeBytes }));
  const bytes = dagPb.encode(dagPb.createNode(data.marshal(), links));
  const cid = createCid(DAG_PB_CODEC, bytes);
  await blocks.put(cid, bytes);
  return cid;
}
