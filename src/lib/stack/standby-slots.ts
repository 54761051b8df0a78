import type { LedgerBox } from "../membership/ledger-records.ts";
import type { Session } from "../postgres/session.ts";
import { sessionOfPin } from "../recovery/pins.ts";
import { readSlots, type SlotLook } from "../recovery/postgres/slot-look.ts";
import { ensureFloor, FLOOR_SLOT } from "../recovery/postgres/slots.ts";
import { standbySlot } from "../recovery/postgres/standby-names.ts";

/** Log that each server keeps behind its end, where `standby.slotMax` leaves room for it: a rewind begins at a checkpoint before the fork. */
const FLOOR_BYTES_MAX = 1024 ** 3;

/** @returns false where somebody uses it, or it is gone */
export async function dropIdleSlot(session: Session, name: string): Promise<boolean> {
  const { rowCount } = await session.query({
    name: "standby_drop_slot",
    text: "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1 and not active",
    values: [name],
  });
  return rowCount === 1;
}

async function drop(session: Session, slots: readonly SlotLook[]): Promise<readonly string[]> {
  const done: string[] = [];
  for (const { name } of slots) if (await dropIdleSlot(session, name)) done.push(`let the slot ${name} go`);
  return done;
}

/**
 * Looks after the slots that are no standby's: the floor trails behind the end of the log, on the primary and on standbys, so that
 * it bounds what is kept and whoever is to be caught up or rewound finds a slot to clone. A standby lets go of what it kept for
 * others while it was the primary: nobody takes it any more, and it would fill the disk.
 * @param session as superuser, of this box's server
 * @param boxes those that have a server of the ledger
 */
export async function careForSlots(
  session: Session,
  {
    own,
    isPrimary,
    boxes,
  }: { readonly own: string; readonly isPrimary: boolean; readonly boxes: readonly LedgerBox[] },
  slotMaxBytes: number,
): Promise<readonly string[]> {
  const others = new Set(boxes.filter(({ node }) => node !== own).map(({ node }) => standbySlot(node)));
  const slots = await readSlots(session);
  const isLeft = ({ name }: SlotLook): boolean => others.has(name) || sessionOfPin(name) !== null;
  if (!isPrimary) {
    await ensureFloor(session, floorBytes(slotMaxBytes));
    return await drop(session, slots.filter(isLeft));
  }
  if (others.size === 0)
    return await drop(
      session,
      slots.filter(({ name }) => name === FLOOR_SLOT),
    );
  await ensureFloor(session, floorBytes(slotMaxBytes));
  return [];
}

function floorBytes(slotMaxBytes: number): bigint {
  return BigInt(Math.min(FLOOR_BYTES_MAX, Math.floor(slotMaxBytes / 2)));
}
