import type { CID } from "multiformats/cid";
import type { BlockStore } from "../../blocks/block-store.ts";
import { checkDag } from "../../blocks/dag.ts";
import type { HoldDepth, HoldOutcome } from "../../blocks/kubo-holds.ts";
import { FulaError } from "../../kernel/errors.ts";

/** Our own node, as long as the pinset's peers do not have a content yet. */
export interface Holder {
  /** Writes down what is going to be held, so that somebody lets go of it again. */
  note(cids: readonly CID[]): Promise<void>;
  /**
   * Holds a block, or a whole DAG, on our own node: its garbage collection takes nothing of it.
   * @returns `present` where a pin of somebody else's does that already, for as long as it stays
   * @throws FulaError FULA_BLOCK_MISSING where a block of it is not there
   */
  hold(cid: CID, depth: HoldDepth, signal: AbortSignal): Promise<HoldOutcome>;
}

/** A block directory of our own deletes nothing that is pinned; what is left to do is to prove that every block is there. */
export function createLocalHolder(blocks: BlockStore): Holder {
  return {
    note: async () => {},
    hold: async (cid, depth, signal) => {
      const check = await checkDag(cid, blocks, { recursive: depth === "recursive", signal });
      if (check.missing === 0 && check.unreadable === 0) return "made";
      const what = check.firstMissing === null ? String(check.firstError) : `block ${check.firstMissing} is not there`;
      throw new FulaError("FULA_BLOCK_MISSING", `${cid.toString()} cannot be kept: ${what}.`, {
        hint: "send the content again; if that fails too, look at the disk of the blocks: fula-master doctor.",
        details: { cid: cid.toString(), missing: check.missing, unreadable: check.unreadable },
      });
    },
  };
}
