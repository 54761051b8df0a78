import type { Parameters } from "fast-check";

const SOAK = process.env["SOAK"] === "1";

/** Parameters of a property test: the same seed on every run, or new ones and ten times as many with SOAK=1. */
export function property<T = unknown>(runs = 200, soakRuns = runs * 10): Parameters<T> {
  return SOAK ? { numRuns: soakRuns } : { numRuns: runs, seed: 20_261_120 };
}

/** What a property test may take that runs very often with SOAK=1, in milliseconds. Else far more than it needs: a busy machine takes ten times as long. */
export const PROPERTY_TIMEOUT_MS = SOAK ? 3_600_000 : 120_000;
