import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { formatTarget, sqlStateOf } from "./database-errors.ts";
import { applySessionSettings, type ConnectionOptions, type ConnectionTarget } from "./pool.ts";
import { openSession, type Session } from "./session.ts";

/** What to throw where the sessions of a pooler are not ours from one statement to the next. */
export function poolerError(connection: ConnectionTarget): FulaError {
  return new FulaError(
    "FULA_LEASE_POOLER",
    `${formatTarget(connection)} is a pooler that gives each transaction another session; no lock can be held there.`,
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
    const probe = probes.use(await openSession({ ...connection, part: "session-probe" }, clock));
    if ((await beginOn(probe, connection)) === session.pid) throw poolerError(connection);
  }
  if ((await whoAmI(session))?.pid !== session.pid) throw poolerError(connection);
}

/**
 * Opens a session that a lock can be bound to: one and the same from one statement to the next.
 * @throws FulaError FULA_LEASE_POOLER where a pooler between gives each transaction another one; what `openSession` throws
 */
export async function openOwnSession(options: ConnectionOptions, clock: Clock): Promise<Session> {
  // Nothing is said before that is known, lest a setting goes to a session that is somebody else's a moment later.
  const silent = { ...options, sessionSettings: null };
  const session = await openSession(silent, clock);
  try {
    await assertOwnSession(session, silent, clock);
    await applySessionSettings(session.client, options);
    return session;
  } catch (error) {
    await session[Symbol.asyncDispose]();
    throw error;
  }
}
