import { isFulaError, messageOf, systemErrorCode } from "../kernel/errors.ts";
import type { Session } from "../postgres/session.ts";
import type { ServerLook } from "./failover-ports.ts";

/** Asks a server of the ledger how it stands. */
export async function lookAtSession(session: Session): Promise<ServerLook> {
  const { rows } = await session.query<{
    in_recovery: boolean;
    lsn: string | null;
    receivers: number;
    number: string | null;
    uuid: string | null;
  }>({
    name: "failover_look",
    text: `
      select pg_is_in_recovery() as in_recovery,
             case when pg_is_in_recovery() then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                  else pg_current_wal_flush_lsn() end::text as lsn,
             (select count(*)::int from pg_stat_wal_receiver) as receivers,
             newest.number::text as number, newest.uuid::text as uuid
        from (select 1) as one
        left join lateral (select number, uuid from ledger_epochs order by number desc limit 1) as newest on true`,
    values: [],
  });
  const row = rows[0];
  if (row === undefined || row.lsn === null)
    return { kind: "silent", why: "it does not say how far it is", refused: false };
  const epoch = row.number === null || row.uuid === null ? null : { number: Number(row.number), uuid: row.uuid };
  return { kind: "answers", inRecovery: row.in_recovery, epoch, lsn: row.lsn, isReceiving: row.receivers > 0 };
}

function isRefusal(error: unknown): boolean {
  const cause = isFulaError(error) ? error.cause : error;
  if (cause instanceof AggregateError) return cause.errors.length > 0 && cause.errors.every(isRefusal);
  return systemErrorCode(cause) === "ECONNREFUSED";
}

/** A server that could not be asked, and why. */
export function silentServer(error: unknown): ServerLook {
  return { kind: "silent", why: messageOf(error), refused: isRefusal(error) };
}
