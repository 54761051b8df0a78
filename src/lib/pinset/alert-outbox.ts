import type { SweepBatch } from "./sweep-batch.ts";

/** Alerts that wait for the alert command to take them: a command that fails gets them again after the next sweep. */
export class AlertOutbox {
  readonly #batch: SweepBatch;

  constructor(batch: SweepBatch) {
    this.#batch = batch;
  }

  /** @param line one JSON line, without its newline */
  add(line: string): void {
    this.#batch.write("insert into outbox (line) values (?)", line);
  }

  count(): number {
    return this.#batch.count("select count(*) as rows from outbox");
  }

  /** The lines in the order in which they were added, each with its newline. */
  *lines(): Generator<string> {
    const rows = this.#batch.paged("select number, line from outbox where number > ?", "number", 0);
    for (const row of rows) yield `${String(row["line"])}\n`;
  }

  /** Forgets all of them: they have been taken. */
  clear(): void {
    this.#batch.write("delete from outbox");
    this.#batch.commit();
  }
}
