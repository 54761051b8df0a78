import type { Parameters } from "fast-check";

const SOAK = process.env["SOAK"] === "1";

/** Parameters of a property test: the same seed on every run, or new ones and ten times as many with SOAK=1. */
export function property<T = unknown>(runs = 200): Parameters<T> {
  return SOAK ? { numRuns: runs * 10 } : { numRuns: runs, seed: 20_261_120 };
}
