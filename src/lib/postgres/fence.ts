import { FulaError } from "../kernel/errors.ts";

/**
 * A right to write that ends with its epoch: who holds the cron lease, under which number. Every write of the cron family
 * checks it in the statement that writes, so that a former holder's late write finds no row.
 */
export interface Fence {
  /** The node's name, as in `cron_lease.holder`. */
  readonly holder: string;
  readonly epoch: bigint;
}

/** The values of `fenceCte`'s two parameters; `null` writes without a lease, where the settings have none. */
export function fenceValues(fence: Fence | null): readonly [string | null, string | null] {
  return fence === null ? [null, null] : [fence.holder, fence.epoch.toString()];
}

/**
 * A common table expression `fence`, of one row (`ok`) while the lease stands as given, else of none. It keeps the epoch
 * from being raised until the statement's transaction ends, so a successor's epoch begins before or after the write, never
 * within it; renewing the lease does not wait for it. The statement must select from `fence`, and run under `read
 * committed`. Parameters number `first` (holder) and the one after it (epoch) come from `fenceValues`.
 */
export function fenceCte(first: number): string {
  const holder = `$${first}::text`;
  const epoch = `$${first + 1}::bigint`;
  return `fence as materialized (
    select true as ok from cron_lease
     where ${epoch} is null or (epoch = ${epoch} and holder = ${holder})
       for key share
  )`;
}

/** What to throw when `fence` has no row: the work belongs to an epoch that is over. */
export function leaseLost(fence: Fence): FulaError {
  return new FulaError(
    "FULA_LEASE_LOST",
    `${fence.holder} no longer holds the cron lease under epoch ${fence.epoch}; nothing was written.`,
    {
      hint: "whoever holds it now goes on with the work: fula-master billing status.",
      details: { holder: fence.holder, epoch: fence.epoch.toString() },
    },
  );
}

/** Ends what a statement was to do where its `fence` had no row. @throws FulaError FULA_LEASE_LOST */
export function assertFenced(isFenced: boolean | undefined, fence: Fence | null): void {
  if (isFenced === true) return;
  if (fence !== null) throw leaseLost(fence);
  throw new Error("the table cron_lease has lost its row");
}
