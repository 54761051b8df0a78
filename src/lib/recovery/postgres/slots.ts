import { FulaError } from "../../kernel/errors.ts";
import { sqlStateOf } from "../../postgres/database-errors.ts";
import type { Session } from "../../postgres/session.ts";
import type { Pin } from "../adapters.ts";
import { formatLsn, type Lsn, segmentOf, segmentStart } from "../lsn.ts";
import { pinName, sessionOfPin } from "../pins.ts";
import type { SessionId } from "../types.ts";
import { askOne } from "./ledger-server.ts";
import { isKept, readSlot, readSlots, type SlotLook } from "./slot-look.ts";

/**
 * Trails behind the head, so that there is a slot to clone from: a new one keeps WAL from the last checkpoint on alone, and
 * cannot hold what was written before.
 */
export const FLOOR_SLOT = "fula_floor";

const UNDEFINED_OBJECT = "42704";
const DUPLICATE_OBJECT = "42710";

/** Connects to the primary as whoever may make replication slots there. */
export type SlotLink = () => Promise<Session>;

async function createSlot(session: Session, name: string): Promise<void> {
  await session.query({
    name: "recovery_slot_create",
    text: "select from pg_create_physical_replication_slot($1, true)",
    values: [name],
  });
}

/** Lets a slot go; one that is not there is none the less gone. @throws a DatabaseError where somebody uses it */
async function dropSlot(session: Session, name: string): Promise<void> {
  try {
    await session.query({ name: "recovery_slot_drop", text: "select pg_drop_replication_slot($1)", values: [name] });
  } catch (error) {
    if (sqlStateOf(error) !== UNDEFINED_OBJECT) throw error;
  }
}

/**
 * Makes sure that a slot is there and keeps WAL: a lost one keeps nothing any more and is made anew.
 * @returns it, as it stands now
 */
export async function ensureSlot(session: Session, name: string): Promise<SlotLook> {
  const found = await readSlot(session, name);
  if (found !== null && found.walStatus !== "lost") return found;
  if (found !== null) await dropSlot(session, name);
  try {
    await createSlot(session, name);
  } catch (error) {
    // Another process was quicker.
    if (sqlStateOf(error) !== DUPLICATE_OBJECT) throw error;
  }
  const made = await readSlot(session, name);
  if (made !== null) return made;
  throw new FulaError("FULA_RECOVERY_SLOT", `The replication slot ${name} was made and is not there.`, {
    hint: "something else on the primary removes slots; look for it, then run the command again.",
  });
}

/**
 * Makes sure of the floor and lets it trail: it keeps the last `keepBytes` of WAL. A standby wants one too: slots do not go
 * over to it, and once it is promoted, an old primary can only be rewound if the WAL from before the fork is still here.
 * @returns the oldest position that it keeps
 */
export async function ensureFloor(session: Session, keepBytes: bigint): Promise<Lsn> {
  const floor = await ensureSlot(session, FLOOR_SLOT);
  const { target } = await askOne<{ target: string }>(session, {
    name: "recovery_floor_target",
    text: `
      select greatest(case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end
                      - '0/0'::pg_lsn - $1::numeric, 1)::text as target`,
    values: [String(keepBytes)],
  });
  const targetLsn = BigInt(target);
  if (floor.restartLsn !== null && targetLsn <= floor.restartLsn) return floor.restartLsn;
  await session.query({
    name: "recovery_slot_advance",
    text: "select from pg_replication_slot_advance($1, $2::pg_lsn)",
    values: [FLOOR_SLOT, formatLsn(targetLsn)],
  });
  return targetLsn;
}

function pinFailed(because: string): FulaError {
  return new FulaError("FULA_RECOVERY_PIN", `The primary cannot be made to keep the WAL that is needed: ${because}.`, {
    hint: "fula-master resync copies the ledger anew instead where --allow has rebuild in it.",
  });
}

/** From where on WAL has to be held. */
export interface HeldFrom {
  /** Exclusive. */
  readonly startLsn: Lsn;
  /** What lies below this is there elsewhere: nothing has to be held before its segment. Default: `startLsn`. */
  readonly elsewhereUpTo?: { readonly lsn: Lsn; readonly segmentBytes: number };
}

/** Whether a slot holds all that has to be held. */
function reaches(slot: SlotLook, { startLsn, elsewhereUpTo }: HeldFrom): boolean {
  if (!isKept(slot) || slot.restartLsn === null) return false;
  if (slot.restartLsn <= startLsn) return true;
  if (elsewhereUpTo === undefined) return false;
  // It holds its segment from the beginning.
  const { lsn, segmentBytes } = elsewhereUpTo;
  return segmentStart(segmentOf(slot.restartLsn, segmentBytes), segmentBytes) <= lsn;
}

/** The slot that holds most closely what has to be held, or else what is not elsewhere; null where none reaches back so far. */
function sourceFor(slots: readonly SlotLook[], from: HeldFrom): SlotLook | null {
  const reaching = slots
    .filter((slot) => reaches(slot, from))
    .toSorted((a, b) => ((a.restartLsn ?? 0n) < (b.restartLsn ?? 0n) ? 1 : -1));
  return (
    reaching.find(({ restartLsn }) => restartLsn !== null && restartLsn <= from.startLsn) ?? reaching.at(-1) ?? null
  );
}

/** A pin that is a slot. Released by a connection of its own: that by which it was taken may be gone. */
class SlotPin implements Pin {
  readonly name: string;
  readonly #link: SlotLink;
  #released: Promise<void> | null = null;

  constructor(name: string, link: SlotLink) {
    this.name = name;
    this.#link = link;
  }

  async release(): Promise<void> {
    this.#released ??= this.#drop();
    try {
      await this.#released;
    } catch (error) {
      this.#released = null;
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  async #drop(): Promise<void> {
    await using session = await this.#link();
    await dropSlot(session, this.name);
  }
}

/**
 * Keeps all WAL above a position for a session: clones a slot that still has it, and looks at the clone again, for what was
 * cloned may have been lost meanwhile.
 * @throws FulaError FULA_RECOVERY_PIN where no slot reaches back so far, or what it kept is gone
 */
export async function pinWalBySlot(link: SlotLink, from: HeldFrom, sessionId: SessionId): Promise<Pin> {
  const name = pinName(sessionId, "wal");
  await using session = await link();
  await dropSlot(session, name);
  const source = sourceFor(await readSlots(session), from);
  if (source === null) throw pinFailed(`no slot reaches back to ${formatLsn(from.startLsn)}`);
  try {
    await session.query({
      name: "recovery_slot_copy",
      text: "select from pg_copy_physical_replication_slot($1, $2)",
      values: [source.name, name],
    });
  } catch (error) {
    throw pinFailed(`${source.name} cannot be cloned (${sqlStateOf(error) ?? "no answer"})`);
  }
  const pin = new SlotPin(name, link);
  const clone = await readSlot(session, name);
  if (clone !== null && reaches(clone, from)) return pin;
  await pin.release();
  throw pinFailed(`the clone of ${source.name} keeps ${clone?.walStatus ?? "nothing"}`);
}

/** Keeps all WAL from the last checkpoint on: what a base backup that begins later needs. */
export async function pinBaseBySlot(link: SlotLink, sessionId: SessionId): Promise<Pin> {
  const name = pinName(sessionId, "base");
  await using session = await link();
  await dropSlot(session, name);
  await createSlot(session, name);
  return new SlotPin(name, link);
}

/** All pins that are slots, of whichever session. */
export async function listSlotPins(link: SlotLink): Promise<readonly Pin[]> {
  await using session = await link();
  const slots = await readSlots(session);
  return slots.filter(({ name }) => sessionOfPin(name) !== null).map(({ name }) => new SlotPin(name, link));
}
