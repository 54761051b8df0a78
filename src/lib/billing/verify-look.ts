/** What one rule of the ledger says, and what to do where it is broken. */
export interface LedgerRule {
  /** Names the check in the report. */
  readonly name: string;
  /** What holds where nothing is found. */
  readonly claim: string;
  /** The next thing to do where something is. */
  readonly remedy: string;
}

/** What the ledger says of itself before it is looked at; all times as PostgreSQL writes them. */
export interface VerifyScope {
  /** How the federation bills; null where nobody has billed yet. */
  readonly mode: "keyed" | "unkeyed" | null;
  /** True where older hours and entries are left out. */
  readonly isBounded: boolean;
}

/** One statement that looks for what breaks some rules. */
export interface LedgerLook {
  readonly rules: readonly LedgerRule[];
  /**
   * A query of two columns, `rule` and `finding` (text). It may read the CTE `scope`, of one row:
   * `since` (first hour looked at, -infinity for all), `after_id` (entries of `credit_history` above it are looked at),
   * `opened_at` (when the books were opened; entries before it stand in the opening balances), `running_hour`, `overdue`
   * (an hour before it must be settled), `mode`, `first_hour`.
   */
  readonly findings: string;
  /** Why it says nothing about this ledger; null where it does. */
  readonly leftOut?: (scope: VerifyScope) => string | null;
}

/** The entries that are looked at; `$2` is the scope's `after_id`, as a value that the planner sees. */
export const ENTRIES_IN_SCOPE = "select e.* from credit_history e where e.id > $2::bigint";

/** The ledger's key of an hour (`timestamptz` expression): `hour:2026-11-20T03`. */
export function hourKeySql(hour: string): string {
  return `to_char(${hour} at time zone 'UTC', '"hour:"YYYY-MM-DD"T"HH24')`;
}
