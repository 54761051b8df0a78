import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Clock } from "../kernel/clock.ts";
import { ensureDir, explainWriteError, SECRET_FILE_MODE } from "../kernel/files.ts";
import { AlertOutbox } from "./alert-outbox.ts";
import { ClusterMembers } from "./cluster-members.ts";
import { SweepBatch } from "./sweep-batch.ts";
import { SweepFindings } from "./sweep-findings.ts";
import { SweepTroubles } from "./sweep-troubles.ts";

const SCHEMA_VERSION = 2;
const SCHEMA = `
  create table if not exists finding (
    cid text primary key,
    name text not null,
    verdict text not null,
    pinned integer not null,
    under_way integer not null,
    required integer not null,
    reason text not null,
    since_ms integer not null,
    run integer not null,
    alerted text
  ) strict, without rowid;
  create index if not exists finding_by_run on finding (run, verdict);
  create table if not exists trouble (
    kind text not null,
    id text not null,
    name text not null,
    problem text not null,
    reason text not null,
    since_ms integer not null,
    run integer not null,
    alerted text,
    primary key (kind, id)
  ) strict, without rowid;
  create table if not exists member (
    id text primary key,
    name text not null,
    forgotten integer not null
  ) strict, without rowid;
  create table if not exists outbox (number integer primary key autoincrement, line text not null) strict;
  pragma user_version = ${SCHEMA_VERSION};
`;

function openDatabase(path: string): DatabaseSync {
  const db = new DatabaseSync(path);
  try {
    db.exec("pragma journal_mode = wal; pragma synchronous = normal");
    const version = Number(db.prepare("pragma user_version").get()?.["user_version"]);
    if (version > SCHEMA_VERSION) throw new Error(`findings of version ${version}`);
    db.exec(SCHEMA);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/**
 * What sweeps remember from run to run, on the disk, so that a pinset that is bad all over costs no memory. Only the
 * holder of the sweep lock opens it. Losing it costs no more than alerts that are given again.
 */
export class SweepMemory implements AsyncDisposable {
  /** Pins that are not well. */
  readonly findings: SweepFindings;
  /** Peers that cannot be counted on, and what ledger and pinset disagree about. */
  readonly troubles: SweepTroubles;
  /** Who belonged to the cluster. */
  readonly members: ClusterMembers;
  /** Alerts that the alert command has not taken yet. */
  readonly outbox: AlertOutbox;
  readonly #db: DatabaseSync;
  readonly #batch: SweepBatch;

  private constructor(db: DatabaseSync) {
    const last = db
      .prepare("select max(run) as last from (select run from finding union all select run from trouble)")
      .get();
    const run = Number(last?.["last"] ?? 0) + 1;
    this.#db = db;
    this.#batch = new SweepBatch(db);
    this.findings = new SweepFindings(this.#batch, run);
    this.troubles = new SweepTroubles(this.#batch, run);
    this.members = new ClusterMembers(this.#batch);
    this.outbox = new AlertOutbox(this.#batch);
  }

  /** Opens it and begins a new run. A file that cannot be read is set aside. @throws FulaError FULA_PATH_NOT_WRITABLE, FULA_DISK_FULL */
  static async open(path: string, clock: Clock): Promise<SweepMemory> {
    await ensureDir(dirname(path));
    try {
      // SQLite would make it readable for everybody; names of pins are nobody else's business.
      await (await open(path, "a", SECRET_FILE_MODE)).close();
      try {
        return new SweepMemory(openDatabase(path));
      } catch {
        await rename(path, `${path}.unreadable-${clock.nowMs()}`);
        for (const suffix of ["-wal", "-shm"]) await rm(`${path}${suffix}`, { force: true });
        return new SweepMemory(openDatabase(path));
      }
    } catch (error) {
      throw explainWriteError(error, path);
    }
  }

  /** A memory that vanishes when it is closed, for a run that must leave no trace. */
  static temporary(): SweepMemory {
    return new SweepMemory(openDatabase(""));
  }

  commit(): void {
    this.#batch.commit();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#batch.commit();
    this.#db.close();
    await Promise.resolve();
  }
}
