import type { SessionInfo } from "./advisory-lock.ts";
import type { Pool } from "./pool.ts";
import { runQuery } from "./run-query.ts";

/**
 * Ends sessions of ours, of whatever master, that are in a transaction and wait for the rest of a statement. Between its
 * messages no timeout of the server runs, and a proxy that swallows what it is to pass on keeps the connection alive: such
 * a session would keep what it has locked for ever.
 * @param silentMs milliseconds without a message from which on nobody is thought to be there any more
 * @returns those that were ended
 * @throws FulaError FULA_DATABASE_UNREACHABLE, FULA_DATABASE_LOGIN
 */
export async function endStuckSessions(pool: Pool, silentMs: number): Promise<readonly SessionInfo[]> {
  const { rows } = await runQuery<{
    pid: number;
    application_name: string;
    user_name: string;
    client_address: string | null;
    connected_at: Date;
    ended: boolean;
  }>(pool, {
    name: "end_stuck_sessions",
    text: `
      select pid, application_name, usename::text as user_name, host(client_addr) as client_address,
             backend_start as connected_at, pg_terminate_backend(pid) as ended
        from pg_stat_activity
       where datname = current_database() and usename = current_user and application_name like 'fula-master/%'
         and state = 'active' and wait_event = 'ClientRead'
         and query_start < clock_timestamp() - $1 * interval '1 millisecond'`,
    values: [silentMs],
  });
  return rows
    .filter(({ ended }) => ended)
    .map((row) => ({
      pid: row.pid,
      applicationName: row.application_name,
      user: row.user_name,
      clientAddress: row.client_address,
      connectedAt: row.connected_at.toISOString(),
    }));
}
