import type { DatabaseSync, SQLInputValue, SQLOutputValue } from "node:sqlite";

/** Written rows a transaction. */
const WRITES_PER_TRANSACTION = 1_000;

/** Rows that are read at once. */
const PAGE_ROWS = 500;

/** Writes many small rows with few transactions, and reads long lists in pages while they are written to. */
export class SweepBatch {
  readonly #db: DatabaseSync;
  #uncommitted = 0;

  constructor(db: DatabaseSync) {
    this.#db = db;
  }

  write(sql: string, ...values: readonly SQLInputValue[]): void {
    if (this.#uncommitted === 0) this.#db.exec("begin immediate");
    this.#db.prepare(sql).run(...values);
    this.#uncommitted += 1;
    if (this.#uncommitted >= WRITES_PER_TRANSACTION) this.commit();
  }

  commit(): void {
    if (this.#uncommitted === 0) return;
    this.#db.exec("commit");
    this.#uncommitted = 0;
  }

  count(sql: string, ...values: readonly SQLInputValue[]): number {
    return Number(this.rows(sql, ...values)[0]?.["rows"]);
  }

  rows(sql: string, ...values: readonly SQLInputValue[]): readonly Record<string, SQLOutputValue>[] {
    return this.#db.prepare(sql).all(...values);
  }

  /**
   * Gives the rows of a query whose last parameter is the value of `column` after which it goes on, in that order.
   * Others may be written while it is read.
   */
  *paged(
    sql: string,
    column: string,
    from: string | number,
    ...values: readonly SQLInputValue[]
  ): Generator<Record<string, SQLOutputValue>> {
    this.commit();
    const page = this.#db.prepare(`${sql} order by ${column} limit ${PAGE_ROWS}`);
    for (let after: SQLInputValue | undefined = from; after !== undefined; ) {
      const rows: Record<string, SQLOutputValue>[] = page.all(...values, after);
      after = undefined;
      for (const row of rows) {
        after = row[column];
        yield row;
      }
    }
  }
}
