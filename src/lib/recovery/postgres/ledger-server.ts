import type { QueryResultRow } from "pg";
import type { Clock } from "../../kernel/clock.ts";
import { FulaError, isFulaError, messageOf } from "../../kernel/errors.ts";
import type { Log } from "../../kernel/log.ts";
import type { NamedQuery } from "../../postgres/run-query.ts";
import type { Session } from "../../postgres/session.ts";
import type { PostgresSite } from "../../runtime/postgres-site.ts";

/** This box's server of the ledger, for whoever changes its role. */
export interface LedgerServer {
  /** `node.name`: what it calls itself towards a primary, and what an epoch row names. */
  readonly node: string;
  readonly site: PostgresSite;
  /** Connects to the ledger's database as superuser, over loopback. @throws FulaError FULA_DATABASE_UNREACHABLE */
  connect(): Promise<Session>;
  readonly clock: Clock;
  readonly log: Log;
}

/** A server in the middle of a change is looked at this often: what waits for it is a federation that cannot write. */
const POLL_MS = 10;

/** How long something may take, and who may end the wait. */
export interface Patience {
  readonly withinMs: number;
  readonly signal: AbortSignal;
}

/**
 * Looks until there is an answer. A server that cannot be reached is one that may still come.
 * @param what for the message: "fula-2 streams from fula-1"
 * @throws FulaError FULA_RECOVERY_TIMEOUT; the signal's reason; other errors of a look
 */
export async function waitUntil<T>(
  what: string,
  clock: Clock,
  { withinMs, signal }: Patience,
  look: () => Promise<T | null>,
): Promise<T> {
  const deadlineMs = clock.monotonicMs() + withinMs;
  for (;;) {
    signal.throwIfAborted();
    let why: unknown = null;
    const answer = await look().catch((error: unknown) => {
      if (!isFulaError(error, "FULA_DATABASE_UNREACHABLE")) throw error;
      why = error;
      return null;
    });
    if (answer !== null) return answer;
    if (clock.monotonicMs() >= deadlineMs) {
      const said = why === null ? "" : ` (${messageOf(why)})`;
      throw new FulaError("FULA_RECOVERY_TIMEOUT", `Waited ${withinMs} ms in vain until ${what}${said}.`, {
        cause: why ?? undefined,
        hint: "the server's log says what it waits for; running the command again goes on from here.",
      });
    }
    await clock.sleep(POLL_MS, signal);
  }
}

/** @throws FulaError FULA_RECOVERY_STEP where the server ended instead of answering */
export async function assertRunning({ site }: LedgerServer): Promise<void> {
  if ((await site.state()) === "running") return;
  throw new FulaError("FULA_RECOVERY_STEP", `The server of ${site.where} ended by itself.`, {
    hint: "its log says why: logs/postgres.log of the base directory, or docker logs of its container.",
  });
}

/**
 * Connects to a server that may still be starting.
 * @throws FulaError FULA_RECOVERY_TIMEOUT, FULA_RECOVERY_STEP where it ended; the signal's reason
 */
export async function connectWhenUp(server: LedgerServer, patience: Patience): Promise<Session> {
  return await waitUntil(`${server.site.where} answers`, server.clock, patience, async () => {
    await assertRunning(server);
    return await server.connect();
  });
}

/** The one row of a question that always has one. */
export async function askOne<Row extends QueryResultRow>(session: Session, query: NamedQuery): Promise<Row> {
  const { rows } = await session.query<Row>(query);
  const [row] = rows;
  if (row === undefined) throw new Error(`${query.name} gave no row`);
  return row;
}
