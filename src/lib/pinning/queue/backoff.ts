import type { Random } from "../../kernel/random.ts";

/** Before a second try; doubled with each further one. */
const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 3_600_000;
/** So that what failed together does not come back together. */
const JITTER_SHARE = 0.2;

const LOOK_FIRST_MS = 1_000;
/** Peers that fetch something large are not asked more often; asking makes each of them answer. */
const LOOK_MAX_MS = 300_000;

function doubled(firstMs: number, times: number, mostMs: number): number {
  // 2 ** 30 half seconds are years: more would only lose digits.
  return Math.min(firstMs * 2 ** Math.min(times, 30), mostMs);
}

/** The pause after a try that failed. @param attempts how many have failed before it */
export function retryDelayMs(attempts: number, random: Random): number {
  const delayMs = doubled(RETRY_FIRST_MS, attempts, RETRY_MAX_MS);
  return delayMs + random.int(Math.floor(delayMs * JITTER_SHARE) + 1);
}

/**
 * The pause until the peers are asked again.
 * @param looks how often they were before
 * @param hasFailed true where a peer had given up: content that nobody has is not looked for every few minutes
 */
export function lookDelayMs(looks: number, hasFailed: boolean): number {
  return doubled(LOOK_FIRST_MS, looks, hasFailed ? RETRY_MAX_MS : LOOK_MAX_MS);
}
