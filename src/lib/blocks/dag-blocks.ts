import type { CID } from "multiformats/cid";
import { blockLinks } from "./dag.ts";

/** A block with its name. */
export interface NamedBlock {
  readonly cid: CID;
  readonly bytes: Uint8Array;
}

/** How a DAG is walked. */
export interface DagBlocksOptions {
  readonly read: (cid: CID) => Promise<Uint8Array>;
  /** False leaves a block out, and what it names. */
  readonly wants: (cid: CID) => boolean;
  /** What a block names that is to come; default everything. */
  readonly linksOf?: (cid: CID, bytes: Uint8Array) => readonly CID[];
}

/**
 * The blocks of a DAG, depth first, each before what it names. Memory holds one list of links a level.
 * @throws FulaError FULA_DAG_UNREADABLE, and what `read` throws
 */
export async function* dagBlocks(
  root: CID,
  { read, wants, linksOf = blockLinks }: DagBlocksOptions,
): AsyncGenerator<NamedBlock> {
  const open: CID[][] = [[root]];
  while (open.length > 0) {
    const cid = open.at(-1)?.pop();
    if (cid === undefined) {
      open.pop();
      continue;
    }
    if (!wants(cid)) continue;
    const bytes = await read(cid);
    yield { cid, bytes };
    const links = linksOf(cid, bytes);
    if (links.length > 0) open.push([...links].toReversed());
  }
}
