import type { Clock } from "../kernel/clock.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import type { Fence } from "../postgres/fence.ts";
import type { Pool } from "../postgres/pool.ts";
import type { Hour } from "./hour.ts";
import type { DeductionSettings } from "./policy.ts";

/** What a look for unbilled hours needs. */
export interface DeductionDeps {
  readonly pool: Pool;
  readonly log: Log;
  /** For pauses only: which hours are over is asked of the database. */
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  /** Null where the settings have no lease: masters then race, and share the work. */
  readonly fence: Fence | null;
  /** This node's name, for the records. */
  readonly node: string;
  readonly settings: DeductionSettings;
  /** Accounts in a shard of hours that are opened by this look. Default 10,000 (`DEFAULT_SHARD_ACCOUNTS`). */
  readonly shardAccounts?: number | undefined;
  /** Told after each shard that this master charged. */
  readonly onProgress?: ((progress: DeductionProgress) => void) | undefined;
}

/** How far an hour is. */
export interface DeductionProgress {
  readonly hour: Hour;
  readonly shardsDone: number;
  readonly shards: number;
  /** Accounts that this master charged in this shard. */
  readonly users: number;
}

/** What became of one hour during a look, whichever masters worked on it. */
export interface HourOutcome {
  readonly hour: Hour;
  /** `done`: everybody who owes has been charged. `skipped`: too long ago, left for `billing backfill`. */
  readonly state: "done" | "skipped";
  /** Accounts that were charged for the hour. */
  readonly users: number;
  /** What they were charged altogether, in units; positive. */
  readonly sumUnits: bigint;
  /** Accounts whose hour the ledger had already. */
  readonly conflicts: number;
}

/** What one look did. */
export interface DeductionReport {
  /** In ascending order. */
  readonly hours: readonly HourOutcome[];
  /** Why the look ended before everything that is over was billed, for the log; null where nothing is left. */
  readonly waitingFor: string | null;
  /** Accounts that were suspended, and are no longer. */
  readonly unsuspended: number;
  /** Unkeyed mode only: accounts that were charged by this run, how much, and those that could not be. */
  readonly unkeyed: { readonly users: number; readonly sumUnits: bigint; readonly failed: number } | null;
}
