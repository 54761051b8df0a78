import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import { type BillingAlert, standingAlerts } from "./alerts.ts";
import { type Hour, hourFromSql } from "./hour.ts";
import { parseUnits } from "./money.ts";

/** An hour that is neither billed nor waived. */
export interface WaitingHour {
  readonly hour: Hour;
  readonly state: "open" | "skipped";
  readonly beganBy: string;
  readonly shards: number;
  readonly shardsDone: number;
  /** Why it was left out; null where nobody wrote it down. */
  readonly reason: string | null;
}

/** How an hour was billed. */
export interface BilledHour {
  readonly hour: Hour;
  readonly endedAt: Date;
  readonly endedBy: string | null;
  readonly epoch: bigint | null;
  readonly users: number;
  /** In units of 10⁻¹⁸ FULA. */
  readonly sumUnits: bigint;
  readonly freeTierBytes: bigint;
  /** In units of 10⁻¹⁸ FULA. */
  readonly fulaPerGibMonth: bigint;
}

/** How a chain stands. */
export interface ChainStanding {
  readonly chainId: number;
  readonly name: string;
  /** The last block that was looked at; null before the first look. */
  readonly scannedBlock: bigint | null;
  readonly settledBlock: bigint | null;
  readonly lastScanAt: Date | null;
  readonly lastError: string | null;
  /** Why nobody looks any more; null where somebody does. */
  readonly haltedBecause: string | null;
}

/** What the ledger says of billing; times by the database's clock. */
export interface BillingFacts {
  readonly now: Date;
  /** Null where nobody has billed yet. */
  readonly mode: "keyed" | "unkeyed" | null;
  readonly firstHour: Hour | null;
  readonly lastDone: BilledHour | null;
  /** Hours that are over and neither billed, left out nor waived. */
  readonly hoursBehind: number;
  /** When the oldest of them ended; null where there is none. */
  readonly behindSince: Date | null;
  readonly openHours: readonly WaitingHour[];
  readonly skippedHours: readonly WaitingHour[];
  readonly skippedCount: number;
  readonly suspended: number;
  readonly alerts: readonly BillingAlert[];
  readonly chains: readonly ChainStanding[];
  /** Deposits that wait for confirmations, and those whose sender nobody knows. */
  readonly deposits: { readonly waiting: number; readonly unclaimed: number; readonly unclaimedUnits: bigint };
}

/** Hours of one kind that are told; all are counted. */
const HOURS_SHOWN = 24;

interface FactsRow {
  readonly now: Date;
  readonly mode: "keyed" | "unkeyed" | null;
  readonly first_hour: Date | null;
  readonly behind: string;
  readonly oldest: Date | null;
  readonly skipped: string;
  readonly suspended: string;
  readonly waiting: string;
  readonly unclaimed: string;
  readonly unclaimed_fula: string;
}

async function readCounts(pool: Pool): Promise<FactsRow> {
  const { rows } = await runQuery<FactsRow>(pool, {
    name: "billing_status_counts",
    text: `
      with over as (
        select hour, b.state
          from billing_mode m,
               generate_series(m.first_hour, date_trunc('hour', clock_timestamp(), 'UTC') - interval '1 hour', interval '1 hour') as hour
          left join billing_hours b using (hour)
         where m.mode = 'keyed'
         union all
        -- From before keys were turned off, and perhaps on again.
        select b.hour, b.state
          from billing_mode m, billing_hours b
         where b.state in ('open', 'skipped') and (m.mode <> 'keyed' or b.hour < m.first_hour)
      )
      select clock_timestamp() as now, m.mode, m.first_hour,
             (select count(*) from over where state is null or state = 'open') as behind,
             (select min(hour) + interval '1 hour' from over where state is null or state = 'open') as oldest,
             (select count(*) from over where state = 'skipped') as skipped,
             (select count(*) from user_credits where is_suspended = 1) as suspended,
             (select count(*) from token_transactions where state = 'waiting') as waiting,
             (select count(*) from token_transactions where state = 'unclaimed') as unclaimed,
             (select coalesce(sum(amount_fula), 0) from token_transactions where state = 'unclaimed') as unclaimed_fula
        from (select) as one left join billing_mode m on true`,
    values: [],
  });
  const [row] = rows;
  if (row === undefined) throw new Error("The counts are one row, always");
  return row;
}

async function readLastDone(pool: Pool): Promise<BilledHour | null> {
  const { rows } = await runQuery<{
    hour: Date;
    ended_at: Date;
    ended_by: string | null;
    ended_epoch: string | null;
    users: string;
    sum_fula: string;
    free_tier_bytes: string;
    fula_per_gib_month: string;
  }>(pool, {
    name: "billing_status_last_hour",
    text: `
      select hour, ended_at, ended_by, ended_epoch, users, sum_fula, free_tier_bytes, fula_per_gib_month
        from billing_hours where state = 'done' order by hour desc limit 1`,
    values: [],
  });
  const [row] = rows;
  if (row === undefined) return null;
  return {
    hour: hourFromSql(row.hour),
    endedAt: row.ended_at,
    endedBy: row.ended_by,
    epoch: row.ended_epoch === null ? null : BigInt(row.ended_epoch),
    users: Number(row.users),
    sumUnits: parseUnits(row.sum_fula),
    freeTierBytes: BigInt(row.free_tier_bytes),
    fulaPerGibMonth: parseUnits(row.fula_per_gib_month),
  };
}

async function readWaitingHours(pool: Pool, state: WaitingHour["state"]): Promise<readonly WaitingHour[]> {
  const { rows } = await runQuery<{
    hour: Date;
    began_by: string;
    reason: string | null;
    shards: string;
    shards_done: string;
  }>(pool, {
    name: "billing_status_waiting_hours",
    text: `
      select h.hour, h.began_by, h.reason, count(s.shard) as shards, count(s.done_at) as shards_done
        from billing_hours h left join billing_shards s using (hour)
       where h.state = $1 and h.state in ('open', 'skipped')
       group by h.hour order by h.hour limit $2`,
    values: [state, HOURS_SHOWN],
  });
  return rows.map((row) => ({
    hour: hourFromSql(row.hour),
    state,
    beganBy: row.began_by,
    reason: row.reason,
    shards: Number(row.shards),
    shardsDone: Number(row.shards_done),
  }));
}

async function readChains(pool: Pool): Promise<readonly ChainStanding[]> {
  const { rows } = await runQuery<{
    chain_id: number;
    chain_name: string;
    scanned_block: string | null;
    settled_block: string | null;
    last_scan_at: Date | null;
    last_error: string | null;
    halted_because: string | null;
  }>(pool, {
    name: "billing_status_chains",
    text: `
      select chain_id, chain_name, scanned_block, settled_block, last_scan_at, last_error, halted_because
        from chain_sync_state order by chain_id`,
    values: [],
  });
  return rows.map((row) => ({
    chainId: row.chain_id,
    name: row.chain_name,
    scannedBlock: row.scanned_block === null ? null : BigInt(row.scanned_block),
    settledBlock: row.settled_block === null ? null : BigInt(row.settled_block),
    lastScanAt: row.last_scan_at,
    lastError: row.last_error,
    haltedBecause: row.halted_because,
  }));
}

/**
 * Reads how billing stands. Changes nothing.
 * @throws FulaError FULA_DATABASE_UNREACHABLE, FULA_DATABASE_LOGIN; a DatabaseError for what the server refuses
 */
export async function readBillingFacts(pool: Pool): Promise<BillingFacts> {
  const counts = await readCounts(pool);
  return {
    now: counts.now,
    mode: counts.mode,
    firstHour: counts.first_hour === null ? null : hourFromSql(counts.first_hour),
    lastDone: await readLastDone(pool),
    hoursBehind: Number(counts.behind),
    behindSince: counts.oldest,
    openHours: await readWaitingHours(pool, "open"),
    skippedHours: await readWaitingHours(pool, "skipped"),
    skippedCount: Number(counts.skipped),
    suspended: Number(counts.suspended),
    alerts: await standingAlerts(pool),
    chains: await readChains(pool),
    deposits: {
      waiting: Number(counts.waiting),
      unclaimed: Number(counts.unclaimed),
      unclaimedUnits: parseUnits(counts.unclaimed_fula),
    },
  };
}
