import { createRateLimit, type Rate } from "../identity/rate-limit.ts";
import type { Clock } from "../kernel/clock.ts";
import { S3Error } from "./s3-error.ts";

/** Counts requests by who sends them, whatever else is limited. */
export interface RateLimits {
  /** Takes one request of an owner of buckets, with whichever of his credentials it came. @throws S3Error SlowDown, as 429 */
  ofOwner(ownerId: string): void;
  /** Takes one request that needs no credential. @throws S3Error SlowDown, as 429 */
  ofAddress(address: string): void;
}

function refuse(waitMs: number | null): void {
  if (waitMs === null) return;
  throw new S3Error("SlowDown", "Please reduce your request rate.", {
    // Amazon says 503. The fleet's gateway says 429, which no client takes for a master that is down.
    status: 429,
    headers: { "retry-after": String(Math.ceil(waitMs / 1_000)) },
  });
}

/** Makes the limits of one gateway. */
export function createRateLimits(rate: Rate, clock: Pick<Clock, "monotonicMs">): RateLimits {
  const owners = createRateLimit(rate, clock);
  const addresses = createRateLimit(rate, clock);
  return {
    ofOwner: (ownerId) => {
      refuse(owners.take(ownerId));
    },
    ofAddress: (address) => {
      refuse(addresses.take(address));
    },
  };
}
