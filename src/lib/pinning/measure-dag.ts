import type { CID } from "multiformats/cid";
import type { BlockStore } from "../blocks/block-store.ts";
import { parseCid } from "../blocks/cid.ts";
import { blockLinks, walkDag } from "../blocks/dag.ts";
import { VisitedSet } from "../blocks/visited-set.ts";

/**
 * Adds up the bytes of every block below a CID, each once. What a file says of its own size is nobody's proof, so the
 * blocks are read, and verified on the way.
 * @throws FulaError FULA_BLOCK_MISSING, FULA_DAG_UNREADABLE and what the store throws
 */
export async function measureDag(root: string, blocks: BlockStore, signal: AbortSignal): Promise<bigint> {
  // Blocks are stored by what they hash to: one that is named under two codecs is there once.
  using visited = new VisitedSet();
  let total = 0n;
  const visit = async (cid: CID): Promise<readonly CID[]> => {
    const bytes = await blocks.get(cid, signal);
    if (visited.add(cid.multihash.bytes)) total += BigInt(bytes.byteLength);
    return blockLinks(cid, bytes);
  };
  await walkDag(parseCid(root), { visited, signal, visit });
  return total;
}
