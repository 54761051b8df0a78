import type { Pool, PoolClient } from "pg";
import type { Clock } from "../kernel/clock.ts";
import { answerWithin } from "../kernel/deadline.ts";
import { explainDatabaseError, targetOf } from "./database-errors.ts";

/** The session that holds a lock, as the server sees it. */
export interface SessionInfo {
  readonly pid: number;
  readonly applicationName: string;
  readonly user: string;
  /** Null for a connection over a unix socket, or where this role may not see it. */
  readonly clientAddress: string | null;
  /** RFC 3339, UTC. */
  readonly connectedAt: string | null;
}

/** How long, and how, to wait for a lock in other hands. */
export interface LockWait {
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
  /** 0 = do not wait. */
  readonly waitMs: number;
  /** Called once a second or so while somebody else holds it; null when the holder let go in between. */
  readonly onWaiting?: ((holder: SessionInfo | null, waitedMs: number) => void) | undefined;
  /** What to throw when the time is up. */
  readonly onTimeout: (holder: SessionInfo | null, waitedMs: number) => Error;
}

/** Describes a session for a message: `fula-master/migrate@fula-2 (pid 4711, 10.0.0.2)`. */
export function describeSession(session: SessionInfo | null): string {
  if (session === null) return "another session";
  const name = session.applicationName === "" ? `a session of ${session.user}` : session.applicationName;
  const from = session.clientAddress === null ? "" : `, ${session.clientAddress}`;
  return `${name} (pid ${session.pid}${from})`;
}

const POLL_MS = 250;
/** A server that does not answer in this time learns from the end of the connection that the lock is free. */
const UNLOCK_MS = 1_000;
const REPORT_MS = 1_000;

/** Who holds the session lock `key` in this database; null for nobody. */
export async function findLockHolder(client: Pick<Pool, "query">, key: bigint): Promise<SessionInfo | null> {
  const { rows } = await client.query<{
    pid: number;
    application_name: string | null;
    usename: string | null;
    client_addr: string | null;
    backend_start: Date | null;
  }>(
    `select l.pid, a.application_name, a.usename::text, host(a.client_addr) as client_addr, a.backend_start
       from pg_locks l left join pg_stat_activity a using (pid)
      where l.locktype = 'advisory' and l.granted and l.objsubid = 1
        and l.database = (select oid from pg_database where datname = current_database())
        and (l.classid::bigint << 32) | l.objid::bigint = $1::bigint`,
    [key.toString()],
  );
  const row = rows[0];
  if (row === undefined) return null;
  return {
    pid: row.pid,
    applicationName: row.application_name ?? "",
    user: row.usename ?? "",
    clientAddress: row.client_addr,
    connectedAt: row.backend_start?.toISOString() ?? null,
  };
}

/** The other sessions that hold the session lock `key`, shared or alone, as they name themselves. */
export async function lockHolderNames(client: Pick<Pool, "query">, key: bigint): Promise<readonly string[]> {
  const { rows } = await client.query<{ name: string }>(
    `select coalesce(nullif(a.application_name, ''), 'a session') || ' (pid ' || l.pid || ')' as name
       from pg_locks l left join pg_stat_activity a using (pid)
      where l.locktype = 'advisory' and l.granted and l.objsubid = 1 and l.pid <> pg_backend_pid()
        and l.database = (select oid from pg_database where datname = current_database())
        and (l.classid::bigint << 32) | l.objid::bigint = $1::bigint
      order by 1`,
    [key.toString()],
  );
  return rows.map(({ name }) => name);
}

/** Looks at a lock that somebody may hold for a moment only, and the pause between two, in seconds. */
const MOMENT_LOOKS = 10;
const MOMENT_PAUSE_S = 0.05;

/**
 * Takes a lock for this transaction alone, where nobody holds it for longer than a moment: who joins the holders of a
 * shared lock takes it first, and gives it back where it then finds that it should not have.
 * @returns false where others hold it
 */
export async function tryLockAlone(client: Pick<Pool, "query">, key: bigint): Promise<boolean> {
  for (let look = 1; ; look += 1) {
    const { rows } = await client.query<{ is_free: boolean }>("select pg_try_advisory_xact_lock($1) as is_free", [
      key.toString(),
    ]);
    if (rows[0]?.is_free === true) return true;
    if (look === MOMENT_LOOKS) return false;
    await client.query("select pg_sleep($1)", [MOMENT_PAUSE_S]);
  }
}

/** Lets go of a session lock that this session holds shared, if it does. */
export async function unlockShared(client: Pick<Pool, "query">, key: bigint): Promise<void> {
  await client.query(
    "select pg_advisory_unlock_shared($1) from pg_locks where pid = pg_backend_pid() and locktype = 'advisory' and objsubid = 1 and mode = 'ShareLock' and (classid::bigint << 32) | objid::bigint = $1",
    [key.toString()],
  );
}

async function waitForLock(client: PoolClient, key: bigint, wait: LockWait): Promise<void> {
  const startMs = wait.clock.monotonicMs();
  let reportedMs = Number.NEGATIVE_INFINITY;
  for (;;) {
    wait.signal?.throwIfAborted();
    // Asked again and again rather than pg_advisory_lock(): a session that waits inside a statement keeps a snapshot,
    // and CREATE INDEX CONCURRENTLY of the holder would wait for that snapshot for ever.
    const { rows } = await client.query<{ taken: boolean }>("select pg_try_advisory_lock($1) as taken", [
      key.toString(),
    ]);
    if (rows[0]?.taken === true) return;
    const waitedMs = wait.clock.monotonicMs() - startMs;
    if (waitedMs >= wait.waitMs) throw wait.onTimeout(await findLockHolder(client, key), waitedMs);
    if (waitedMs - reportedMs >= REPORT_MS) {
      reportedMs = waitedMs;
      wait.onWaiting?.(await findLockHolder(client, key), waitedMs);
    }
    await wait.clock.sleep(POLL_MS, wait.signal);
  }
}

/**
 * Lets go of a lock in words: the server hears a moment later that a connection is closed, and whoever asks for the lock in
 * between would find it held. A connection that is lost, or in a transaction that failed, has only the end to tell it by.
 */
async function unlock(client: PoolClient, key: bigint, clock: Clock): Promise<void> {
  const unlocking = client.query("select pg_advisory_unlock($1)", [key.toString()]);
  await answerWithin(clock, UNLOCK_MS, unlocking).catch(() => {});
}

/**
 * Runs `use` with a connection of its own that holds the session lock `key`. The lock lives exactly as long as the
 * connection: whoever works on that connection can never go on after the lock is lost. The connection is closed at the
 * end, so neither the lock nor a setting leaks into the pool.
 * @throws FulaError FULA_DATABASE_UNREACHABLE, FULA_DATABASE_LOGIN; what `wait.onTimeout` makes; what `use` throws.
 */
export async function withAdvisoryLock<T>(
  pool: Pool,
  key: bigint,
  wait: LockWait,
  use: (client: PoolClient) => Promise<T>,
): Promise<T> {
  let client: PoolClient;
  try {
    client = await pool.connect();
  } catch (error) {
    throw explainDatabaseError(error, targetOf(pool));
  }
  try {
    await waitForLock(client, key, wait);
    try {
      return await use(client);
    } finally {
      await unlock(client, key, wait.clock);
    }
  } catch (error) {
    throw explainDatabaseError(error, targetOf(pool));
  } finally {
    client.release(true);
  }
}
