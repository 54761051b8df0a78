import type { Clock } from "../kernel/clock.ts";
import { messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import { noteNodeSeen } from "../membership/federation-nodes.ts";
import type { Pool } from "../postgres/pool.ts";
import { repeat } from "./repeat.ts";

/** How often a master writes down that it is there: other boxes show it by the minute. */
const SEEN_INTERVAL_MS = 60_000;

/** Writes into `federation_nodes` that this master is alive, now and every minute until it is disposed of. */
export function keepNodeSeen(node: {
  readonly pool: Pool;
  readonly name: string;
  readonly clock: Clock;
  readonly log: Log;
}): AsyncDisposable {
  const { pool, name, clock, log } = node;
  return repeat({ intervalMs: SEEN_INTERVAL_MS, clock }, async () => {
    try {
      await noteNodeSeen(pool, name);
    } catch (error) {
      log.warn("federation.seen_not_noted", { message: messageOf(error) });
    }
  });
}
