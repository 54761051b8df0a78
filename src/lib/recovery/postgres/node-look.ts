import { isFulaError } from "../../kernel/errors.ts";
import type { SiteSession } from "../../runtime/postgres-site.ts";
import type { Epoch } from "../epoch.ts";
import { type Lsn, parseLsn, parseWalFileName, segmentOf } from "../lsn.ts";
import { type ControlData, type LastRole, parseControlData, roleOfState } from "./control-data.ts";
import { readEpochFloor } from "./epoch-floor.ts";
import { readEpochRows } from "./epoch-row.ts";
import { askOne, type LedgerServer } from "./ledger-server.ts";
import { type Marker, readMarker } from "./marker.ts";
import { readNodeFiles } from "./node-files.ts";
import { stretchesTo, type TimelineStretch } from "../timeline-history.ts";
import { findWalEnd, type WalEnd, type WalOnDisk } from "./wal-end.ts";

/** What a data directory holds, where anything can be read of it. */
export interface NodeData {
  readonly kind: "readable";
  readonly control: ControlData;
  readonly role: LastRole;
  /** True where its server answered; false also where one runs and lets nobody in yet. */
  readonly isServing: boolean;
  /** The end of all WAL that it has. */
  readonly end: Pick<WalEnd, "timeline" | "lsn">;
  /** The timelines that lead there, the oldest first; null where the file that says so is gone. */
  readonly stretches: readonly TimelineStretch[] | null;
  /** Nothing up to here can be taken away by taking WAL away: it may be in the data files. */
  readonly recoveryPointLsn: Lsn;
  /** Epochs in its database, the newest first; null where it could not be asked. */
  readonly epochRows: readonly Epoch[] | null;
  readonly wal: WalOnDisk;
}

/** What can be seen of this box's server from here, without changing anything. */
export interface NodeLook {
  readonly node: string;
  /** Left by a recovery that works there, or was cut off. */
  readonly marker: Marker | null;
  /** The highest epoch that this box has seen. */
  readonly floor: Epoch | null;
  readonly data:
    | NodeData
    | { readonly kind: "empty" }
    | { readonly kind: "control_unreadable"; readonly because: string };
}

/**
 * Looks at this box's server, whether it runs or not. Nothing is started, and nothing is written.
 * @throws FulaError FULA_RECOVERY_STEP, FULA_RECOVERY_EPOCH_FLOOR, FULA_DOCKER_UNREACHABLE
 */
export async function lookAtNode(server: LedgerServer, signal: AbortSignal): Promise<NodeLook> {
  await using session = await server.site.open(signal);
  return await lookAtNodeBy(session, server, signal);
}

/** As `lookAtNode`, for whoever has a session at its data. */
export async function lookAtNodeBy(session: SiteSession, server: LedgerServer, signal: AbortSignal): Promise<NodeLook> {
  const { node, site } = server;
  const marker = await readMarker(session, site);
  const floor = await readEpochFloor(session, site);
  return { node, marker, floor, data: await lookAtData(server, session, signal) };
}

async function lookAtData(server: LedgerServer, session: SiteSession, signal: AbortSignal): Promise<NodeLook["data"]> {
  const { dataDir } = server.site;
  // Its position before its files: then they have everything up to there.
  const served = await askServer(server);
  const files = await readNodeFiles(session, dataDir, signal);
  if (files === null) return { kind: "empty" };
  const shown = await session.run("pg_controldata", { args: ["-D", dataDir], timeoutMs: CONTROL_TIMEOUT_MS, signal });
  const control = shown.exitCode === 0 ? parseControlData(shown.stdout) : null;
  if (control === null) return { kind: "control_unreadable", because: shown.stderr || "its checksum is wrong" };
  const { segmentBytes, walBlockBytes } = control;
  const wal: WalOnDisk = { dataDir, segmentBytes, walBlockBytes, files: files.segments, histories: files.histories };
  if (served !== null) return { kind: "readable", control, wal, isServing: true, ...withHistory(served, wal) };
  const start = startOf(control, files.backupLabel);
  const end = await findWalEnd(session, wal, start, signal);
  if (end === null) {
    const because = `there is no WAL at its checkpoint, on timeline ${start.timeline}`;
    return { kind: "control_unreadable", because };
  }
  // A copy that was never started says in its control file what the copied server was.
  const role = files.backupLabel === null ? roleOfState(control.state) : "standby";
  const recoveryPointLsn =
    role === "primary" || files.backupLabel !== null ? end.lsn : max(control.minRecoveryEndLsn, control.redoLsn);
  const { timeline, lsn, stretches } = end;
  return {
    kind: "readable",
    control,
    wal,
    role,
    isServing: false,
    end: { timeline, lsn },
    stretches,
    recoveryPointLsn,
    epochRows: null,
  };
}

const CONTROL_TIMEOUT_MS = 30_000;

function max(one: Lsn, other: Lsn): Lsn {
  return one > other ? one : other;
}

const LABEL_CHECKPOINT = /^CHECKPOINT LOCATION: ([0-9A-F]+\/[0-9A-F]+)$/m;
const LABEL_TIMELINE = /^START TIMELINE: (\d+)$/m;

/** Where the replay of a stopped server would begin: at its checkpoint, or at that of the backup that it was made from. */
function startOf(control: ControlData, backupLabel: string | null): { readonly timeline: number; readonly lsn: Lsn } {
  const lsn = LABEL_CHECKPOINT.exec(backupLabel ?? "")?.[1];
  const timeline = LABEL_TIMELINE.exec(backupLabel ?? "")?.[1];
  if (lsn === undefined || timeline === undefined) {
    return { timeline: control.checkpointTimeline, lsn: control.checkpointLsn };
  }
  return { timeline: Number(timeline), lsn: parseLsn(lsn) };
}

interface Served {
  readonly role: LastRole;
  /** Of a standby, what it receives or was started on. */
  readonly timeline: number;
  readonly endLsn: Lsn;
  readonly recoveryPointLsn: Lsn;
  readonly epochRows: readonly Epoch[];
}

function withHistory({ role, timeline: told, endLsn, recoveryPointLsn, epochRows }: Served, wal: WalOnDisk) {
  const timeline = role === "primary" ? told : Math.max(told, newestOf(wal, endLsn));
  const stretches = stretchesTo(timeline, wal.histories);
  return { role, end: { timeline, lsn: endLsn }, stretches, recoveryPointLsn, epochRows };
}

/**
 * The newest timeline that a standby has of the segment in which its log ends. Once it receives nothing, it says no more on
 * which timeline it is than on which its last restart point was.
 */
function newestOf({ files, segmentBytes }: WalOnDisk, endLsn: Lsn): number {
  const last = segmentOf(endLsn - 1n, segmentBytes);
  return [...files]
    .map((name) => parseWalFileName(name, segmentBytes))
    .filter((file) => file?.segment === last)
    .reduce((newest, file) => Math.max(newest, file?.timeline ?? 0), 0);
}

/**
 * Asks the server itself. What it received last time, before it was started, counts only as far as it was replayed: so the
 * higher of both positions is what it has.
 */
async function askServer(server: LedgerServer): Promise<Served | null> {
  try {
    if ((await server.site.state()) !== "running") return null;
    await using session = await server.connect();
    const row = await askOne<{ standby: boolean; timeline: number; end_lsn: string; replayed: string }>(session, {
      name: "recovery_node_look",
      text: `
        with here as (select pg_is_in_recovery() as standby)
        select standby,
               case when standby
                    then greatest((select received_tli from pg_stat_wal_receiver),
                                  (select min_recovery_end_timeline from pg_control_recovery()),
                                  (select timeline_id from pg_control_checkpoint()))
                    else ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int end as timeline,
               case when standby
                    then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                    else pg_current_wal_flush_lsn() end::text as end_lsn,
               case when standby then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end::text as replayed
          from here`,
      values: [],
    });
    const epochRows = await readEpochRows(session);
    return {
      role: row.standby ? "standby" : "primary",
      timeline: row.timeline,
      endLsn: parseLsn(row.end_lsn),
      recoveryPointLsn: parseLsn(row.replayed),
      epochRows,
    };
  } catch (error) {
    // It starts, or lets nobody in: its files say enough.
    if (isFulaError(error, "FULA_DATABASE_UNREACHABLE")) return null;
    throw error;
  }
}
