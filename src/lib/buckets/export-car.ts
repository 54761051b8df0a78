import type { CID } from "multiformats/cid";
import type { BlockStore } from "../blocks/block-store.ts";
import { carHeader, carSection } from "../blocks/car.ts";
import { isEmptyBlock } from "../blocks/cid.ts";
import { dagBlocks } from "../blocks/dag-blocks.ts";
import { VisitedSet } from "../blocks/visited-set.ts";
import { walkIndex } from "./walk.ts";

/** What was written of a bucket. */
export interface ExportFigures {
  readonly blocks: number;
  readonly keys: number;
  readonly bytes: number;
}

/** What an export reads and how much of it. */
export interface ExportOptions {
  readonly blocks: BlockStore;
  /** False leaves out what the objects consist of. */
  readonly contents: boolean;
  readonly signal: AbortSignal;
}

/**
 * Gives a root and everything that it needs as a CAR file, version 1 (https://ipld.io/specs/transport/car/carv1/), piece
 * by piece: blocks of the index, those with the entries, and the contents. What the log has deleted is left out.
 * @throws FulaError where a block cannot be read: half a bucket is no export
 */
export async function* exportCar(root: CID, options: ExportOptions): AsyncGenerator<Uint8Array, ExportFigures> {
  const { blocks, contents, signal } = options;
  using written = new VisitedSet();
  const figures = { blocks: 0, keys: 0, bytes: 0 };
  const note = (piece: Uint8Array): Uint8Array => {
    figures.bytes += piece.byteLength;
    return piece;
  };
  const section = (cid: CID, bytes: Uint8Array): Uint8Array => {
    figures.blocks += 1;
    return note(carSection(cid, bytes));
  };
  const content = {
    read: async (cid: CID) => await blocks.get(cid, signal),
    wants: (cid: CID) => written.add(cid.bytes),
  };
  yield note(carHeader([root]));
  for await (const block of walkIndex(root, { reader: blocks, visited: null }, signal)) {
    const cid = block.kind === "key" ? block.ref.entry : block.cid;
    if (written.add(cid.bytes)) yield section(cid, await blocks.get(cid, signal));
    if (block.kind !== "key") continue;
    figures.keys += 1;
    if (!contents || isEmptyBlock(block.ref.content)) continue;
    for await (const piece of dagBlocks(block.ref.content, content)) yield section(piece.cid, piece.bytes);
  }
  return figures;
}
