import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";

const COMMITS_PER_STATEMENT = 5_000;

/** Commits that are older than `ageMs` by the database's clock, and that a later one followed. */
const OLD = `
  select c.owner_id, c.bucket, c.version from bucket_commits c
   where c.committed_at <= clock_timestamp() - $1 * interval '1 millisecond'
     and exists (select from bucket_commits n
                  where n.owner_id = c.owner_id and n.bucket = c.bucket and n.version > c.version
                    and n.committed_at <= clock_timestamp() - $1 * interval '1 millisecond')`;

/**
 * Forgets roots that buckets had longer ago than `ageMs`, a few thousand a statement. The last one before that time stays:
 * it was the bucket's root still at that time, as is that of a bucket which has not moved since.
 * @returns how many
 */
export async function pruneCommits(pool: Pool, ageMs: number, signal: AbortSignal): Promise<number> {
  for (let pruned = 0; ; ) {
    signal.throwIfAborted();
    const { rowCount } = await runQuery(pool, {
      name: "bucket_commits_prune",
      text: `
        delete from bucket_commits d using (${OLD} limit ${COMMITS_PER_STATEMENT}) as old
         where d.owner_id = old.owner_id and d.bucket = old.bucket and d.version = old.version`,
      values: [ageMs],
    });
    pruned += rowCount;
    if (rowCount < COMMITS_PER_STATEMENT) return pruned;
  }
}

/** How many `pruneCommits` would forget. */
export async function countOldCommits(pool: Pool, ageMs: number): Promise<number> {
  const { rows } = await runQuery<{ old: string }>(pool, {
    name: "bucket_commits_count_old",
    text: `select count(*) as old from (${OLD}) as old`,
    values: [ageMs],
  });
  return Number(rows[0]?.old ?? 0);
}
