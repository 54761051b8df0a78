import { isConnectionLoss, sqlStateOf } from "../postgres/database-errors.ts";
import type { Fence } from "../postgres/fence.ts";
import type { Session } from "../postgres/session.ts";
import { LEASE_LOCK_KEY } from "./lease-record.ts";

/** What one look of a standby gave. */
export interface LeaseLook {
  /** True: the lock is ours from now on. */
  readonly isLocked: boolean;
  /** The session that answered; another one than ours is a pooler's. */
  readonly pid: number;
  /** As the row has it; null = nobody, or software that keeps no row. */
  readonly holder: string | null;
  readonly epoch: bigint;
  /** True where the row's holder has not renewed it in time, or there is none. */
  readonly isExpired: boolean;
}

/** Tries the lock once, and reads who is written down as its holder. */
export async function tryLock(session: Session): Promise<LeaseLook> {
  const { rows } = await session.query<{
    locked: boolean;
    pid: number;
    holder: string | null;
    epoch: string | null;
    expired: boolean;
  }>({
    name: "lease_try",
    // The join keeps the lock to be tried once and in any case, even if the row was lost.
    text: `
      select l.locked, pg_backend_pid() as pid, c.holder, c.epoch,
             coalesce(c.expires_at < clock_timestamp(), true) as expired
        from pg_try_advisory_lock($1::bigint) as l (locked) left join cron_lease c on true`,
    values: [LEASE_LOCK_KEY.toString()],
  });
  const row = rows[0];
  if (row === undefined) throw new Error("the lock was tried and no row came back");
  const { locked: isLocked, pid, holder, epoch, expired: isExpired } = row;
  return { isLocked, pid, holder, epoch: BigInt(epoch ?? 0), isExpired };
}

/** Raises the epoch for a session that holds the lock; waits for writes under the epoch before. */
export async function raiseEpoch(session: Session, holder: string, ttlMs: number): Promise<Fence> {
  const { rows } = await session.query<{ epoch: string }>({
    name: "lease_take",
    text: `
      update cron_lease
         set epoch = epoch + 1, holder = $1, session_pid = pg_backend_pid(), taken_at = clock_timestamp(),
             renewed_at = clock_timestamp(), expires_at = clock_timestamp() + $2 * interval '1 millisecond'
      returning epoch`,
    values: [holder, ttlMs],
  });
  const row = rows[0];
  if (row === undefined) throw new Error("the table cron_lease has lost its row: migrate down to 029 and up again");
  return { holder, epoch: BigInt(row.epoch) };
}

/** Renews the lease. @returns false where the row is no longer this session's */
export async function renewLease(session: Session, fence: Fence, ttlMs: number): Promise<boolean> {
  const { rowCount } = await session.query({
    name: "lease_renew",
    text: `
      update cron_lease
         set renewed_at = clock_timestamp(), expires_at = clock_timestamp() + $3 * interval '1 millisecond'
       where holder = $1 and epoch = $2 and session_pid = pg_backend_pid()`,
    values: [fence.holder, fence.epoch.toString(), ttlMs],
  });
  return rowCount === 1;
}

/** Gives the lease back: what is written under this epoch from now on is refused, and the lock is free. */
export async function giveBack(session: Session, fence: Fence): Promise<void> {
  await session.query({
    name: "lease_give_back",
    text: `
      update cron_lease set holder = null, session_pid = null
       where holder = $1 and epoch = $2 and session_pid = pg_backend_pid()`,
    values: [fence.holder, fence.epoch.toString()],
  });
  await session.query({
    name: "lease_unlock",
    text: "select pg_advisory_unlock($1::bigint)",
    values: [LEASE_LOCK_KEY.toString()],
  });
}

/**
 * Ends the session that has the lock where it is dead: the holder of this epoch that has not renewed in time, or one of
 * ours that has not got as far as an epoch and has said nothing to the server for a whole time to live. Such a one stays
 * for ever where its connection was swallowed between two messages of one statement: no timeout of the server runs then.
 * @returns whether there was one
 */
export async function endDeadHolder(session: Session, epoch: bigint, ttlMs: number): Promise<boolean> {
  const { rows } = await session.query<{ ended: boolean }>({
    name: "lease_end_holder",
    text: `
      select pg_terminate_backend(l.pid) as ended
        from cron_lease c
        join pg_locks l on true
        join pg_stat_activity a on a.pid = l.pid
       where l.locktype = 'advisory' and l.granted and l.objsubid = 1
         and l.database = (select oid from pg_database where datname = current_database())
         and (l.classid::bigint << 32) | l.objid::bigint = $1::bigint
         and case when l.pid = c.session_pid
                  -- Not somebody who got the number of a process that is gone.
                  then c.epoch = $2 and c.expires_at < clock_timestamp() and coalesce(a.backend_start <= c.taken_at, true)
                  else a.application_name like 'fula-master/lease@%'
                       and a.query_start < clock_timestamp() - $3 * interval '1 millisecond'
             end`,
    values: [LEASE_LOCK_KEY.toString(), epoch.toString(), ttlMs],
  });
  return rows.some(({ ended }) => ended);
}

/** Whom the statement of the session `pid` waits for: sessions that hold a row's lock in a transaction of their own. */
export interface Blocker {
  readonly pid: number;
  readonly applicationName: string;
  /** True where it was one of ours, and was ended. */
  readonly isEnded: boolean;
}

/**
 * Ends sessions of ours whose transaction keeps the lease's row while the session `pid` waits for it: they belong to an
 * epoch that is over. Others, such as an operator's, are told and left alone.
 */
export async function endBlockers(helper: Session, pid: number): Promise<readonly Blocker[]> {
  const { rows } = await helper.query<{ pid: number; application_name: string; ended: boolean }>({
    name: "lease_end_blockers",
    text: `
      select b.pid, coalesce(a.application_name, '') as application_name,
             case when a.application_name like 'fula-master/%' then pg_terminate_backend(b.pid) else false end as ended
        from unnest(pg_blocking_pids($1)) as b (pid) left join pg_stat_activity a on a.pid = b.pid
       where exists (select from pg_locks w where w.pid = $1 and not w.granted and w.locktype in ('transactionid', 'tuple'))`,
    values: [pid],
  });
  return rows.map((row) => ({ pid: row.pid, applicationName: row.application_name, isEnded: row.ended }));
}

/** Whether a statement was given up because it waited too long for a lock. */
export function isLockTimeout(error: unknown): boolean {
  if (isConnectionLoss(error)) return false;
  const state = sqlStateOf(error);
  // lock_not_available, and query_canceled by statement_timeout.
  return state === "55P03" || state === "57014";
}
