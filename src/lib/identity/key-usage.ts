import type { Clock } from "../kernel/clock.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";

/** Notes when keys were last used, at most once a minute each, so that reading stays reading. */
export interface KeyUsage {
  /** Returns at once. */
  used(keyId: string): void;
  /** Waits for what is being written. */
  settle(): Promise<void>;
}

const USAGE_INTERVAL_MS = 60_000;

/** Makes the record of uses of one server. @param onError gets what went wrong; the use itself is not affected */
export function createKeyUsage(pool: Pool, clock: Clock, onError: (error: unknown) => void): KeyUsage {
  const writtenMs = new Map<string, number>();
  const writing = new Set<Promise<void>>();
  const write = async (keyId: string, nowMs: number): Promise<void> => {
    try {
      await runQuery(pool, {
        name: "access_key_used",
        text: "update access_keys set last_used_at = greatest(last_used_at, to_timestamp($2 / 1000.0)) where key_id = $1",
        values: [keyId, nowMs],
      });
    } catch (error) {
      writtenMs.delete(keyId);
      onError(error);
    }
  };
  return {
    used: (keyId) => {
      const nowMs = clock.nowMs();
      if (nowMs - (writtenMs.get(keyId) ?? Number.NEGATIVE_INFINITY) < USAGE_INTERVAL_MS) return;
      writtenMs.set(keyId, nowMs);
      const done = write(keyId, nowMs).finally(() => writing.delete(done));
      writing.add(done);
    },
    settle: async () => {
      await Promise.all(writing);
    },
  };
}
