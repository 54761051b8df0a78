import type { CID } from "multiformats/cid";
import { parseCid } from "../blocks/cid.ts";
import type { Pool } from "../postgres/pool.ts";
import { type NamedQuery, runQuery } from "../postgres/run-query.ts";
import type { BucketName } from "./roots/root-pointer.ts";

/** A root of our own format, and whose. */
export interface NamedRoot extends BucketName {
  readonly version: bigint;
  readonly root: CID;
  readonly objectCount: bigint;
  readonly totalBytes: bigint;
  /** When it became this root, milliseconds since the epoch. */
  readonly movedAtMs: number;
}

interface RootRow {
  readonly owner_id: string;
  readonly bucket: string;
  readonly version: string;
  readonly root_cid: string;
  readonly object_count: string;
  readonly total_bytes: string;
  readonly moved_at: Date;
}

const ROOTS_PER_FETCH = 1_000;

/** @throws FulaError FULA_CID_INVALID for a row that names no CID: nobody can say what it refers to */
function rootOf(row: RootRow): NamedRoot {
  return {
    ownerId: row.owner_id,
    bucket: row.bucket,
    version: BigInt(row.version),
    root: parseCid(row.root_cid),
    objectCount: BigInt(row.object_count),
    totalBytes: BigInt(row.total_bytes),
    movedAtMs: row.moved_at.getTime(),
  };
}

async function readRows(pool: Pool, query: NamedQuery): Promise<readonly RootRow[]> {
  return (await runQuery<RootRow>(pool, query)).rows;
}

/** Which buckets to go through. */
export interface RootChoice {
  /** Null = of everybody. */
  readonly ownerId: string | null;
}

/**
 * The current root of every bucket, a page a statement. A bucket that is made meanwhile may be left out: whatever it refers
 * to was announced meanwhile too.
 */
export async function* currentRoots(pool: Pool, choice: RootChoice = { ownerId: null }): AsyncGenerator<NamedRoot> {
  let after: RootRow | null = null;
  for (;;) {
    const rows: readonly RootRow[] = await readRows(pool, {
      name: "bucket_roots_page",
      text: `
        select owner_id, bucket, version, root_cid, object_count, total_bytes, updated_at as moved_at
          from bucket_roots
         where format = 1 and deleted_at is null and ($3::text is null or owner_id = $3)
           and ($1::text is null or (owner_id, bucket) > ($1, $2))
         order by owner_id, bucket limit ${ROOTS_PER_FETCH}`,
      values: [after?.owner_id ?? null, after?.bucket ?? null, choice.ownerId],
    });
    for (const row of rows) yield rootOf(row);
    if (rows.length < ROOTS_PER_FETCH) return;
    after = rows.at(-1) ?? null;
  }
}

/**
 * Roots that are current no more, but were at some moment of the last `graceMs`: those whose successor is younger than
 * that, by the database's clock, since a reader may have opened them until it came. Bucket by bucket, the oldest first.
 */
export async function* recentRoots(pool: Pool, graceMs: number): AsyncGenerator<NamedRoot> {
  let after: RootRow | null = null;
  for (;;) {
    const rows: readonly RootRow[] = await readRows(pool, {
      name: "bucket_commits_recent_page",
      text: `
        select c.owner_id, c.bucket, c.version, c.root_cid, c.object_count, c.total_bytes, c.committed_at as moved_at
          from bucket_commits n
          join bucket_commits c on c.owner_id = n.owner_id and c.bucket = n.bucket and c.version = n.version - 1
         where c.root_cid is not null and n.committed_at > clock_timestamp() - $4 * interval '1 millisecond'
           and ($1::text is null or (c.owner_id, c.bucket, c.version) > ($1, $2, $3::bigint))
         order by c.owner_id, c.bucket, c.version limit ${ROOTS_PER_FETCH}`,
      values: [after?.owner_id ?? null, after?.bucket ?? null, after?.version ?? null, graceMs],
    });
    for (const row of rows) yield rootOf(row);
    if (rows.length < ROOTS_PER_FETCH) return;
    after = rows.at(-1) ?? null;
  }
}

/**
 * Contents of parts of uploads that are not complete yet, each once.
 * @param only null = all of them; else this one, where it is among them
 */
export async function* partContents(pool: Pool, only: string | null): AsyncGenerator<CID> {
  yield* contentsOf(pool, "multipart_parts", "content_cid", only);
}

/** Contents of objects in the tables of an earlier fula-master that wait for their import, each once. */
export async function* waitingContents(pool: Pool): AsyncGenerator<CID> {
  yield* contentsOf(pool, "gateway_objects", "root_cid", null);
}

async function* contentsOf(pool: Pool, table: string, column: string, only: string | null): AsyncGenerator<CID> {
  let after = "";
  for (;;) {
    const { rows }: { readonly rows: readonly { readonly cid: string }[] } = await runQuery<{ cid: string }>(pool, {
      name: `bucket_contents_${table}`,
      text: `
        select distinct ${column} collate "C" as cid from ${table}
         where ${column} collate "C" > $1 and ($2::text is null or ${column} = $2)
         order by 1 limit ${ROOTS_PER_FETCH}`,
      values: [after, only],
    });
    for (const { cid } of rows) yield parseCid(cid);
    const last = rows.at(-1);
    if (last === undefined) return;
    after = last.cid;
  }
}
