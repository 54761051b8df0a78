import type { Pool } from "../../postgres/pool.ts";
import { runQuery } from "../../postgres/run-query.ts";
import { withTransaction } from "../../postgres/transaction.ts";

/** Something that a node holds. */
export interface HeldCid {
  readonly cid: string;
  /** Tells this hold from a later one of the same CID: text of the database, exact to the microsecond. */
  readonly since: string;
  readonly ageMs: number;
}

/** Writes down that a node is going to hold these, as of now. @param cids each once, in ascending order: nobody else's lock is then waited for in a circle */
export async function noteHolds(pool: Pool, node: string, cids: readonly string[]): Promise<void> {
  await runQuery(pool, {
    name: "bucket_holds_note",
    text: `
      insert into bucket_holds (node, cid)
      select $1, cid from unnest($2::text[]) as wanted (cid)
      on conflict (node, cid) do update
        set since = excluded.since, look_at = excluded.look_at, pause = excluded.pause`,
    values: [node, cids],
  });
}

/** What is to be looked at by now, longest overdue first; each is not looked at again before its pause, twice as long as the last. */
export async function takeHoldsToLookAt(pool: Pool, node: string, limit: number): Promise<readonly HeldCid[]> {
  const { rows } = await runQuery<{ cid: string; since: string; age_ms: string }>(pool, {
    name: "bucket_holds_take",
    text: `
      update bucket_holds h
         set look_at = clock_timestamp() + h.pause, pause = least(h.pause * 2, interval '1 hour')
        from (select cid from bucket_holds
               where node = $1 and look_at <= clock_timestamp()
               order by look_at limit $2
                 for update skip locked) due
       where h.node = $1 and h.cid = due.cid
      returning h.cid, h.since::text, (extract(epoch from clock_timestamp() - h.since) * 1000)::bigint as age_ms`,
    values: [node, limit],
  });
  return rows.map(({ cid, since, age_ms: ageMs }) => ({ cid, since, ageMs: Number(ageMs) }));
}

/**
 * Ends a hold, unless it was taken anew since: whoever notes one again meanwhile waits, and holds after us.
 * @returns false where it was taken anew
 */
export async function endHold(
  pool: Pool,
  node: string,
  { cid, since }: HeldCid,
  letGo: () => Promise<void>,
): Promise<boolean> {
  return await withTransaction(pool, async (client) => {
    const { rowCount } = await client.query(
      "delete from bucket_holds where node = $1 and cid = $2 and since = $3::timestamptz",
      [node, cid, since],
    );
    if (rowCount !== 1) return false;
    await letGo();
    return true;
  });
}

/** How many CIDs a node holds. */
export async function countHolds(pool: Pool, node: string): Promise<number> {
  const { rows } = await runQuery<{ count: string }>(pool, {
    name: "bucket_holds_count",
    text: "select count(*) from bucket_holds where node = $1",
    values: [node],
  });
  return Number(rows[0]?.count ?? 0);
}
