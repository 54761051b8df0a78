import { findLockHolder, type SessionInfo } from "../postgres/advisory-lock.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";

/** Session lock of whoever runs the cron family; the software of the existing fleet takes the same one. */
export const LEASE_LOCK_KEY = 815_551_001n;

/**
 * How the lease stands. `held`: by a master that renews it. `expired`: its holder has not renewed it in time; a standby
 * takes it. `taking`: a master has the lock and is about to raise the epoch. `foreign`: other software has the lock, without
 * an epoch. `free`: nobody has it.
 */
export type LeaseStanding = "held" | "expired" | "taking" | "foreign" | "free";

/** The lease as the ledger has it, for people. */
export interface LeaseRecord {
  readonly standing: LeaseStanding;
  /** Node name of the holder; null where the lease is neither `held` nor `expired`. */
  readonly holder: string | null;
  /** Number of the newest taking; 0 = never taken. */
  readonly epoch: bigint;
  /** By the database's clock; null where nobody holds it. */
  readonly heldForSeconds: number | null;
  readonly renewedSecondsAgo: number | null;
  /** The session that has the lock; null for nobody. */
  readonly session: SessionInfo | null;
}

const LEASE_SESSION = /^fula-master\/lease@/;

/** Whether a session that has the lock belongs to software that keeps no epoch: then none of ours can lead. */
export function isForeignSession(session: SessionInfo): boolean {
  return !LEASE_SESSION.test(session.applicationName);
}

/** The row and the session that has the lock, put together. */
function standingOf(
  row: { readonly session_pid: number | null; readonly is_expired: boolean },
  session: SessionInfo | null,
): LeaseStanding {
  if (session === null) return "free";
  if (session.pid !== row.session_pid) return isForeignSession(session) ? "foreign" : "taking";
  return row.is_expired ? "expired" : "held";
}

/** Reads who holds the cron lease. @throws FulaError FULA_DATABASE_UNREACHABLE, FULA_DATABASE_LOGIN; a DatabaseError */
export async function readLease(pool: Pool): Promise<LeaseRecord> {
  const { rows } = await runQuery<{
    holder: string | null;
    epoch: string;
    session_pid: number | null;
    held_for: number | null;
    renewed_ago: number | null;
    is_expired: boolean;
  }>(pool, {
    name: "lease_read",
    text: `
      select holder, epoch, session_pid,
             extract(epoch from clock_timestamp() - taken_at)::float8 as held_for,
             extract(epoch from clock_timestamp() - renewed_at)::float8 as renewed_ago,
             coalesce(expires_at < clock_timestamp(), true) as is_expired
        from cron_lease`,
    values: [],
  });
  const session = await findLockHolder(pool, LEASE_LOCK_KEY);
  const row = rows[0];
  if (row === undefined) {
    return { standing: "free", holder: null, epoch: 0n, heldForSeconds: null, renewedSecondsAgo: null, session };
  }
  const standing = standingOf(row, session);
  const isOurs = standing === "held" || standing === "expired";
  return {
    standing,
    holder: isOurs ? row.holder : null,
    epoch: BigInt(row.epoch),
    heldForSeconds: isOurs ? row.held_for : null,
    renewedSecondsAgo: isOurs ? row.renewed_ago : null,
    session,
  };
}
