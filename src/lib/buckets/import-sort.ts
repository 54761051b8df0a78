import { DatabaseSync, type StatementSync } from "node:sqlite";
import * as dagCbor from "@ipld/dag-cbor";
import { FulaError } from "../kernel/errors.ts";
import { entryFromTuple, entryToTuple } from "./tree/entry-codec.ts";
import type { ObjectEntry } from "./tree/object-entry.ts";

/** A key and what is kept of its object. */
export interface KeyedEntry {
  readonly key: string;
  readonly entry: ObjectEntry;
}

/**
 * Puts the objects of a bucket in order, whatever order they come in. They lie in an unnamed temporary file that vanishes
 * with the process: memory does not grow with the bucket.
 */
export class EntrySort implements Disposable {
  readonly #db: DatabaseSync;
  readonly #insert: StatementSync;
  readonly #bucket: string;
  count = 0;
  bytes = 0n;

  constructor(bucket: string) {
    this.#bucket = bucket;
    this.#db = new DatabaseSync("");
    this.#db.exec("pragma journal_mode = off; pragma synchronous = off; pragma cache_size = -16000");
    // Blobs are compared byte by byte, as keys of an index are.
    this.#db.exec("create table object (key blob primary key, entry blob not null) strict, without rowid");
    this.#db.exec("begin");
    this.#insert = this.#db.prepare("insert or ignore into object (key, entry) values (?, ?)");
  }

  /** @throws FulaError FULA_BUCKET_IMPORT_REFUSED for a key that came before: nobody can say which of the two it is */
  add({ key, entry }: KeyedEntry): void {
    const { changes } = this.#insert.run(Buffer.from(key), dagCbor.encode(entryToTuple(entry)));
    if (changes !== 1) {
      throw new FulaError(
        "FULA_BUCKET_IMPORT_REFUSED",
        `Bucket ${this.#bucket} has the key ${JSON.stringify(key)} twice.`,
        { hint: "its index is damaged; import an older root of it, or copy its objects one by one." },
      );
    }
    this.count += 1;
    this.bytes += BigInt(entry.sizeBytes);
  }

  /** All of them, in order of their keys' bytes. May be gone through several times, also at once. */
  *inOrder(): Generator<KeyedEntry> {
    const rows = this.#db.prepare("select key, entry from object order by key").iterate();
    for (const { key, entry } of rows) {
      if (!(key instanceof Uint8Array) || !(entry instanceof Uint8Array)) throw new Error("a sort lost its columns");
      const tuple: unknown = dagCbor.decode(entry);
      if (!Array.isArray(tuple)) throw new Error("a sort gave back something else than it was given");
      yield { key: Buffer.from(key).toString("utf8"), entry: entryFromTuple(tuple) };
    }
  }

  [Symbol.dispose](): void {
    this.#db.close();
  }
}
