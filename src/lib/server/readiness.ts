import type { Clock } from "../kernel/clock.ts";
import type { Health, HealthReport } from "./health.ts";

/** The body of `/readyz`. Fields are only ever added; docs/serve.md describes them. */
export interface ReadinessReport {
  /** True where the answer is 200. */
  readonly ready: boolean;
  readonly status: HealthReport["status"] | "stopping";
  readonly version: string;
  readonly node: string;
  readonly uptimeSeconds: number;
  readonly checks: HealthReport["checks"];
}

/** What tells how the server is. */
export interface Readiness {
  report(): Promise<ReadinessReport>;
  /** From now on the answer is "stopping". */
  stop(): void;
}

/** Makes the readiness report from the checks and the server's own life. */
export function createReadiness(
  health: Health,
  facts: { readonly version: string; readonly node: string; readonly clock: Clock },
): Readiness {
  const { version, node, clock } = facts;
  const startedMs = clock.monotonicMs();
  let stopping = false;
  return {
    stop: () => {
      stopping = true;
    },
    report: async () => {
      const { status, checks } = stopping ? { status: "stopping" as const, checks: [] } : await health.report();
      return {
        ready: status === "ready" || status === "degraded",
        status,
        version,
        node,
        uptimeSeconds: Math.floor((clock.monotonicMs() - startedMs) / 1_000),
        checks,
      };
    },
  };
}
