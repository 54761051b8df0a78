import { expireUploads } from "../gateway/multipart-table.ts";
import type { Clock } from "../kernel/clock.ts";
import { messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import type { Pool } from "../postgres/pool.ts";
import { repeat } from "./repeat.ts";

const LOOK_INTERVAL_MS = 600_000;
/** Uploads that go in one transaction: each may have ten thousand parts. */
const BATCH = 16;

/**
 * Gives up multipart uploads with which nobody has done anything for `idleMs`, now and every ten minutes until it is
 * disposed of. Every master does; none takes one that another has in hand.
 */
export function keepUploadsFresh(parts: {
  readonly pool: Pool;
  readonly idleMs: number;
  readonly clock: Clock;
  readonly log: Log;
}): AsyncDisposable {
  const { pool, idleMs, clock, log } = parts;
  return repeat({ intervalMs: LOOK_INTERVAL_MS, clock }, async () => {
    try {
      let expired = 0;
      for (let batch = BATCH; batch === BATCH; expired += batch) {
        batch = await expireUploads(pool, { idleMs, limit: BATCH });
      }
      if (expired > 0) log.info("gateway.uploads.expired", { uploads: expired });
    } catch (error) {
      log.warn("gateway.uploads.not_expired", { message: messageOf(error) });
    }
  });
}
