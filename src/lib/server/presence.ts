import type { Clock } from "../kernel/clock.ts";
import { messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import { type NodeRegistration, noteNodeSeen } from "../membership/federation-nodes.ts";
import type { Pool } from "../postgres/pool.ts";
import { repeat } from "./repeat.ts";

/** How often a master writes down that it is there: other boxes show it by the minute. */
const SEEN_INTERVAL_MS = 60_000;

/** Writes into `federation_nodes` that this master is alive, now and every minute until it is disposed of. */
export function keepNodeSeen(node: {
  readonly pool: Pool;
  /** Name of this box, and the id of its signing key, which tells it from another one of that name. */
  readonly own: () => Promise<Pick<NodeRegistration, "name" | "signingKey">>;
  readonly clock: Clock;
  readonly log: Log;
}): AsyncDisposable {
  const { pool, own, clock, log } = node;
  return repeat({ intervalMs: SEEN_INTERVAL_MS, clock }, async () => {
    try {
      await noteNodeSeen(pool, await own());
    } catch (error) {
      log.warn("federation.seen_not_noted", { message: messageOf(error) });
    }
  });
}
