import { execFileSync, spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { formatLsn, type Lsn, parseLsn } from "../../src/lib/recovery/lsn.ts";
import { findLeftovers } from "../../src/lib/runtime/postgres-process.ts";
import { type ProcessIdentity, signalProcess } from "../../src/lib/runtime/processes.ts";
import { PG_BIN_DIR, type PostgresRig, type PrimaryOptions, type RigServer } from "./postgres-pair.ts";
import { until } from "./until.ts";

/** UUIDs of the epochs of these histories: the federation's, and one that somebody began beside it. */
export const EPOCHS = {
  first: "11111111-1111-4111-8111-111111111111",
  second: "22222222-2222-4222-8222-222222222222",
  third: "33333333-3333-4333-8333-333333333333",
  beside: "bbbbbbbb-2222-4222-8222-222222222222",
} as const;

/** Of the servers of the rig, unless they are told else. */
const SEGMENT_BYTES = 1024n * 1024n;

const LEDGER_EPOCHS = `
  create table ledger_epochs (
    number bigint primary key, uuid uuid not null unique, timeline integer, switch_lsn pg_lsn,
    primary_node text, reason text, at timestamptz not null default now())`;

/** Writes an epoch's row, as the first thing on a new primary. */
async function writeEpoch(server: RigServer, number: number, uuid: string): Promise<void> {
  await server.sql(
    `insert into ledger_epochs (number, uuid, timeline)
     values ($1, $2, ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int)`,
    [number, uuid],
    "ledger",
  );
}

/** Writes rows; each takes about a hundred bytes of WAL. */
export async function writeRows(server: RigServer, count: number): Promise<void> {
  await server.sql("insert into rows (text) select md5(n::text) from generate_series(1, $1) as n", [count], "ledger");
}

/** Ends the segment that is being written. */
export async function endSegment(server: RigServer): Promise<void> {
  await server.sql("select pg_switch_wal()");
}

/** A primary of epoch 1 whose database has what recovery reads, and some rows. */
export async function makeOrigin(rig: PostgresRig, name: string, options: PrimaryOptions): Promise<RigServer> {
  // All WAL since the beginning stays, for whoever was away longest.
  const origin = await rig.primary(name, { ...options, settings: { wal_keep_size: "256MB", ...options.settings } });
  await origin.sql("create database ledger");
  await origin.sql(LEDGER_EPOCHS, [], "ledger");
  await origin.sql("create table rows (id bigint generated always as identity, text text)", [], "ledger");
  await writeEpoch(origin, 1, EPOCHS.first);
  return origin;
}

/** Stops all processes of a server until it is disposed of: what is on its disk is what a kill at this moment would leave. */
async function holdStill(server: RigServer): Promise<Disposable> {
  const held = new Map<number, ProcessIdentity>();
  const letGo = (): void => {
    for (const identity of held.values()) signalProcess(identity, "SIGCONT");
  };
  try {
    // Once more, for what its main process began before it was stopped itself.
    for (let round = 0; round < 2; round += 1) {
      for (const identity of await findLeftovers(server.dataDir)) {
        held.set(identity.pid, identity);
        signalProcess(identity, "SIGSTOP");
      }
    }
  } catch (error) {
    letGo();
    throw error;
  }
  return { [Symbol.dispose]: letGo };
}

async function receivedBy(standby: RigServer): Promise<Lsn> {
  const [row] = await standby.sql<{ lsn: string }>("select pg_last_wal_receive_lsn()::text as lsn");
  return parseLsn(row?.lsn ?? "");
}

/** Whether a server that stands still has a record on its disk that begins at a position of its first timeline or later. */
function hasRecordAfter(rig: PostgresRig, server: RigServer, lsn: Lsn): boolean {
  const args = ["-p", join(server.dataDir, "pg_wal"), "-t", "1", "-s", formatLsn(lsn), "-n", "1"];
  const { uid, gid } = rig.user;
  const how = { cwd: "/", uid, gid, encoding: "utf8", env: { LC_ALL: "C" } } as const;
  const { error, stdout, stderr } = spawnSync(join(PG_BIN_DIR, "pg_waldump"), args, how);
  if (error !== undefined) throw error;
  if (stdout === "" && !stderr.includes("could not find")) throw new Error(`pg_waldump: ${stderr}`);
  return stdout !== "";
}

/**
 * Holds a primary still at a moment at which its standbys have all that it wrote. It writes by itself, too, every fifteen
 * seconds or so: where it did that in between, another moment is waited for.
 * @param atSegmentStart whether its log is to end at the beginning of a segment then
 */
export async function holdInStep(
  rig: PostgresRig,
  primary: RigServer,
  standbys: readonly RigServer[],
  atSegmentStart = false,
): Promise<Disposable> {
  return await until(`${primary.name} and its standbys are in step`, async () => {
    if (atSegmentStart) await endSegment(primary);
    for (const { name } of standbys) await rig.streaming(primary, name);
    using hold = new DisposableStack();
    const held = hold.use(await holdStill(primary));
    const [end, ...others] = await Promise.all(standbys.map(receivedBy));
    if (end === undefined || others.some((lsn) => lsn !== end) || hasRecordAfter(rig, primary, end)) return null;
    if (atSegmentStart && end % SEGMENT_BYTES !== 0n) return null;
    hold.move();
    return held;
  });
}

/** Cuts a standby off. @returns the end of what it has */
export async function cutOff(standby: RigServer): Promise<Lsn> {
  standby.set({ primary_conninfo: "", primary_slot_name: "" });
  await standby.site.reload();
  await until(`${standby.name} receives nothing`, async () => {
    const rows = await standby.sql("select from pg_stat_wal_receiver");
    const settings = await standby.sql<{ value: string }>("select current_setting('primary_conninfo') as value");
    return rows.length === 0 && settings[0]?.value === "";
  });
  return await replayedAll(standby);
}

async function replayedAll(standby: RigServer): Promise<Lsn> {
  return await until(`${standby.name} has replayed all`, async () => {
    const [row] = await standby.sql<{ received: string | null; replayed: string }>(
      "select pg_last_wal_receive_lsn()::text as received, pg_last_wal_replay_lsn()::text as replayed",
    );
    const isDone = row !== undefined && (row.received === null || parseLsn(row.replayed) >= parseLsn(row.received));
    return isDone ? parseLsn(row.replayed) : null;
  });
}

/** Makes a standby a primary, which writes its epoch. */
export async function promote(standby: RigServer, number: number, uuid: string | null): Promise<void> {
  await standby.sql("select pg_promote()");
  if (uuid !== null) await writeEpoch(standby, number, uuid);
}

/** Makes a stopped server's data a standby's that follows nobody. */
export function makeStandby(
  rig: PostgresRig,
  server: RigServer,
  settings: Readonly<Record<string, string>> = {},
): void {
  rig.write(`${server.dataDir}/standby.signal`, "");
  server.configure(settings);
}

/** Runs a script of the shell in a server's data directory, as the servers' user would leave it. */
export function damage(rig: PostgresRig, server: RigServer, script: string): void {
  execFileSync("sh", ["-ec", script], {
    cwd: server.rootDir,
    uid: rig.user.uid,
    gid: rig.user.gid,
    stdio: ["ignore", "ignore", "pipe"],
  });
}

/** The histories of a ledger that lost its primary, each as a stopped server. */
export interface History {
  /** Where the new primary left the old timeline. */
  readonly forkLsn: Lsn;
  /** The new primary, of epoch 2 on timeline 2; it runs. */
  readonly primary: RigServer;
  readonly states: ReadonlyMap<string, RigServer>;
}

/** Takes copies of stopped servers. */
class Album {
  readonly states = new Map<string, RigServer>();
  readonly #rig: PostgresRig;
  readonly #prefix: string;

  constructor(rig: PostgresRig, prefix: string) {
    this.#rig = rig;
    this.#prefix = prefix;
  }

  /** Stops the server so, and keeps its data under a name. */
  async take(server: RigServer, name: string, how: "fast" | "immediate" = "fast"): Promise<RigServer> {
    await server.stop(how);
    const copy = await this.#rig.copyOf(server, `${this.#prefix}${name}`);
    this.states.set(name, copy);
    return copy;
  }

  /** Keeps the data as they would be, had the server been killed at this moment. */
  async freeze(server: RigServer, name: string): Promise<void> {
    using _ = await holdStill(server);
    await this.keep(server, name);
  }

  /** The same of a server that stands still. */
  async keep(server: RigServer, name: string): Promise<void> {
    const copy = await this.#rig.copyOf(server, `${this.#prefix}${name}`);
    rmSync(join(copy.dataDir, "postmaster.pid"), { force: true });
    this.states.set(name, copy);
  }
}

/** How a history is to go. */
export interface HistoryOptions extends PrimaryOptions {
  /** Whether the fork falls on the beginning of a segment. */
  readonly atSegmentStart: boolean;
  /** Called with the new primary before its first checkpoint. */
  readonly beforeCheckpoint?: (history: History) => Promise<void>;
}

/**
 * Lets a primary write, cuts the standby that is to succeed it off, lets the old primary and another standby go on, and
 * promotes. On the way it keeps the data of whoever will want to come back.
 */
export async function makeHistory(rig: PostgresRig, prefix: string, options: HistoryOptions): Promise<History> {
  const album = new Album(rig, prefix);
  const old = await makeOrigin(rig, `${prefix}old`, options);
  const heir = await rig.standby(old, `${prefix}heir`, { wal_keep_size: "256MB" });
  const other = await rig.standby(old, `${prefix}other`);
  const both = async (): Promise<void> => {
    await rig.streaming(old, heir.name);
    await rig.streaming(old, other.name);
  };
  await writeRows(old, 2_000);
  await both();
  await album.take(other, "far");
  await other.start();
  for (let segment = 0; segment < 3; segment += 1) {
    await writeRows(old, 3_000);
    await endSegment(old);
  }
  await old.sql("checkpoint");
  await writeRows(old, 500);
  await both();
  await album.freeze(other, "near-crashed");
  await album.take(other, "near");
  await other.start();
  await endSegment(old);
  await writeRows(old, 700);
  const forkLsn = await fork(rig, album, { old, heir, other }, options.atSegmentStart);
  await leaveOldSide(rig, album, old, other);
  await promote(heir, 2, EPOCHS.second);
  const history = { forkLsn, primary: heir, states: album.states };
  await options.beforeCheckpoint?.(history);
  await heir.sql("checkpoint");
  return history;
}

/** Who parts at the fork. */
interface Parting {
  readonly old: RigServer;
  readonly heir: RigServer;
  readonly other: RigServer;
}

/** Cuts the heir off, and keeps what the others have at that moment. @returns the end of what all three have */
async function fork(
  rig: PostgresRig,
  album: Album,
  { old, heir, other }: Parting,
  atSegmentStart: boolean,
): Promise<Lsn> {
  using _ = await holdInStep(rig, old, [heir, other], atSegmentStart);
  const forkLsn = await cutOff(heir);
  await album.keep(old, "old-0");
  await album.take(other, "at-fork");
  // The sender of its last life, which stands still, has its slot: it would be refused, and not ask again while it is paused.
  other.set({ primary_slot_name: "" });
  await other.start();
  await replayNoMore(other);
  return forkLsn;
}

/** From now on a standby receives, and replays nothing. */
async function replayNoMore(standby: RigServer): Promise<void> {
  // One that is paused asks for no log any more: where nobody receives yet, nobody ever would.
  await until(`${standby.name} has a WAL receiver`, async () => {
    const rows = await standby.sql("select from pg_stat_activity where backend_type = 'walreceiver'");
    return rows.length === 1;
  });
  await standby.sql("select pg_wal_replay_pause()");
}

/** What the old primary and its other standby do after the fork. */
async function leaveOldSide(rig: PostgresRig, album: Album, old: RigServer, other: RigServer): Promise<void> {
  await writeRows(old, 1);
  await album.freeze(old, "old-1");
  await writeRows(old, 499);
  await until("the other standby has received what came after the fork", async () => {
    const [row] = await old.sql<{ done: boolean }>(
      "select flush_lsn >= pg_current_wal_flush_lsn() as done from pg_stat_replication where application_name = $1",
      [other.name],
    );
    return row?.done === true;
  });
  await album.freeze(other, "received-crashed");
  await album.take(other, "received");
  // Started again, it replays what it has.
  await other.start();
  await rig.streaming(old, other.name);
  await album.freeze(other, "replayed-crashed");
  await album.take(other, "replayed");
  // Now all that it replayed is in its data files.
  await other.start();
  await rig.streaming(old, other.name);
  await album.freeze(other, "replayed-settled");
  await album.freeze(old, "old-500");
  await endSegment(old);
  await old.sql("checkpoint");
  await writeRows(old, 50);
  await album.freeze(old, "old-moved");
  await album.take(old, "old-stopped");
}
