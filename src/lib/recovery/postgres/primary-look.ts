import { assert } from "../../kernel/assert.ts";
import { FulaError } from "../../kernel/errors.ts";
import type { Session } from "../../postgres/session.ts";
import { type Lsn, parseLsn } from "../lsn.ts";
import { readEpochRows, type WrittenEpoch } from "./epoch-row.ts";
import { askOne } from "./ledger-server.ts";
import { readSlot, type SlotLook } from "./slot-look.ts";
import { historyName, stretchesTo, type TimelineStretch } from "../timeline-history.ts";
import { oldestKept } from "./wal-inventory.ts";

/** What a primary says of itself, as far as a recovery depends on it. */
export interface PrimaryLook {
  /** In decimal. */
  readonly systemId: string;
  readonly timeline: number;
  /** The oldest first; of the newest timeline alone where its history file is gone, and nobody can follow from before it. */
  readonly stretches: readonly TimelineStretch[];
  /** The newest first. */
  readonly epochRows: readonly WrittenEpoch[];
  /** Flushed, inclusive. */
  readonly headLsn: Lsn;
  /** What enough of its synchronous standbys have flushed. */
  readonly committedLsn: Lsn;
  /** Exclusive: it has all WAL above, from its own directory. */
  readonly tailLsn: Lsn;
  readonly segmentBytes: number;
  readonly fullPageWrites: boolean;
  /** Whether the role that asked may read what a rewind reads. */
  readonly mayBeRewoundFrom: boolean;
  /** The slot of the replica that this is about; null where there is none. */
  readonly slot: SlotLook | null;
}

interface PrimaryRow {
  readonly system_id: string;
  readonly head: string | null;
  readonly walfile: string | null;
  readonly segment_bytes: string;
  readonly full_page_writes: boolean;
  readonly may_read: boolean;
}

// In recovery the positions of a primary are an error; the functions are those that pg_rewind calls.
const IDENTITY = `
  select system_identifier::text as system_id,
         case when not standby then pg_current_wal_flush_lsn() end::text as head,
         case when not standby then pg_walfile_name(pg_current_wal_lsn()) end as walfile,
         (select setting from pg_settings where name = 'wal_segment_size') as segment_bytes,
         current_setting('full_page_writes')::bool as full_page_writes,
         has_function_privilege('pg_ls_dir(text, boolean, boolean)', 'execute')
           and has_function_privilege('pg_stat_file(text, boolean)', 'execute')
           and has_function_privilege('pg_read_binary_file(text)', 'execute')
           and has_function_privilege('pg_read_binary_file(text, bigint, bigint, boolean)', 'execute') as may_read
    from pg_control_system(), (select pg_is_in_recovery() as standby) as here`;

/**
 * Looks at the primary. The head is read first: what is listed afterwards has everything up to there, or is known to lack it.
 * @param slot the replica's own
 * @param syncNeeded how many synchronous standbys a commit waits for; 0 where for none
 * @throws FulaError FULA_LEDGER_ROLE where it is in recovery; FULA_DATABASE_UNREACHABLE
 */
export async function lookAtPrimary(session: Session, slot: string, syncNeeded: number): Promise<PrimaryLook> {
  const who = await askOne<PrimaryRow>(session, { name: "recovery_primary_look", text: IDENTITY, values: [] });
  if (who.walfile === null || who.head === null) {
    throw new FulaError("FULA_LEDGER_ROLE", "The server that should be the ledger's primary is in recovery.", {
      hint: "fula-master standby status says who is the primary; run the command again when the control plane names it.",
    });
  }
  const timeline = Number.parseInt(who.walfile.slice(0, 8), 16);
  const segmentBytes = Number(who.segment_bytes);
  const stretches = (await readHistory(session, timeline)) ?? [{ timeline, beganAtLsn: 0n }];
  const slotLook = await readSlot(session, slot);
  const flushed = await readFlushed(session);
  const files = await listWal(session);
  const head = parseLsn(who.head);
  return {
    systemId: who.system_id,
    timeline,
    stretches,
    epochRows: await readEpochRows(session),
    headLsn: head,
    committedLsn: committedOf(flushed, syncNeeded, head),
    tailLsn: oldestKept(files, stretches, head, segmentBytes),
    segmentBytes,
    fullPageWrites: who.full_page_writes,
    mayBeRewoundFrom: who.may_read,
    slot: slotLook,
  };
}

async function readHistory(session: Session, timeline: number): Promise<readonly TimelineStretch[] | null> {
  const text = await readHistoryText(session, timeline);
  return stretchesTo(timeline, text === null ? new Map() : new Map([[timeline, text]]));
}

/** The history file of a timeline, as the primary has it; null where it has none. */
export async function readHistoryText(session: Session, timeline: number): Promise<string | null> {
  const { text } = await askOne<{ text: string | null }>(session, {
    name: "recovery_primary_history",
    text: "select convert_from(pg_read_binary_file($1, 0, 1000000, true), 'utf8') as text",
    values: [`pg_wal/${historyName(timeline)}`],
  });
  return text;
}

async function listWal(session: Session): Promise<ReadonlySet<string>> {
  const { rows } = await session.query<{ name: string }>({
    name: "recovery_primary_wal",
    text: "select name from pg_ls_dir('pg_wal', true, false) as name where name ~ '^[0-9A-F]{24}$'",
    values: [],
  });
  return new Set(rows.map(({ name }) => name));
}

/** What each synchronous standby has flushed; of one that another role may not see, nothing is known. */
async function readFlushed(session: Session): Promise<readonly Lsn[]> {
  const { rows } = await session.query<{ flushed: string }>({
    name: "recovery_primary_flushed",
    text: `
      select flush_lsn::text as flushed from pg_stat_replication
       where sync_state in ('sync', 'quorum') and state = 'streaming' and flush_lsn is not null`,
    values: [],
  });
  return rows.map(({ flushed }) => parseLsn(flushed));
}

/**
 * What cannot be lost any more: the position that the needed number of standbys has reached. Where none is needed, or fewer
 * have answered than that, it is everything: a replica that has it all has what is committed.
 */
export function committedOf(flushed: readonly Lsn[], syncNeeded: number, headLsn: Lsn): Lsn {
  assert(headLsn > 0n, "a primary has written something");
  const reached = flushed.toSorted((a, b) => (a < b ? 1 : -1))[syncNeeded - 1];
  return syncNeeded > 0 && reached !== undefined && reached < headLsn ? reached : headLsn;
}
