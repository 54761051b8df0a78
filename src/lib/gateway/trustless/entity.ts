import { decode as decodePb, type PBNode } from "@ipld/dag-pb";
import { UnixFS } from "ipfs-unixfs";
import type { CID } from "multiformats/cid";
import { DAG_PB_CODEC } from "../../blocks/cid.ts";
import type { NamedBlock } from "../../blocks/dag-blocks.ts";

/** What a block is in UnixFS, with its links; null of one that is none of it. */
interface UnixFsNode {
  readonly kind: "file" | "shard" | "other";
  readonly node: PBNode;
  readonly data: UnixFS;
}

function unixFsNode({ cid, bytes }: NamedBlock): UnixFsNode | null {
  if (cid.code !== DAG_PB_CODEC) return null;
  try {
    const node = decodePb(bytes);
    if (node.Data === undefined) return null;
    const data = UnixFS.unmarshal(node.Data);
    const isFile = data.type === "file" || data.type === "raw";
    const kind = isFile ? "file" : data.type === "hamt-sharded-directory" ? "shard" : "other";
    return { kind, node, data };
  } catch {
    return null;
  }
}

/** Links of a shard to further shards of the same directory: their names are places in its table and nothing else. */
function shardLinks({ node, data }: UnixFsNode): readonly CID[] {
  const placeLength = (Number(data.fanout ?? 256n) - 1).toString(16).length;
  return node.Links.filter(({ Name }) => (Name ?? "").length === placeLength).map(({ Hash }) => Hash);
}

/**
 * Tells which links of the blocks below a root belong to the same entity: all blocks of a file, all shards of a directory.
 * A directory in one block, a link, and what is no UnixFS are entities of one block.
 */
export function entityLinks(root: NamedBlock): (block: NamedBlock) => readonly CID[] {
  const kind = unixFsNode(root)?.kind ?? "other";
  return (block) => {
    const found = unixFsNode(block);
    if (found === null || found.kind !== kind) return [];
    if (kind === "file") return found.node.Links.map(({ Hash }) => Hash);
    return kind === "shard" ? shardLinks(found) : [];
  };
}

/** Size of the file that a block is the root of, in bytes; null where it is no file. */
export function fileSizeOf(block: NamedBlock): bigint | null {
  const found = unixFsNode(block);
  if (found !== null) return found.kind === "file" ? found.data.fileSize() : null;
  // Whatever is no node of a format that we know is a row of bytes: raw blocks are.
  return block.cid.code === DAG_PB_CODEC ? null : BigInt(block.bytes.byteLength);
}

/** Bytes `from` to `to`, both included. */
export interface FileRange {
  readonly from: bigint;
  readonly to: bigint;
}

/** A block at its place in a file. */
export interface PlacedBlock {
  readonly cid: CID;
  readonly from: bigint;
  /** Of what it and the blocks below it hold. */
  readonly sizeBytes: bigint;
}

/** The children of a block of a file that hold bytes of a range, in their order. */
export function childrenWithin(block: NamedBlock, from: bigint, range: FileRange): readonly PlacedBlock[] {
  const found = unixFsNode(block);
  if (found === null || found.kind !== "file") return [];
  const { node, data } = found;
  if (node.Links.length !== data.blockSizes.length) throw new Error(`${block.cid.toString()} is no readable file`);
  let at = from + BigInt(data.data?.byteLength ?? 0);
  const children: PlacedBlock[] = [];
  for (const [index, { Hash: cid }] of node.Links.entries()) {
    const sizeBytes = data.blockSizes[index] ?? 0n;
    if (sizeBytes > 0n && at <= range.to && at + sizeBytes > range.from) children.push({ cid, from: at, sizeBytes });
    at += sizeBytes;
  }
  return children;
}
