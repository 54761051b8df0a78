import type { Clock } from "../kernel/clock.ts";
import { openOwnSession } from "../postgres/own-session.ts";
import type { ConnectionTarget } from "../postgres/pool.ts";
import type { Session } from "../postgres/session.ts";

/** Pauses of a lease, in milliseconds, all from its time to live. */
export interface LeaseTimes {
  readonly ttlMs: number;
  /** Between two looks of a standby. */
  readonly pollMs: number;
  /** Between two renewals of the holder. */
  readonly renewMs: number;
  /** So long after it sent the last renewal that succeeded, a holder takes the lease for lost: before others may take it. */
  readonly heldMs: number;
}

const POLL_MS = 250;

/** Works out a lease's pauses. */
export function leaseTimes(ttlMs: number): LeaseTimes {
  return { ttlMs, pollMs: Math.min(POLL_MS, ttlMs / 5), renewMs: ttlMs / 5, heldMs: (ttlMs * 4) / 5 };
}

/**
 * Settings of the session on the server. It ends a session that asks nothing for a whole time to live, or whose client
 * no longer acknowledges what it is sent: a holder that is paused or cut off then loses the lock without anybody's help,
 * and one to whom that happens in a transaction, as when it says how it bills, does not keep all others from starting.
 */
function sessionSettings({ ttlMs, heldMs }: LeaseTimes): Readonly<Record<string, string>> {
  const whole = String(Math.ceil(ttlMs));
  const statement = String(Math.ceil(heldMs));
  const seconds = String(Math.max(1, Math.floor(ttlMs / 3_000)));
  return {
    statement_timeout: statement,
    lock_timeout: statement,
    idle_session_timeout: whole,
    idle_in_transaction_session_timeout: whole,
    tcp_user_timeout: whole,
    tcp_keepalives_idle: seconds,
    tcp_keepalives_interval: seconds,
    tcp_keepalives_count: "3",
  };
}

/**
 * Opens the session that the lease is bound to, outside any pool.
 * @throws FulaError what `openOwnSession` throws
 */
export async function openLeaseSession(
  connection: ConnectionTarget,
  node: string,
  times: LeaseTimes,
  clock: Clock,
): Promise<Session> {
  const settings = { ...connection.sessionSettings, ...sessionSettings(times) };
  return await openOwnSession(
    { ...connection, node, part: "lease", queryTimeoutMs: times.ttlMs, sessionSettings: settings },
    clock,
  );
}
