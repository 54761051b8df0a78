import { createNode, decode, encode } from "@ipld/dag-pb";
import { UnixFS } from "ipfs-unixfs";
import type { CID } from "multiformats/cid";
import type { BlockStore } from "../blocks/block-store.ts";
import { createCid, DAG_PB_CODEC } from "../blocks/cid.ts";
import { UNIXFS_PROFILE } from "./unixfs.ts";

/** A stored content, as the node above it names it. */
export interface ContentPiece {
  readonly root: CID;
  /** Bytes of the file. */
  readonly sizeBytes: number;
  /** Bytes of all its blocks together, a block that stands in it twice counted twice: the Tsize of dag-pb. */
  readonly dagBytes: number;
}

/** The `dagBytes` of a stored content: its root says what lies below it. @throws FulaError FULA_BLOCK_MISSING, FULA_BLOCK_CORRUPT */
export async function dagBytesOf(root: CID, sizeBytes: number, blocks: Pick<BlockStore, "get">): Promise<number> {
  if (root.code !== DAG_PB_CODEC) return sizeBytes;
  const block = await blocks.get(root);
  return decode(block).Links.reduce((sum, { Tsize }) => sum + (Tsize ?? 0), block.byteLength);
}

/** One node of a file over these pieces. */
async function putNode(pieces: readonly ContentPiece[], blocks: Pick<BlockStore, "put">): Promise<ContentPiece> {
  const data = new UnixFS({ type: "file", blockSizes: pieces.map(({ sizeBytes }) => BigInt(sizeBytes)) });
  const links = pieces.map(({ root, dagBytes }) => ({ Name: "", Hash: root, Tsize: dagBytes }));
  const bytes = encode(createNode(data.marshal(), links));
  const root = createCid(DAG_PB_CODEC, bytes);
  await blocks.put(root, bytes);
  return {
    root,
    sizeBytes: pieces.reduce((sum, piece) => sum + piece.sizeBytes, 0),
    dagBytes: pieces.reduce((sum, piece) => sum + piece.dagBytes, bytes.byteLength),
  };
}

/**
 * Joins contents to one file without moving their bytes: UnixFS nodes above their roots, as balanced as those of any
 * file, so that every IPFS tool reads it and a range finds its block. The same pieces give the same CID; the same bytes
 * in other pieces, or in one, have another.
 */
export async function joinContents(
  pieces: readonly ContentPiece[],
  blocks: Pick<BlockStore, "put">,
): Promise<ContentPiece> {
  // A child without bytes is legal, but readers have stumbled over it.
  const filled = pieces.filter(({ sizeBytes }) => sizeBytes > 0);
  let level = filled.length > 0 ? filled : pieces.slice(0, 1);
  while (level.length > 1) {
    const above: ContentPiece[] = [];
    for (let from = 0; from < level.length; from += UNIXFS_PROFILE.maxChildren) {
      const children = level.slice(from, from + UNIXFS_PROFILE.maxChildren);
      const [only] = children;
      // A last one alone needs no node of its own.
      above.push(children.length === 1 && only !== undefined ? only : await putNode(children, blocks));
    }
    level = above;
  }
  const [joined] = level;
  if (joined === undefined) throw new Error("There is nothing to join");
  return joined;
}
