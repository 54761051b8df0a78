import type { SQLOutputValue } from "node:sqlite";
import type { JudgedPin, PinVerdict } from "./judge-pin.ts";
import type { SweepBatch } from "./sweep-batch.ts";

/** A pin that is not well, remembered from run to run so that it is alerted once and told when it is well again. */
export interface Finding extends JudgedPin {
  readonly cid: string;
  readonly name: string;
  /** Since when it has not been well, milliseconds since the epoch. */
  readonly sinceMs: number;
  /** What was last alerted about it; null = nothing yet. */
  readonly alerted: PinVerdict | null;
}

const VERDICTS: readonly PinVerdict[] = ["ok", "pinning", "under", "lost", "expired", "awaited"];

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

/** The pins that sweeps found not well. */
export class SweepFindings {
  readonly #batch: SweepBatch;
  readonly #run: number;

  constructor(batch: SweepBatch, run: number) {
    this.#batch = batch;
    this.#run = run;
  }

  /** Notes how a pin stands in this run; a pin that was not well before keeps since when. */
  note(cid: string, name: string, judged: JudgedPin, nowMs: number): void {
    const { verdict, pinned, underWay, required, reason } = judged;
    this.#batch.write(
      `insert into finding (cid, name, verdict, pinned, under_way, required, reason, since_ms, run)
       values (?, ?, ?, ?, ?, ?, ?, ?, ?)
       on conflict (cid) do update
          set name = excluded.name, verdict = excluded.verdict, pinned = excluded.pinned,
              under_way = excluded.under_way, required = excluded.required, reason = excluded.reason,
              run = excluded.run`,
      cid,
      name,
      verdict,
      pinned,
      underWay,
      required,
      reason,
      nowMs,
      this.#run,
    );
  }

  /** Null where it is not among them. */
  get(cid: string): Finding | null {
    const [row] = this.#batch.rows("select * from finding where cid = ?", cid);
    return row === undefined ? null : findingOf(row);
  }

  /** How many pins of this run have that verdict. */
  count(verdict: PinVerdict): number {
    return this.#batch.count("select count(*) as rows from finding where run = ? and verdict = ?", this.#run, verdict);
  }

  /** Findings of this run, in the order of their CIDs. Others may be noted and alerted while it is read. */
  *ofThisRun(): Generator<Finding> {
    yield* this.#paged("run = ?");
  }

  /** Findings of earlier runs that this one did not meet again. */
  *cleared(): Generator<Finding> {
    yield* this.#paged("run < ?");
  }

  *#paged(where: string): Generator<Finding> {
    const rows = this.#batch.paged(`select * from finding where ${where} and cid > ?`, "cid", "", this.#run);
    for (const row of rows) yield findingOf(row);
  }

  markAlerted(cid: string, verdict: PinVerdict): void {
    this.#batch.write("update finding set alerted = ? where cid = ?", verdict, cid);
  }

  /** Forgets a pin that is well again or gone. */
  forget(cid: string): void {
    this.#batch.write("delete from finding where cid = ?", cid);
  }
}
