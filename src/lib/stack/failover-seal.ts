import type { AccessLook, SealLook } from "../failover/failover-ports.ts";
import { messageOf } from "../kernel/errors.ts";
import type { LedgerEpoch, LedgerEpochRecord } from "../membership/ledger-records.ts";
import { sqlStateOf } from "../postgres/database-errors.ts";
import type { Pool, PoolClient } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";

/** What the guard of the ledger's tables says to a session of another epoch. */
const EPOCH_STALE = "FM002";

const OLD_SESSIONS = `
  select pid from pg_stat_activity
   where datname = current_database() and usename = current_user and pid <> pg_backend_pid()
     and backend_type = 'client backend'
     and backend_start < (select at from ledger_epochs where number = $1)`;

/**
 * Ends the sessions of the ledger's role that are older than the epoch's row: they belong to whoever was connected while
 * this was a standby.
 * @param pool of the new primary, as the ledger's role
 */
export async function revokeOldAccess(pool: Pool, { number }: LedgerEpoch): Promise<AccessLook> {
  await runQuery(pool, {
    name: "failover_end_old_sessions",
    text: `
      with old as materialized (${OLD_SESSIONS})
      select pg_terminate_backend(pid, 2000) from old`,
    values: [number],
  });
  // Asked anew: one that ended by itself meanwhile could not be ended any more, which is no failure.
  const { rows } = await runQuery<{ left: number }>(pool, {
    name: "failover_count_old_sessions",
    text: `select count(*)::int as left from (${OLD_SESSIONS}) as old`,
    values: [number],
  });
  const oldSessions = rows[0]?.left ?? 0;
  const seen =
    oldSessions === 0 ? "no session of the old epoch is left" : `${oldSessions} sessions of the old epoch do not end`;
  return { oldSessions, seen };
}

/** Runs a write that touches no row, on a connection that is given back as it was. */
async function tryWrite(client: PoolClient, epoch: LedgerEpoch): Promise<string | null> {
  await client.query("begin");
  try {
    await client.query("select set_config('fula.ledger_epoch', $1, true)", [`${epoch.number}:${epoch.uuid}`]);
    // The guard looks at each statement, whether or not it finds a row.
    await client.query("update cron_lease set holder = holder where false");
    return null;
  } catch (error) {
    const state = sqlStateOf(error);
    if (state === null) throw error;
    return state;
  } finally {
    await client.query("rollback");
  }
}

/**
 * This box writes that it was seen now, which every master does, and reads it again over another connection.
 * @returns null where that went well, else what did not
 */
async function writeAndRead(pool: Pool, node: string): Promise<string | null> {
  try {
    const written = await runQuery<{ seen: string }>(pool, {
      name: "failover_write",
      text: "update federation_nodes set seen_at = clock_timestamp() where name = $1 returning seen_at::text as seen",
      values: [node],
    });
    const seen = written.rows[0]?.seen;
    if (seen === undefined) return `${node} is not in the list of masters`;
    const read = await runQuery<{ same: boolean }>(pool, {
      name: "failover_read",
      text: "select seen_at >= $2::timestamptz as same from federation_nodes where name = $1",
      values: [node, seen],
    });
    return read.rows[0]?.same === true ? null : "what was written was not there when it was read";
  } catch (error) {
    return messageOf(error);
  }
}

/**
 * Tries at the new primary whether a write under the old epoch is refused, and one of the new epoch done.
 * @param pool of the new primary, as the ledger's role, with sessions of the new epoch
 */
export async function sealEpoch(
  pool: Pool,
  node: string,
  epoch: LedgerEpochRecord,
  replaces: LedgerEpoch,
): Promise<SealLook> {
  const client = await pool.connect();
  let refusal: string | null;
  let acceptance: string | null;
  try {
    refusal = await tryWrite(client, replaces);
    acceptance = await tryWrite(client, epoch);
  } finally {
    client.release();
  }
  const oldWrite = refusal === EPOCH_STALE ? "rejected" : refusal === null ? "accepted" : "unknown";
  const failure = acceptance === null ? await writeAndRead(pool, node) : `it was refused (${acceptance})`;
  const words = [
    `a write under epoch ${replaces.number} was ${oldWrite === "rejected" ? "refused" : oldWrite}`,
    `a write under epoch ${epoch.number} ${failure === null ? "was done and read again" : `failed: ${failure}`}`,
  ];
  return { oldWrite, newWrite: failure === null, seen: words.join("; ") };
}
