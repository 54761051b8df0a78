import { DatabaseSync, type StatementSync } from "node:sqlite";

/** A block that this node holds. */
export interface BookedHold {
  /** CIDv1, as text. */
  readonly cid: string;
  /** When its lease is over: milliseconds since 1970. */
  readonly untilMs: number;
}

/** What this node holds by pins of its own, and until when: a file, so that a restart forgets nothing. */
export interface HoldBook extends Disposable {
  /** Writes down a hold; one that is there lasts until the later of both times. */
  note(hold: BookedHold): void;
  /** What is to be looked at by now, longest overdue first. */
  due(nowMs: number, limit: number): readonly BookedHold[];
  /** When the block's lease is over; null where it is not held. */
  untilOf(cid: string): number | null;
  /** Looks at a hold no sooner than this. */
  postpone(cid: string, lookMs: number): void;
  end(cid: string): void;
  count(): number;
}

const SCHEMA = `
  pragma journal_mode = wal;
  pragma synchronous = normal;
  create table if not exists holds (
    cid text primary key,
    until_ms integer not null,
    look_ms integer not null
  ) strict, without rowid;
  create index if not exists holds_look on holds (look_ms);
`;

function numberOf(row: Record<string, unknown> | undefined, name: string): number | null {
  const value = row?.[name];
  return typeof value === "number" ? value : null;
}

class SqliteHoldBook implements HoldBook {
  readonly #database: DatabaseSync;
  readonly #statements: Readonly<Record<"note" | "due" | "until" | "postpone" | "end" | "count", StatementSync>>;

  constructor(path: string) {
    this.#database = new DatabaseSync(path);
    this.#database.exec(SCHEMA);
    // Much may have changed since somebody looked: after a stop of hours nothing is to wait once more.
    this.#database.exec("update holds set look_ms = 0");
    const prepare = (sql: string): StatementSync => this.#database.prepare(sql);
    this.#statements = {
      note: prepare(`
        insert into holds (cid, until_ms, look_ms) values (?, ?, 0)
        on conflict (cid) do update set until_ms = max(until_ms, excluded.until_ms), look_ms = 0`),
      due: prepare("select cid, until_ms from holds where look_ms <= ? order by look_ms limit ?"),
      until: prepare("select until_ms from holds where cid = ?"),
      postpone: prepare("update holds set look_ms = ? where cid = ?"),
      end: prepare("delete from holds where cid = ?"),
      count: prepare("select count(*) as holds from holds"),
    };
  }

  note({ cid, untilMs }: BookedHold): void {
    this.#statements.note.run(cid, Math.trunc(untilMs));
  }

  due(nowMs: number, limit: number): readonly BookedHold[] {
    const rows = this.#statements.due.all(Math.trunc(nowMs), limit);
    return rows.map((row) => ({ cid: String(row["cid"]), untilMs: Number(row["until_ms"]) }));
  }

  untilOf(cid: string): number | null {
    return numberOf(this.#statements.until.get(cid), "until_ms");
  }

  postpone(cid: string, lookMs: number): void {
    this.#statements.postpone.run(Math.trunc(lookMs), cid);
  }

  end(cid: string): void {
    this.#statements.end.run(cid);
  }

  count(): number {
    return numberOf(this.#statements.count.get(), "holds") ?? 0;
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }
}

/** Opens the book, creating it where there is none. @param path a file below `state/` */
export function openHoldBook(path: string): HoldBook {
  return new SqliteHoldBook(path);
}
