import type { HealthCheck } from "./health.ts";
import type { StandbyMetrics } from "./metrics-standby.ts";
import type { StandbysSeen } from "./sync-keeper.ts";

/** What is known of the servers that copy this box's. */
export interface StandbyBoard {
  /** Told by the keeper after each round. */
  readonly looked: (seen: StandbysSeen) => void;
  /** For /readyz. */
  readonly check: HealthCheck;
}

/** Keeps what the keeper of the standbys saw last, for readiness and metrics. */
export function createStandbyBoard(metrics: Pick<StandbyMetrics, "looked">): StandbyBoard {
  let last: StandbysSeen | null = null;
  return {
    looked: (seen) => {
      last = seen;
      metrics.looked(seen);
    },
    check: {
      name: "standbys",
      critical: false,
      timeoutMs: 1_000,
      cacheMs: 0,
      run: async () => {
        const problem = last === null ? null : (last.error ?? last.waits);
        const details = { synchronous: last?.syncSet ?? [], standbys: last?.standbys ?? [] };
        return await Promise.resolve(
          problem === null ? { state: "ok", details } : { state: "degraded", error: problem, details },
        );
      },
    },
  };
}
