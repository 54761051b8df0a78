import { DatabaseSync, type StatementSync } from "node:sqlite";
import type { CID } from "multiformats/cid";
import { parseCid } from "../blocks/cid.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import { type TransactionClient, withTransaction } from "../postgres/transaction.ts";
import { runAgainAfterDeadlock } from "./roots/move-run.ts";

/** A CID on the queue, as it was put there. */
export interface Candidate {
  /** The text of the queue, under which it was announced and pinned. */
  readonly cid: string;
  /** The database's own text of the time: exact to the microsecond, which a number of milliseconds is not. */
  readonly queuedAt: string;
}

/** What is said of the queue as a whole. */
export interface QueueFigures {
  readonly waiting: number;
  /** Seconds since the oldest was put there, by the database's clock; null where it is empty. */
  readonly oldestSeconds: number | null;
}

const CANDIDATES_PER_FETCH = 2_000;

/** Looks how much waits. */
export async function readQueueFigures(pool: Pool): Promise<QueueFigures> {
  const { rows } = await runQuery<{ waiting: string; oldest: number | null }>(pool, {
    name: "bucket_garbage_figures",
    text: `
      select count(*) as waiting, extract(epoch from clock_timestamp() - min(queued_at))::float8 as oldest
        from bucket_garbage`,
    values: [],
  });
  return { waiting: Number(rows[0]?.waiting ?? 0), oldestSeconds: rows[0]?.oldest ?? null };
}

/**
 * Reads what has been on the queue since before the grace time, by the database's clock, in pages: each a statement of
 * its own, so that no snapshot is held while roots are walked.
 */
export async function* readCandidates(pool: Pool, graceMs: number): AsyncGenerator<readonly Candidate[]> {
  let after = "";
  for (;;) {
    const { rows } = await runQuery<{ cid: string; queued_at: string }>(pool, {
      name: "bucket_garbage_page",
      text: `
        select cid, queued_at::text as queued_at from bucket_garbage
         where cid > $1 and queued_at <= clock_timestamp() - $2 * interval '1 millisecond'
         order by cid limit $3`,
      values: [after, graceMs, CANDIDATES_PER_FETCH],
    });
    const last = rows.at(-1);
    if (last === undefined) return;
    yield rows.map(({ cid, queued_at: queuedAt }) => ({ cid, queuedAt }));
    after = last.cid;
  }
}

/** Takes a candidate off the queue as long as nobody has announced it again. @returns whether it was still there */
async function takeOff(client: TransactionClient, { cid, queuedAt }: Candidate): Promise<boolean> {
  const { rowCount } = await client.query({
    name: "bucket_garbage_take",
    text: "delete from bucket_garbage where cid = $1 and queued_at = $2::timestamptz",
    values: [cid, queuedAt],
  });
  return rowCount === 1;
}

function promisedQuery(cid: string): { readonly name: string; readonly text: string; readonly values: unknown[] } {
  return {
    name: "bucket_garbage_promised",
    // By key, however it is written; rows of other software may have none yet.
    text: `
      select exists (select from pins where cid_key = $2 and status in ('queued', 'pinning', 'pinned'))
          or exists (select from pins where cid = any ($1) and status in ('queued', 'pinning', 'pinned')) as promised`,
    values: [spellings(cid), parseCid(cid).toV1().toString()],
  };
}

/** True where a user of the pinning API was promised this content: that promise is not the gateway's to break. */
async function isPromised(client: TransactionClient, cid: string): Promise<boolean> {
  const { rows } = await client.query<{ promised: boolean }>(promisedQuery(cid));
  return rows[0]?.promised === true;
}

/** The same for whoever only looks. @throws FulaError FULA_DATABASE_UNREACHABLE */
export async function readPromised(pool: Pool, cid: string): Promise<boolean> {
  const { rows } = await runQuery<{ promised: boolean }>(pool, promisedQuery(cid));
  return rows[0]?.promised === true;
}

/** Other ways to write the same CID that the fleet's tables hold. */
function spellings(text: string): readonly string[] {
  const cid = parseCid(text);
  if (cid.version === 1 && cid.code === 0x70 && cid.multihash.code === 0x12) return [text, cid.toV0().toString()];
  return cid.version === 0 ? [text, cid.toV1().toString()] : [text];
}

/**
 * Lets go of a candidate that nothing reaches: the row first, which a later announcement then has to wait for, and the
 * pin within the same transaction. A crash in between leaves the row, and the next run does it again.
 * @param unpin takes the gateway's pin away; returns false where there was none
 * @returns what became of it: `kept` where it was announced again or claimed meanwhile
 */
export async function letGo(
  pool: Pool,
  candidate: Candidate,
  unpin: () => Promise<boolean>,
): Promise<"unpinned" | "not-pinned" | "promised" | "kept"> {
  return await withTransaction(pool, async (client) => {
    if (!(await takeOff(client, candidate))) return "kept";
    if (await isPromised(client, candidate.cid)) return "promised";
    return (await unpin()) ? "unpinned" : "not-pinned";
  });
}

/** Takes candidates off the queue that a bucket refers to: whoever takes that reference away puts them there again. */
export async function takeOffReferenced(pool: Pool, candidates: readonly Candidate[]): Promise<number> {
  if (candidates.length === 0) return 0;
  const query = {
    name: "bucket_garbage_referenced",
    text: `
      delete from bucket_garbage g using unnest($1::text[], $2::text[]) as c (cid, queued_at)
       where g.cid = c.cid and g.queued_at = c.queued_at::timestamptz`,
    values: [candidates.map(({ cid }) => cid), candidates.map(({ queuedAt }) => queuedAt)],
  };
  const { rowCount } = await runAgainAfterDeadlock(async () => await runQuery(pool, query));
  return rowCount;
}

/**
 * What a walk has found of each candidate. Beyond a few megabytes it lies in an unnamed temporary file, so that neither
 * a long queue nor a large bucket decides how much memory a run takes. Blocks are compared by what they hash to: the
 * same bytes may be pinned under one codec and reached under another.
 */
export class CandidateSet implements Disposable {
  readonly #db: DatabaseSync;
  readonly #insert: StatementSync;
  readonly #mark: StatementSync;
  #size = 0;

  constructor() {
    // The empty name makes SQLite keep the database in a file that is already unlinked.
    this.#db = new DatabaseSync("");
    this.#db.exec("pragma journal_mode = off; pragma synchronous = off; pragma cache_size = -8000");
    this.#db.exec(`
      create table candidate (
        hash blob not null, cid text not null, queued_at text not null, found integer not null default 0,
        primary key (hash, cid)
      ) strict, without rowid`);
    this.#insert = this.#db.prepare("insert or ignore into candidate (hash, cid, queued_at) values (?, ?, ?)");
    this.#mark = this.#db.prepare("update candidate set found = ?1 where hash = ?2 and found < ?1");
  }

  get size(): number {
    return this.#size;
  }

  /** Adds one. @throws FulaError FULA_CID_INVALID for a text that is no CID */
  add({ cid, queuedAt }: Candidate): void {
    this.#insert.run(parseCid(cid).multihash.bytes, cid, queuedAt);
    this.#size += 1;
  }

  /**
   * Notes that a root reaches this block: one that is current, or one that was not long ago, or one that only names it.
   * @returns true where that is news of a candidate
   */
  mark(cid: CID, by: "current" | "recent" | "hidden"): boolean {
    const found = by === "current" ? REFERENCED : by === "hidden" ? HIDDEN : SPARED;
    return this.#mark.run(found, cid.multihash.bytes).changes > 0;
  }

  /** Candidates of one kind, in pages. */
  *of(kind: keyof typeof FOUND): Generator<readonly Candidate[]> {
    const found = FOUND[kind];
    const select = this.#db.prepare(
      "select hash, cid, queued_at from candidate where found = ?1 and (hash, cid) > (?2, ?3) order by hash, cid limit ?4",
    );
    let after: { readonly hash: Uint8Array; readonly cid: string } = { hash: new Uint8Array(), cid: "" };
    for (;;) {
      const rows = select.all(found, after.hash, after.cid, CANDIDATES_PER_FETCH);
      const page = rows.map((row) => ({ cid: String(row["cid"]), queuedAt: String(row["queued_at"]) }));
      const last = rows.at(-1);
      if (last === undefined) return;
      yield page;
      const hash = last["hash"];
      after = { hash: hash instanceof Uint8Array ? hash : new Uint8Array(), cid: String(last["cid"]) };
    }
  }

  [Symbol.dispose](): void {
    this.#db.close();
  }
}

const UNREACHED = 0;
/** Only a root that was current within the grace time reaches it: nobody will put it on the queue again, so it stays. */
const SPARED = 1;
/** A current root names it, and no reader of that root asks for it: the compaction that ends this puts it here again. */
const HIDDEN = 2;
const REFERENCED = 3;
const FOUND = { unreached: UNREACHED, spared: SPARED, hidden: HIDDEN, referenced: REFERENCED } as const;
