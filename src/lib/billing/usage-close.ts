import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { describeSession, type SessionInfo } from "../postgres/advisory-lock.ts";
import { type Fence, fenceCte, fenceValues } from "../postgres/fence.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import { formatHour, type Hour, hourFromSql } from "./hour.ts";

/** A session whose transaction changed pins in an hour and has not ended. */
export interface UsageHolder extends SessionInfo {
  /** The hour that it holds open. */
  readonly hour: Hour;
  /** When its transaction began; null where this role may not see it. */
  readonly transactionBeganAt: Date | null;
}

/** What closing an hour needs. */
export interface CloseUsageOptions {
  /** The lease under which it is done; null where the settings have none. */
  readonly fence: Fence | null;
  /** For pauses only: whether the hour is over is asked of the database. */
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
  /** How long to wait for transactions that still write into it; 0 = not at all. Default 30,000. */
  readonly waitMs?: number | undefined;
  /** Told at once and then every five seconds while somebody holds the hour open. */
  readonly onWaiting?: ((holders: readonly UsageHolder[], waitedMs: number) => void) | undefined;
}

/** First number of the advisory locks of hours; the second one is the hour. The triggers on `pins` take them shared. */
const USAGE_LOCK = 815_551;
/** Locks are kept in a table of the server that has a limit; a longer stretch of hours is closed in steps. */
const HOURS_PER_STEP = 256;
const WAIT_MS = 30_000;
const POLL_MS = 100;
const REPORT_MS = 5_000;

interface Step {
  readonly isFenced: boolean;
  /** By the database's clock. */
  readonly isOver: boolean;
  readonly closedThrough: Hour;
  /** True where this step closed anything. */
  readonly hasClosed: boolean;
  /** The first hour that a transaction still holds open; null where none does. */
  readonly heldHour: Hour | null;
}

/**
 * Closes as many hours as can be, up to `hour`, in one statement of its own transaction: no client stands between the
 * locks and their release. They are tried and not waited for: a session that queues for one would hold up a late writer
 * that has it already in another transaction's way.
 */
async function closeStep(pool: Pool, hour: Hour, fence: Fence | null): Promise<Step> {
  const { rows } = await runQuery<{
    fenced: boolean;
    over: boolean;
    closed_through: Date;
    has_closed: boolean;
    held_hour: Date | null;
  }>(pool, {
    name: "usage_close",
    text: `
      with ${fenceCte(2)}, tried as materialized (
        select h as hour, pg_try_advisory_xact_lock(${USAGE_LOCK}, (extract(epoch from h) / 3600)::integer) as free
          from fence, usage_clock,
               generate_series(
                 closed_through + interval '1 hour',
                 least($1::timestamptz,
                       closed_through + ${HOURS_PER_STEP} * interval '1 hour',
                       date_trunc('hour', clock_timestamp(), 'UTC') - interval '1 hour'),
                 interval '1 hour'
               ) as h
      ), held as (
        select min(hour) as hour from tried where not free
      ), closed as (
        update usage_clock c set closed_through = upto.hour
          from (select max(tried.hour) as hour from tried, held
                 where tried.free and tried.hour < coalesce(held.hour, 'infinity')) as upto
         where upto.hour > c.closed_through
        returning c.closed_through
      )
      select exists (select from fence) as fenced,
             $1::timestamptz + interval '1 hour' <= clock_timestamp() as over,
             coalesce((select closed_through from closed), c.closed_through) as closed_through,
             exists (select from closed) as has_closed,
             (select hour from held) as held_hour
        from usage_clock c`,
    values: [formatHour(hour), ...fenceValues(fence)],
  });
  const row = rows[0];
  if (row === undefined) throw new Error("the table usage_clock has lost its row");
  return {
    isFenced: row.fenced,
    isOver: row.over,
    closedThrough: hourFromSql(row.closed_through),
    hasClosed: row.has_closed,
    heldHour: row.held_hour === null ? null : hourFromSql(row.held_hour),
  };
}

/** Who holds an hour open, the longest transaction first; none where they ended meanwhile. */
async function usageHolders(pool: Pool, hour: Hour): Promise<readonly UsageHolder[]> {
  const { rows } = await runQuery<{
    pid: number;
    application_name: string | null;
    user_name: string | null;
    client_address: string | null;
    connected_at: Date | null;
    began_at: Date | null;
  }>(pool, {
    name: "usage_holders",
    text: `
      select l.pid, a.application_name, a.usename::text as user_name, host(a.client_addr) as client_address,
             a.backend_start as connected_at, a.xact_start as began_at
        from pg_locks l left join pg_stat_activity a using (pid)
       where l.locktype = 'advisory' and l.granted and l.objsubid = 2
         and l.database = (select oid from pg_database where datname = current_database())
         and l.classid = ${USAGE_LOCK} and l.objid = $1::integer::oid
       order by a.xact_start nulls last, l.pid`,
    values: [hour],
  });
  return rows.map((row) => ({
    hour,
    pid: row.pid,
    applicationName: row.application_name ?? "",
    user: row.user_name ?? "",
    clientAddress: row.client_address,
    connectedAt: row.connected_at?.toISOString() ?? null,
    transactionBeganAt: row.began_at,
  }));
}

/** One line about who holds an hour open: `pinning-service (pid 4711, 10.0.0.2), in a transaction since …`. */
export function describeUsageHolder(holder: UsageHolder): string {
  const since =
    holder.transactionBeganAt === null ? "" : `, in a transaction since ${holder.transactionBeganAt.toISOString()}`;
  return `${describeSession(holder)}${since}`;
}

function notOver(hour: Hour): FulaError {
  return new FulaError(
    "FULA_BILLING_HOUR",
    `The hour ${formatHour(hour)} cannot be closed: by the clock of the database it is not over.`,
    {
      hint: "wait for its end; if that is past, set the clock of the database server right.",
      details: { hour: formatHour(hour) },
    },
  );
}

function lost(hour: Hour, fence: Fence | null): FulaError {
  const whose = fence === null ? "" : ` of ${fence.holder} (epoch ${fence.epoch})`;
  return new FulaError(
    "FULA_LEASE_LOST",
    `The hour ${formatHour(hour)} was not closed: the cron lease${whose} stands no longer.`,
    { hint: "nothing is to be done: the master that has the lease closes it." },
  );
}

function held(hour: Hour, heldHour: Hour, holders: readonly UsageHolder[], waitedMs: number): FulaError {
  const who = holders.length === 0 ? "another session" : holders.map(describeUsageHolder).join("; ");
  const pid = holders[0]?.pid;
  return new FulaError(
    "FULA_USAGE_HELD",
    `The hour ${formatHour(hour)} could not be closed in ${Math.round(waitedMs / 1_000)} s: pins that were changed in ${formatHour(heldHour)} are not committed yet, by ${who}.`,
    {
      hint:
        pid === undefined
          ? "the next look tries again."
          : `the next look tries again; a transaction that never ends is ended by: select pg_terminate_backend(${pid})`,
      details: { hour: formatHour(hour), heldHour: formatHour(heldHour), pids: holders.map((holder) => holder.pid) },
    },
  );
}

/**
 * Closes an hour and those before it, in their order: from then on what was stored at its end never changes. Waits for
 * the transactions that still write into it, and holds up nobody who writes later. An hour that is closed stays so.
 * @returns true where this call closed it, false where it was closed already
 * @throws FulaError FULA_BILLING_HOUR while the hour runs by the database's clock, FULA_USAGE_HELD where transactions
 * kept it open for `waitMs`, FULA_LEASE_LOST; the signal's reason
 */
export async function closeUsageHour(pool: Pool, hour: Hour, options: CloseUsageOptions): Promise<boolean> {
  const { clock, fence, signal, waitMs = WAIT_MS } = options;
  const startMs = clock.monotonicMs();
  let reportedMs = Number.NEGATIVE_INFINITY;
  for (;;) {
    signal?.throwIfAborted();
    const step = await closeStep(pool, hour, fence);
    // Closed by others counts too: a lease that was lost meanwhile has nothing left to do here.
    if (step.closedThrough >= hour) return step.hasClosed;
    if (!step.isFenced) throw lost(hour, fence);
    if (!step.isOver) throw notOver(hour);
    if (step.heldHour === null) continue;
    const waitedMs = clock.monotonicMs() - startMs;
    if (waitedMs >= waitMs) throw held(hour, step.heldHour, await usageHolders(pool, step.heldHour), waitedMs);
    if (waitedMs - reportedMs >= REPORT_MS) {
      reportedMs = waitedMs;
      options.onWaiting?.(await usageHolders(pool, step.heldHour), waitedMs);
    }
    await clock.sleep(POLL_MS, signal);
  }
}
