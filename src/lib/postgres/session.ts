import { Socket } from "node:net";
import { Client, type QueryResultRow } from "pg";
import type { Clock } from "../kernel/clock.ts";
import { cutConnection } from "./cut-connection.ts";
import { explainDatabaseError } from "./database-errors.ts";
import { applySessionSettings, type ConnectionOptions, connectionConfig } from "./pool.ts";
import type { NamedQuery, QueryRows } from "./run-query.ts";
import { failUnreplicatedCommits } from "./sync-wait.ts";
import type { TransactionClient } from "./transaction.ts";

/** A connection of its own, outside any pool: what is bound to the session, such as a lock, ends with it and not before. */
export interface Session extends AsyncDisposable {
  /** The connection, for whoever binds further things to this session. */
  readonly client: TransactionClient;
  /** The session's process on the server. */
  readonly pid: number;
  /** The port of this end; null on a unix socket. */
  readonly localPort: number | null;
  /** Aborts, with the error as its reason, when the connection is gone. */
  readonly lost: AbortSignal;
  /** Runs one statement. @throws FulaError what `explainDatabaseError` makes of an outage; a DatabaseError */
  query<Row extends QueryResultRow>(query: NamedQuery): Promise<QueryRows<Row>>;
}

/** How long a goodbye may take; a connection that swallows everything would never end by itself. */
const GOODBYE_MS = 500;

async function endClient(client: Client, socket: Socket, clock: Clock): Promise<void> {
  const done = new AbortController();
  try {
    await Promise.race([client.end(), clock.sleep(GOODBYE_MS, done.signal)]);
  } catch {
    // It was gone already.
  } finally {
    done.abort();
    socket.destroy();
  }
}

/**
 * Connects. Disposing says goodbye, and cuts the connection where that is not heard.
 * @param ends cuts it too: a server that is frozen answers nothing, and its box keeps the connection open for ever
 * @throws FulaError FULA_DATABASE_UNREACHABLE, FULA_DATABASE_LOGIN, FULA_CONFIG_READ; a DatabaseError
 */
export async function openSession(options: ConnectionOptions, clock: Clock, ends?: AbortSignal): Promise<Session> {
  // Handed in, because pg's client can only be ended in words, and a half-open connection does not hear them.
  const socket = new Socket();
  const client = new Client({ ...connectionConfig(options), stream: () => socket });
  failUnreplicatedCommits(client);
  const lost = new AbortController();
  client.on("error", (error) => {
    lost.abort(error);
  });
  client.on("end", () => {
    lost.abort(new Error("Connection terminated"));
  });
  const { follow } = options;
  const place = follow?.place;
  const following = follow?.follow(() => {
    cutConnection(client, "the ledger has moved to another server");
  });
  const cut = (): void => {
    cutConnection(client, "it is not waited for any more");
  };
  ends?.addEventListener("abort", cut, { once: true });
  const end = async (): Promise<void> => {
    ends?.removeEventListener("abort", cut);
    following?.[Symbol.dispose]();
    await endClient(client, socket, clock);
  };
  const explain = (error: unknown): unknown => explainDatabaseError(error, { ...options, ...place });
  try {
    if (ends?.aborted === true) throw new Error("Connection terminated: there is no time left for it");
    await client.connect();
    await applySessionSettings(client, options);
    const { rows } = await client.query<{ pid: number }>("select pg_backend_pid() as pid");
    return {
      client,
      pid: rows[0]?.pid ?? 0,
      localPort: socket.localPort ?? null,
      lost: lost.signal,
      query: async <Row extends QueryResultRow>(query: NamedQuery): Promise<QueryRows<Row>> => {
        try {
          const result = await client.query<Row>({ ...query, values: [...query.values] });
          return { rows: result.rows, rowCount: result.rowCount ?? 0 };
        } catch (error) {
          throw explain(error);
        }
      },
      [Symbol.asyncDispose]: end,
    };
  } catch (error) {
    await end();
    throw explain(error);
  }
}
