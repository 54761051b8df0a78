import { divideHalfEven } from "./money.ts";

/** What a fee is reckoned with; the same for every account of an hour. */
export interface FeePolicy {
  /** Bytes that cost nothing. */
  readonly freeTierBytes: bigint;
  /** Price of 2³⁰ bytes for 720 hours, in units of 10⁻¹⁸ FULA. */
  readonly fulaPerGibMonth: bigint;
}

const HOURS_PER_MONTH = 720n;
const BYTES_PER_GIB = 2n ** 30n;
const BYTE_HOURS = BYTES_PER_GIB * HOURS_PER_MONTH;

/**
 * What an account that stores `bytes` pays for one hour, in units of 10⁻¹⁸ FULA:
 * max(0, bytes − free tier) / 2³⁰ × price / 720, rounded half to even to a whole unit. Never negative. `hourly_fee` of
 * migration 029 is the same in SQL.
 *
 * | bytes                     | free tier | price | fee in FULA            |                                |
 * | ------------------------- | --------- | ----- | ---------------------- | ------------------------------ |
 * | 0 … 524288000             | 524288000 | 3     | 0                      | at the free tier: nothing yet  |
 * | 524288001                 | 524288000 | 3     | 0.000000000003880511   | one byte over                  |
 * | 1073741824 (1 GiB)        | 524288000 | 3     | 0.002132161458333333   |                                |
 * | 10737418240 (10 GiB)      | 524288000 | 3     | 0.039632161458333333   |                                |
 * | 11261706240 (10 GiB over) | 524288000 | 3     | 0.041666666666666667   | 30 FULA a month                |
 * | 98304                     | 0         | 3     | 0.000000381469726562   | … 562.5 units: half goes to even |
 * | 294912                    | 0         | 3     | 0.000001144409179688   | … 687.5 units: half goes to even |
 */
export function hourlyFee(bytes: bigint, policy: FeePolicy): bigint {
  const billedBytes = bytes - policy.freeTierBytes;
  if (billedBytes <= 0n) return 0n;
  return divideHalfEven(billedBytes * policy.fulaPerGibMonth, BYTE_HOURS);
}
