import type { Session } from "../../postgres/session.ts";
import type { Epoch } from "../epoch.ts";

/** An epoch as a primary wrote it down, its first row. */
export interface EpochRow extends Epoch {
  /** Attributes: the primary's timeline, and the position at which it left the one before; null for the first epoch. */
  readonly timeline: number;
  readonly switchLsn: string | null;
  readonly primary: string;
  /** Why it began, a sentence. */
  readonly reason: string;
}

/** An epoch as a server's data has it. */
export interface WrittenEpoch extends Epoch {
  /** That it began; null for the first epoch, which began none. */
  readonly timeline: number | null;
}

/** All epochs that a server's data has, the newest first; none where the ledger has had one primary since ever. */
export async function readEpochRows(session: Session): Promise<readonly WrittenEpoch[]> {
  const { rows } = await session.query<{ number: string; uuid: string; timeline: number | null }>({
    name: "recovery_epoch_rows",
    // With its table: alone it would be the column of the answer, a text, of which the ninth is the last.
    text: "select number::text, uuid::text, timeline from ledger_epochs as e order by e.number desc",
    values: [],
  });
  return rows.map(({ number, uuid, timeline }) => ({ number: BigInt(number), uuid, timeline }));
}

/**
 * Writes an epoch's row; one that stands there already is left as it is, also where another process writes the same at this
 * moment, which meets either of the two unique columns first. It waits for no standby: there may be none yet,
 * and nothing is acknowledged to anybody before this returned.
 */
export async function writeEpochRow(session: Session, row: EpochRow): Promise<void> {
  await session.query({
    name: "recovery_epoch_settings",
    text: "select set_config('synchronous_commit', 'local', false), set_config('default_transaction_read_only', 'off', false)",
    values: [],
  });
  await session.query({
    name: "recovery_epoch_write",
    text: `
      insert into ledger_epochs (number, uuid, timeline, switch_lsn, primary_node, reason, at)
      values ($1, $2, $3, $4, $5, $6, now())
      on conflict do nothing`,
    values: [String(row.number), row.uuid, row.timeline, row.switchLsn, row.primary, row.reason],
  });
}
