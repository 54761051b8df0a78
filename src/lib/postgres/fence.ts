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
 * A common table expression `fence`, of one row (`ok`) while the lease stands as given, else of none. It keeps the lease's
 * row locked for the statement, so a successor's epoch begins before or after the write, never within it. Parameters
 * number `first` (holder) and the one after it (epoch) come from `fenceValues`.
 */
export function fenceCte(first: number): string {
  const holder = `$${first}::text`;
  const epoch = `$${first + 1}::bigint`;
  return `fence as materialized (
    select true as ok from cron_lease
     where ${epoch} is null or (epoch = ${epoch} and holder = ${holder})
       for share
  )`;
}
