import type { SQLOutputValue } from "node:sqlite";
import type { SweepBatch } from "./sweep-batch.ts";

/** What a trouble is about: a peer (`id` is its peer id), or a CID of the ledger. */
export type TroubleKind = "peer" | "ledger";

/** Something other than a pin that is not as it should be, remembered from run to run. */
export interface Trouble {
  readonly id: string;
  readonly name: string;
  /** A short fixed word; `none` for what turned out to be well. */
  readonly problem: string;
  readonly reason: string;
  /** Since when, milliseconds since the epoch. */
  readonly sinceMs: number;
  /** The problem that was last alerted; null = nothing yet. */
  readonly alerted: string | null;
}

function troubleOf(row: Record<string, SQLOutputValue>): Trouble {
  const alerted = row["alerted"];
  return {
    id: String(row["id"]),
    name: String(row["name"]),
    problem: String(row["problem"]),
    reason: String(row["reason"]),
    sinceMs: Number(row["since_ms"]),
    alerted: typeof alerted === "string" ? alerted : null,
  };
}

/** What sweeps found wrong beside the pins. */
export class SweepTroubles {
  readonly #batch: SweepBatch;
  readonly #run: number;

  constructor(batch: SweepBatch, run: number) {
    this.#batch = batch;
    this.#run = run;
  }

  /** Notes it in this run; what was there before keeps since when. */
  note(kind: TroubleKind, { id, name, problem, reason }: Omit<Trouble, "sinceMs" | "alerted">, nowMs: number): void {
    this.#batch.write(
      `insert into trouble (kind, id, name, problem, reason, since_ms, run) values (?, ?, ?, ?, ?, ?, ?)
       on conflict (kind, id) do update
          set name = excluded.name, problem = excluded.problem, reason = excluded.reason, run = excluded.run`,
      kind,
      id,
      name,
      problem,
      reason,
      nowMs,
      this.#run,
    );
  }

  /** Troubles of this run, in the order of their ids. Others may be noted and alerted while it is read. */
  *ofThisRun(kind: TroubleKind): Generator<Trouble> {
    yield* this.#paged("run = ?", kind);
  }

  /** Troubles of earlier runs that this one did not meet again. */
  *cleared(kind: TroubleKind): Generator<Trouble> {
    yield* this.#paged("run < ?", kind);
  }

  *#paged(where: string, kind: TroubleKind): Generator<Trouble> {
    const rows = this.#batch.paged(
      `select * from trouble where kind = ? and ${where} and id > ?`,
      "id",
      "",
      kind,
      this.#run,
    );
    for (const row of rows) yield troubleOf(row);
  }

  markAlerted(kind: TroubleKind, id: string, problem: string): void {
    this.#batch.write("update trouble set alerted = ? where kind = ? and id = ?", problem, kind, id);
  }

  forget(kind: TroubleKind, id: string): void {
    this.#batch.write("delete from trouble where kind = ? and id = ?", kind, id);
  }
}
