import type { Session } from "../postgres/session.ts";
import { type Lsn, parseLsn } from "../recovery/lsn.ts";
import { askOne } from "../recovery/postgres/ledger-server.ts";
import { standbyRole, standbySlot } from "../recovery/postgres/standby-names.ts";

/** A connection that replicates, as the primary sees it. */
export interface ReplicationSeen {
  /** What it calls itself: `node.name` of its box. */
  readonly node: string;
  /** False where it logged in as another box's role, or as nobody's: it counts for nothing then. */
  readonly isGenuine: boolean;
  readonly pid: number;
  readonly state: string;
  readonly isSync: boolean;
  /** Null before it has said so. */
  readonly flushedLsn: Lsn | null;
  readonly replayedLsn: Lsn | null;
  /** How long ago, by its own word, it had what the primary has now; null while nothing is written, or unknown. */
  readonly lagMs: number | null;
}

/** A physical slot. */
export interface SlotSeen {
  readonly name: string;
  readonly isActive: boolean;
  /** Null where it keeps nothing. */
  readonly restartLsn: Lsn | null;
  /** `reserved`, `extended`, `unreserved`, `lost`; null where it keeps nothing. */
  readonly walStatus: string | null;
  /** Log that it keeps, in bytes. */
  readonly keptBytes: bigint;
  /** Bytes of log until it is given up; null where nothing bounds it. */
  readonly safeBytes: bigint | null;
}

/** A server that takes writes, as it sees itself. */
export interface PrimarySeen {
  readonly headLsn: Lsn;
  readonly timeline: number;
  readonly systemId: string;
  /** When its process was started, as its own clock has it: tells one run of it from another. */
  readonly startedAt: string;
  readonly syncNames: string;
  readonly listenAddresses: string;
  readonly hasHints: boolean;
  readonly hasChecksums: boolean;
  readonly replications: readonly ReplicationSeen[];
  readonly slots: readonly SlotSeen[];
}

interface HeadRow {
  readonly head: string;
  readonly timeline: number;
  readonly system_id: string;
  readonly started_at: string;
  readonly sync_names: string;
  readonly listens: string;
  readonly hints: string;
  readonly checksums: number;
}

interface ReplicationRow {
  readonly node: string;
  readonly role: string;
  readonly pid: number;
  readonly state: string;
  readonly sync_state: string;
  readonly flushed: string | null;
  readonly replayed: string | null;
  readonly lag_ms: number | null;
}

interface SlotRow {
  readonly name: string;
  readonly active: boolean;
  readonly restart: string | null;
  readonly wal_status: string | null;
  readonly kept: string;
  readonly safe: string | null;
}

function lsnOrNull(text: string | null): Lsn | null {
  return text === null ? null : parseLsn(text);
}

async function readReplications(session: Session): Promise<readonly ReplicationSeen[]> {
  const { rows } = await session.query<ReplicationRow>({
    name: "standby_replications",
    // A base backup is a replication connection, too, and not a standby's.
    text: `
      select application_name as node, usename as role, pid, state, sync_state, flush_lsn::text as flushed,
             replay_lsn::text as replayed, (extract(epoch from replay_lag) * 1000)::float8 as lag_ms
        from pg_stat_replication
       where state <> 'backup'
       order by application_name, pid`,
    values: [],
  });
  return rows.map((row) => ({
    node: row.node,
    isGenuine: row.role === standbyRole(row.node),
    pid: row.pid,
    state: row.state,
    isSync: row.sync_state === "sync" || row.sync_state === "quorum",
    flushedLsn: lsnOrNull(row.flushed),
    replayedLsn: lsnOrNull(row.replayed),
    lagMs: row.lag_ms,
  }));
}

async function readSlots(session: Session): Promise<readonly SlotSeen[]> {
  const { rows } = await session.query<SlotRow>({
    name: "standby_slots",
    text: `
      select slot_name as name, active, restart_lsn::text as restart, wal_status,
             greatest(coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0), 0)::bigint::text as kept,
             safe_wal_size::text as safe
        from pg_replication_slots
       where slot_type = 'physical'
       order by slot_name`,
    values: [],
  });
  return rows.map((row) => ({
    name: row.name,
    isActive: row.active,
    restartLsn: lsnOrNull(row.restart),
    walStatus: row.wal_status,
    keptBytes: BigInt(row.kept),
    safeBytes: row.safe === null ? null : BigInt(row.safe),
  }));
}

/**
 * Looks at a server that takes writes, as its superuser.
 * @returns null where it is a standby
 */
export async function lookAtPrimary(session: Session): Promise<PrimarySeen | null> {
  const { standby } = await askOne<{ standby: boolean }>(session, {
    name: "standby_is_one",
    text: "select pg_is_in_recovery() as standby",
    values: [],
  });
  if (standby) return null;
  const row = await askOne<HeadRow>(session, {
    name: "standby_primary_head",
    text: `
      select pg_current_wal_flush_lsn()::text as head,
             ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int as timeline,
             (select system_identifier::text from pg_control_system()) as system_id,
             pg_postmaster_start_time()::text as started_at,
             current_setting('synchronous_standby_names') as sync_names,
             current_setting('listen_addresses') as listens,
             current_setting('wal_log_hints') as hints,
             (select data_page_checksum_version from pg_control_init()) as checksums`,
    values: [],
  });
  return {
    headLsn: parseLsn(row.head),
    timeline: row.timeline,
    systemId: row.system_id,
    startedAt: row.started_at,
    syncNames: row.sync_names,
    listenAddresses: row.listens,
    hasHints: row.hints === "on",
    hasChecksums: row.checksums > 0,
    replications: await readReplications(session),
    slots: await readSlots(session),
  };
}

/** A server that follows another one, as it sees itself. */
export interface StandbySeen {
  readonly systemId: string;
  /** What it has received and written down; null before it has anything. */
  readonly receivedLsn: Lsn | null;
  readonly replayedLsn: Lsn | null;
  /** True where a connection to its primary receives. */
  readonly isReceiving: boolean;
}

/** Looks at a standby, as its superuser. @returns null where it takes writes */
export async function lookAtStandby(session: Session): Promise<StandbySeen | null> {
  const row = await askOne<{
    standby: boolean;
    system_id: string;
    received: string | null;
    replayed: string | null;
    receiving: boolean;
  }>(session, {
    name: "standby_itself",
    text: `
      select pg_is_in_recovery() as standby,
             (select system_identifier::text from pg_control_system()) as system_id,
             greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::text as received,
             pg_last_wal_replay_lsn()::text as replayed,
             exists (select from pg_stat_wal_receiver where status = 'streaming') as receiving`,
    values: [],
  });
  if (!row.standby) return null;
  return {
    systemId: row.system_id,
    receivedLsn: lsnOrNull(row.received),
    replayedLsn: lsnOrNull(row.replayed),
    isReceiving: row.receiving,
  };
}

/** The connection of a box's standby that counts; null where none does. */
export function replicationOf({ replications }: PrimarySeen, node: string): ReplicationSeen | null {
  return replications.find((one) => one.node === node && one.isGenuine) ?? null;
}

/** The slot of a box's standby; null where there is none. */
export function slotOf({ slots }: PrimarySeen, node: string): SlotSeen | null {
  return slots.find(({ name }) => name === standbySlot(node)) ?? null;
}
