import { DatabaseSync, type StatementSync } from "node:sqlite";

/** How many entries are held in memory before the rest goes to a temporary file: about 30 MB of them. */
const ENTRIES_IN_MEMORY_MAX = 200_000;

/**
 * Remembers which nodes a walk has seen. Memory is bounded: past a limit it goes on in an unnamed temporary database
 * file that vanishes when it is closed, so a walk stays exact however large the graph is. Forgetting instead would
 * let a crafted graph of shared nodes be walked for ever.
 */
export class VisitedSet implements Disposable {
  readonly #entriesInMemoryMax: number;
  readonly #memory = new Set<string>();
  #spill: { readonly db: DatabaseSync; readonly insert: StatementSync } | null = null;

  constructor(entriesInMemoryMax: number = ENTRIES_IN_MEMORY_MAX) {
    this.#entriesInMemoryMax = entriesInMemoryMax;
  }

  /** Adds an entry. @returns false where it was there already. */
  add(entry: Uint8Array): boolean {
    const key = Buffer.from(entry.buffer, entry.byteOffset, entry.byteLength).toString("latin1");
    if (this.#memory.has(key)) return false;
    if (this.#memory.size < this.#entriesInMemoryMax) {
      this.#memory.add(key);
      return true;
    }
    return this.#spilled().run(entry).changes === 1;
  }

  #spilled(): StatementSync {
    if (this.#spill === null) {
      // The empty name makes SQLite keep the database in a file that is already unlinked.
      const db = new DatabaseSync("");
      db.exec("pragma journal_mode = off; pragma synchronous = off; pragma cache_size = -8000");
      db.exec("create table seen (entry blob primary key) strict, without rowid");
      this.#spill = { db, insert: db.prepare("insert or ignore into seen (entry) values (?)") };
    }
    return this.#spill.insert;
  }

  [Symbol.dispose](): void {
    this.#memory.clear();
    this.#spill?.db.close();
    this.#spill = null;
  }
}
