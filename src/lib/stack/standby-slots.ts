import type { Clock } from "../kernel/clock.ts";
import { tryLock } from "../kernel/lock.ts";
import type { LedgerBox, LedgerStore } from "../membership/ledger-records.ts";
import type { Session } from "../postgres/session.ts";
import { sessionOfPin } from "../recovery/pins.ts";
import { readSlots, type SlotLook } from "../recovery/postgres/slot-look.ts";
import { ensureFloor, FLOOR_SLOT } from "../recovery/postgres/slots.ts";
import { standbySlot } from "../recovery/postgres/standby-names.ts";
import type { SessionId } from "../recovery/types.ts";
import { CARETAKER, joinLockFile } from "./step-run.ts";

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

/** Whose slots are looked after, and for whom. */
interface SlotCare {
  readonly own: string;
  readonly isPrimary: boolean;
  /** Those that have a server of the ledger. */
  readonly boxes: readonly LedgerBox[];
  /** Recoveries that are under way, on whichever box. */
  readonly liveSessions: () => Promise<ReadonlySet<SessionId>>;
}

/**
 * Looks after the slots that are no standby's: the floor trails behind the end of the log, on the primary and on standbys, so that
 * it bounds what is kept and whoever is to be caught up or rewound finds a slot to clone. What a recovery held that was killed is
 * let go, and by a standby what it kept for others while it was the primary: nobody takes it any more, and it would fill the disk.
 * @param session as superuser, of this box's server
 */
export async function careForSlots(
  session: Session,
  { own, isPrimary, boxes, liveSessions }: SlotCare,
  slotMaxBytes: number,
): Promise<readonly string[]> {
  const others = new Set(boxes.filter(({ node }) => node !== own).map(({ node }) => standbySlot(node)));
  // Before the sessions: one is known before it holds anything.
  const slots = await readSlots(session);
  const live = isPrimary ? await liveSessions() : new Set();
  const isLeft = ({ name }: SlotLook): boolean => {
    const holder = sessionOfPin(name);
    if (holder !== null) return !live.has(holder);
    return isPrimary ? name === FLOOR_SLOT && others.size === 0 : others.has(name);
  };
  if (!isPrimary || others.size > 0) await ensureFloor(session, floorBytes(slotMaxBytes));
  return await drop(session, slots.filter(isLeft));
}

function floorBytes(slotMaxBytes: number): bigint {
  return BigInt(Math.min(FLOOR_BYTES_MAX, Math.floor(slotMaxBytes / 2)));
}

/**
 * Takes the record of a recovery of this box away that was killed: whoever holds the box's lock knows that no other works here.
 * What it held elsewhere is then let go by whoever has it.
 */
export async function forgetDeadSession(
  store: LedgerStore,
  node: string,
  { locksDir, clock }: { readonly locksDir: string; readonly clock: Clock },
): Promise<readonly string[]> {
  if ((await store.get("session", node)).value === null) return [];
  using free = await tryLock(joinLockFile(locksDir), CARETAKER, clock);
  if (free === null) return [];
  const { revision, value } = await store.get("session", node);
  if (value === null || !(await store.remove("session", revision, node))) return [];
  return [`forgot a recovery of ${node} that was cut off (${value.owner})`];
}
