import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import type { BucketName } from "./roots/root-pointer.ts";

/** A bucket's row as it stands, whoever's format its root is of. Times RFC 3339, UTC; bytes as decimal text. */
export interface BucketLine {
  readonly ownerId: string;
  readonly bucket: string;
  /** Null where only the owner id is known. */
  readonly userId: string | null;
  /** False for a bucket of the existing fleet that waits for its import. */
  readonly imported: boolean;
  readonly version: string;
  readonly root: string;
  readonly objects: string;
  readonly bytes: string;
  readonly createdAt: string;
  readonly movedAt: string;
}

/** One root that a bucket had. */
export interface CommitLine {
  readonly version: string;
  /** Null where the bucket was deleted. */
  readonly root: string | null;
  readonly objects: string;
  readonly bytes: string;
  readonly node: string;
  readonly at: string;
}

interface LineRow {
  readonly owner_id: string;
  readonly bucket: string;
  readonly user_id: string | null;
  readonly format: number;
  readonly version: string;
  readonly root_cid: string;
  readonly object_count: string;
  readonly total_bytes: string;
  readonly created_at: Date;
  readonly updated_at: Date | null;
}

const ROWS_PER_FETCH = 1_000;
const COLUMNS =
  "owner_id, bucket, user_id, format, version, root_cid, object_count, total_bytes, created_at, updated_at";

function lineOf(row: LineRow): BucketLine {
  return {
    ownerId: row.owner_id,
    bucket: row.bucket,
    userId: row.user_id,
    imported: row.format === 1,
    version: row.version,
    root: row.root_cid,
    objects: row.object_count,
    bytes: row.total_bytes,
    createdAt: row.created_at.toISOString(),
    movedAt: (row.updated_at ?? row.created_at).toISOString(),
  };
}

async function readLines(pool: Pool, ownerId: string | null, after: BucketName | null): Promise<readonly BucketLine[]> {
  const { rows } = await runQuery<LineRow>(pool, {
    name: "bucket_lines_page",
    text: `
      select ${COLUMNS} from bucket_roots
       where deleted_at is null and ($3::text is null or owner_id = $3)
         and ($1::text is null or (owner_id, bucket) > ($1, $2))
       order by owner_id, bucket limit ${ROWS_PER_FETCH}`,
    values: [after?.ownerId ?? null, after?.bucket ?? null, ownerId],
  });
  return rows.map(lineOf);
}

/** All buckets, a page a statement. @param ownerId whose; null = everybody's */
export async function* bucketLines(pool: Pool, ownerId: string | null): AsyncGenerator<BucketLine> {
  let after: BucketName | null = null;
  for (;;) {
    const lines: readonly BucketLine[] = await readLines(pool, ownerId, after);
    yield* lines;
    if (lines.length < ROWS_PER_FETCH) return;
    after = lines.at(-1) ?? null;
  }
}

/** One bucket's row; null where there is none, or it was deleted. */
export async function bucketLine(pool: Pool, { ownerId, bucket }: BucketName): Promise<BucketLine | null> {
  const { rows } = await runQuery<LineRow>(pool, {
    name: "bucket_line_find",
    text: `select ${COLUMNS} from bucket_roots where owner_id = $1 and bucket = $2 and deleted_at is null`,
    values: [ownerId, bucket],
  });
  return rows[0] === undefined ? null : lineOf(rows[0]);
}

/** The newest roots that a bucket had, the newest first. */
export async function bucketHistory(
  pool: Pool,
  { ownerId, bucket }: BucketName,
  limit: number,
): Promise<readonly CommitLine[]> {
  const { rows } = await runQuery<{
    version: string;
    root_cid: string | null;
    object_count: string;
    total_bytes: string;
    node: string;
    committed_at: Date;
  }>(pool, {
    name: "bucket_commits_newest",
    text: `
      select version, root_cid, object_count, total_bytes, node, committed_at from bucket_commits
       where owner_id = $1 and bucket = $2 order by version desc limit $3`,
    values: [ownerId, bucket, limit],
  });
  return rows.map((row) => ({
    version: row.version,
    root: row.root_cid,
    objects: row.object_count,
    bytes: row.total_bytes,
    node: row.node,
    at: row.committed_at.toISOString(),
  }));
}
