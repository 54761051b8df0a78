import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { DatabaseSync, type SQLOutputValue } from "node:sqlite";
import type { Clock } from "../kernel/clock.ts";
import { ensureDir, explainWriteError, SECRET_FILE_MODE } from "../kernel/files.ts";
import type { JudgedPin, PinVerdict } from "./judge-pin.ts";

/** A pin that is not well, remembered from run to run so that it is alerted once and told when it is well again. */
export interface Finding extends JudgedPin {
  readonly cid: string;
  readonly name: string;
  /** Since when it has not been well, milliseconds since the epoch. */
  readonly sinceMs: number;
  /** What was last alerted about it; null = nothing yet. */
  readonly alerted: PinVerdict | null;
}

/** Written lines a transaction. */
const NOTES_PER_TRANSACTION = 1_000;

const SCHEMA_VERSION = 1;
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
  pragma user_version = ${SCHEMA_VERSION};
`;

const VERDICTS: readonly PinVerdict[] = ["ok", "pinning", "under", "lost", "expired"];

function verdictOf(value: SQLOutputValue | undefined): PinVerdict | null {
  return VERDICTS.find((verdict) => verdict === value) ?? null;
}

function findingOf(row: Record<string, SQLOutputValue>): Finding {
  return {
    cid: String(row["cid"]),
    name: String(row["name"]),
    verdict: verdictOf(row["verdict"]) ?? "lost",
    pinned: Number(row["pinned"]),
    underWay: Number(row["under_way"]),
    required: Number(row["required"]),
    reason: String(row["reason"]),
    sinceMs: Number(row["since_ms"]),
    alerted: verdictOf(row["alerted"]),
  };
}

function openDatabase(path: string): DatabaseSync {
  const db = new DatabaseSync(path);
  try {
    db.exec("pragma journal_mode = wal; pragma synchronous = normal");
    const version = db.prepare("pragma user_version").get()?.["user_version"];
    if (version !== 0 && version !== SCHEMA_VERSION) throw new Error(`findings of version ${String(version)}`);
    db.exec(SCHEMA);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/**
 * The findings of sweeps, on the disk, so that a pinset that is bad all over costs no memory. Only the holder of the
 * sweep lock opens it. Losing it costs no more than alerts that are given again.
 */
export class SweepFindings implements AsyncDisposable {
  readonly #db: DatabaseSync;
  readonly #run: number;
  #uncommitted = 0;

  private constructor(db: DatabaseSync) {
    this.#db = db;
    const last = Number(db.prepare("select max(run) as last from finding").get()?.["last"] ?? 0);
    this.#run = last + 1;
  }

  /** Opens the findings and begins a new run. A file that cannot be read is set aside. @throws FulaError FULA_PATH_NOT_WRITABLE, FULA_DISK_FULL */
  static async open(path: string, clock: Clock): Promise<SweepFindings> {
    await ensureDir(dirname(path));
    try {
      // SQLite would make it readable for everybody; names of pins are nobody else's business.
      await (await open(path, "a", SECRET_FILE_MODE)).close();
      try {
        return new SweepFindings(openDatabase(path));
      } catch {
        await rename(path, `${path}.unreadable-${clock.nowMs()}`);
        for (const suffix of ["-wal", "-shm"]) await rm(`${path}${suffix}`, { force: true });
        return new SweepFindings(openDatabase(path));
      }
    } catch (error) {
      throw explainWriteError(error, path);
    }
  }

  /** Findings that vanish when they are closed, for a run that must leave no trace. */
  static temporary(): SweepFindings {
    return new SweepFindings(openDatabase(""));
  }

  /** Notes how a pin stands in this run; a pin that was not well before keeps since when. */
  note(cid: string, name: string, judged: JudgedPin, nowMs: number): void {
    if (this.#uncommitted === 0) this.#db.exec("begin immediate");
    this.#db
      .prepare(
        `insert into finding (cid, name, verdict, pinned, under_way, required, reason, since_ms, run)
         values (?, ?, ?, ?, ?, ?, ?, ?, ?)
         on conflict (cid) do update
            set name = excluded.name, verdict = excluded.verdict, pinned = excluded.pinned,
                under_way = excluded.under_way, required = excluded.required, reason = excluded.reason,
                run = excluded.run`,
      )
      .run(cid, name, judged.verdict, judged.pinned, judged.underWay, judged.required, judged.reason, nowMs, this.#run);
    this.#uncommitted += 1;
    if (this.#uncommitted >= NOTES_PER_TRANSACTION) this.commit();
  }

  /** How many pins of this run have that verdict. */
  count(verdict: PinVerdict): number {
    const row = this.#db
      .prepare("select count(*) as pins from finding where run = ? and verdict = ?")
      .get(this.#run, verdict);
    return Number(row?.["pins"]);
  }

  /** Findings of this run, in the order of their CIDs. Others may be noted and alerted while it is read. */
  *ofThisRun(): Generator<Finding> {
    yield* this.#paged("run = ? and cid > ?", this.#run);
  }

  /** Findings of earlier runs that this one did not meet again. */
  *cleared(): Generator<Finding> {
    yield* this.#paged("run < ? and cid > ?", this.#run);
  }

  *#paged(where: string, run: number): Generator<Finding> {
    this.commit();
    const page = this.#db.prepare(`select * from finding where ${where} order by cid limit 500`);
    for (let after: string | null = ""; after !== null; ) {
      const rows: Record<string, SQLOutputValue>[] = page.all(run, after);
      after = null;
      for (const row of rows) {
        const finding = findingOf(row);
        after = finding.cid;
        yield finding;
      }
    }
  }

  markAlerted(cid: string, verdict: PinVerdict): void {
    if (this.#uncommitted === 0) this.#db.exec("begin immediate");
    this.#db.prepare("update finding set alerted = ? where cid = ?").run(verdict, cid);
    this.#uncommitted += 1;
    if (this.#uncommitted >= NOTES_PER_TRANSACTION) this.commit();
  }

  /** Forgets a pin that is well again or gone. */
  forget(cid: string): void {
    if (this.#uncommitted === 0) this.#db.exec("begin immediate");
    this.#db.prepare("delete from finding where cid = ?").run(cid);
    this.#uncommitted += 1;
    if (this.#uncommitted >= NOTES_PER_TRANSACTION) this.commit();
  }

  commit(): void {
    if (this.#uncommitted === 0) return;
    this.#db.exec("commit");
    this.#uncommitted = 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.commit();
    this.#db.close();
    await Promise.resolve();
  }
}
