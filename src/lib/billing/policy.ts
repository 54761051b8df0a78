import type { FeePolicy } from "./fee.ts";
import { formatUnits, parseUnits } from "./money.ts";

/** Whether a suspended account that still stores more than the free tier goes on paying. */
export type WhileSuspended = "accrue" | "pause";

/** What an hour is charged by; written into its record when it is opened, and read from there by everybody after. */
export interface HourPolicy extends FeePolicy {
  readonly whileSuspended: WhileSuspended;
}

/** The settings of `billing` that the deduction knows. */
export interface DeductionSettings {
  /** `completed`: hours that are over, by the bytes at their end. `current`: the running one, by the bytes of now. */
  readonly basis: "completed" | "current";
  /** Keyed: one fee an hour and account. */
  readonly idempotency: boolean;
  readonly freeTierBytes: number;
  /** Decimal number of FULA. */
  readonly fulaPerGbMonth: string;
  readonly whileSuspended: WhileSuspended;
  /** Hours at most that are charged late by themselves. */
  readonly catchUpHours: number;
}

/** The policy of hours that are opened under these settings. */
export function policyOf(settings: DeductionSettings): HourPolicy {
  return {
    freeTierBytes: BigInt(settings.freeTierBytes),
    fulaPerGibMonth: parseUnits(settings.fulaPerGbMonth),
    whileSuspended: settings.whileSuspended,
  };
}

/** The values of `billing_hours.free_tier_bytes`, `fula_per_gib_month` and `while_suspended`, in this order. */
export function policyValues({ freeTierBytes, fulaPerGibMonth, whileSuspended }: HourPolicy): readonly string[] {
  return [freeTierBytes.toString(), formatUnits(fulaPerGibMonth), whileSuspended];
}
