import type { KuboHolds } from "../../blocks/kubo-holds.ts";
import { coalesce } from "../../kernel/coalesce.ts";
import type { Pool } from "../../postgres/pool.ts";
import { noteHolds } from "./hold-table.ts";
import type { Holder } from "./holder.ts";

/** Holds that are noted in one statement. */
const NOTED_AT_ONCE = 1_000;

/**
 * Holds on a Kubo node, whose garbage collection would take what the cluster has not pinned there.
 * @param node peer id of the Kubo node
 */
export function createKuboHolder(parts: {
  readonly holds: KuboHolds;
  readonly pool: Pool;
  readonly node: string;
}): Holder {
  const { holds, pool, node } = parts;
  const note = coalesce<string>({ batchMax: NOTED_AT_ONCE }, async (cids) => {
    await noteHolds(pool, node, [...new Set(cids)].toSorted());
  });
  return {
    note: async (cids) => {
      await note(cids.map(String));
    },
    hold: async (cid, depth, signal) => await holds.hold(cid, depth, signal),
  };
}
