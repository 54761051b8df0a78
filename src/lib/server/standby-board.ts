import type { Clock } from "../kernel/clock.ts";
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

/** They are looked at every second; a server that is frozen answers nobody, and says nothing of it. */
const STALE_MS = 60_000;

/** Keeps what the keeper of the standbys saw last, for readiness and metrics. */
export function createStandbyBoard(metrics: Pick<StandbyMetrics, "looked">, clock: Clock): StandbyBoard {
  let last: StandbysSeen | null = null;
  let lastMs = 0;
  const whyStale = (): string | null => {
    const agoMs = clock.monotonicMs() - lastMs;
    if (last === null || agoMs < STALE_MS) return null;
    return `the servers were last looked at ${Math.round(agoMs / 1_000)} s ago: what is told of them is of then`;
  };
  return {
    looked: (seen) => {
      last = seen;
      lastMs = clock.monotonicMs();
      metrics.looked(seen);
    },
    check: {
      name: "standbys",
      critical: false,
      timeoutMs: 1_000,
      cacheMs: 0,
      run: async () => {
        const problem = last === null ? null : (last.error ?? last.waits ?? whyStale());
        const details = { synchronous: last?.syncSet ?? [], standbys: last?.standbys ?? [] };
        return await Promise.resolve(
          problem === null ? { state: "ok", details } : { state: "degraded", error: problem, details },
        );
      },
    },
  };
}
