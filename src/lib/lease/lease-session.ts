import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { formatTarget, sqlStateOf } from "../postgres/database-errors.ts";
import { applySessionSettings, type ConnectionOptions, type ConnectionTarget } from "../postgres/pool.ts";
import { openSession, type Session } from "../postgres/session.ts";

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

/** What to throw where the sessions of a pooler are not ours from one statement to the next. */
export function poolerError(connection: ConnectionTarget): FulaError {
  return new FulaError(
    "FULA_LEASE_POOLER",
    `${formatTarget(connection)} is a pooler that gives each transaction another session; a lease cannot be held there.`,
    {
      hint: "set postgres.host and postgres.port to PostgreSQL itself, or let the pooler pool sessions (pool_mode = session).",
      details: { host: connection.host, port: connection.port },
    },
  );
}

/** Further connections that take the sessions which a pooler has just got back. */
const PROBES = 3;

interface OwnEnd {
  readonly pid: number;
  readonly client_port: number | null;
}

// Without a name: a pooler that pools transactions may not know prepared statements.
async function whoAmI(session: Session): Promise<OwnEnd | undefined> {
  const text = "select pg_backend_pid() as pid, inet_client_port() as client_port";
  return (await session.client.query<OwnEnd>(text)).rows[0];
}

async function beginOn(probe: Session, connection: ConnectionOptions): Promise<number | undefined> {
  try {
    await probe.client.query("begin");
  } catch (cause) {
    // A pooler that pools statements refuses transactions, as a violation of the protocol.
    throw sqlStateOf(cause) === "08P01" ? poolerError(connection) : cause;
  }
  return (await whoAmI(probe))?.pid;
}

/**
 * Checks that this session stays one and the same. Where the server sees this very socket, it does; else other
 * connections open transactions, for which a pooler that pools transactions hands them the session that was ours.
 */
async function assertOwnSession(session: Session, connection: ConnectionOptions, clock: Clock): Promise<void> {
  const first = await whoAmI(session);
  if (first !== undefined && first.client_port !== null && first.client_port === session.localPort) return;
  await using probes = new AsyncDisposableStack();
  for (let index = 0; index < PROBES; index += 1) {
    const probe = probes.use(await openSession({ ...connection, part: "lease-probe" }, clock));
    if ((await beginOn(probe, connection)) === session.pid) throw poolerError(connection);
  }
  if ((await whoAmI(session))?.pid !== session.pid) throw poolerError(connection);
}

/**
 * Opens the session that the lease is bound to, outside any pool.
 * @throws FulaError FULA_LEASE_POOLER, and what `openSession` throws
 */
export async function openLeaseSession(
  connection: ConnectionTarget,
  node: string,
  times: LeaseTimes,
  clock: Clock,
): Promise<Session> {
  const options: ConnectionOptions = { ...connection, node, part: "lease", queryTimeoutMs: times.ttlMs };
  const session = await openSession(options, clock);
  try {
    // First of all, lest a setting goes to a session that is somebody else's a moment later.
    await assertOwnSession(session, options, clock);
    await applySessionSettings(session.client, sessionSettings(times));
    return session;
  } catch (error) {
    await session[Symbol.asyncDispose]();
    throw error;
  }
}
