import type { QueryResultRow } from "pg";
import type { Session } from "../../postgres/session.ts";
import { type Lsn, parseLsn } from "../lsn.ts";

/** How sure the WAL of a slot is: `unreserved` may go with the next checkpoint, `lost` is gone. */
export type WalStatus = "reserved" | "extended" | "unreserved" | "lost";

/** A physical replication slot. */
export interface SlotLook {
  readonly name: string;
  /** The oldest WAL that it keeps; null where it keeps none yet, or any more. */
  readonly restartLsn: Lsn | null;
  /** Null for a slot that keeps nothing yet. */
  readonly walStatus: WalStatus | null;
  readonly isActive: boolean;
  /** How much more may be written before it is lost; null where nothing bounds it. */
  readonly safeBytes: bigint | null;
}

interface SlotRow extends QueryResultRow {
  readonly name: string;
  readonly restart_lsn: string | null;
  readonly wal_status: WalStatus | null;
  readonly active: boolean;
  readonly safe_bytes: string | null;
}

const COLUMNS = `
  slot_name as name, restart_lsn::text as restart_lsn, wal_status, active, safe_wal_size::text as safe_bytes`;

function slotOf(row: SlotRow): SlotLook {
  return {
    name: row.name,
    restartLsn: row.restart_lsn === null ? null : parseLsn(row.restart_lsn),
    walStatus: row.wal_status,
    isActive: row.active,
    safeBytes: row.safe_bytes === null ? null : BigInt(row.safe_bytes),
  };
}

/** All physical slots, by name. */
export async function readSlots(session: Session): Promise<readonly SlotLook[]> {
  const { rows } = await session.query<SlotRow>({
    name: "recovery_slots",
    text: `select ${COLUMNS} from pg_replication_slots where slot_type = 'physical' order by slot_name`,
    values: [],
  });
  return rows.map(slotOf);
}

/** One physical slot; null where there is none of that name. */
export async function readSlot(session: Session, name: string): Promise<SlotLook | null> {
  const { rows } = await session.query<SlotRow>({
    name: "recovery_slot",
    text: `select ${COLUMNS} from pg_replication_slots where slot_type = 'physical' and slot_name = $1`,
    values: [name],
  });
  return rows[0] === undefined ? null : slotOf(rows[0]);
}

/** Whether all that a slot names is there for certain. */
export function isKept(slot: SlotLook): boolean {
  return slot.restartLsn !== null && (slot.walStatus === "reserved" || slot.walStatus === "extended");
}
