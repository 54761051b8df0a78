import type { Pool } from "../postgres/pool.ts";
import { withTransaction } from "../postgres/transaction.ts";
import { CONTENTS_OF_USERS } from "./usage-contents.ts";

/** An account whose usage is not what its pins and buckets add up to. */
export interface UsageDifference {
  /** Null where its pins or buckets count and it has none: the triggers were off when they came. */
  readonly accountId: bigint | null;
  /** Null for an account that no longer names its user. */
  readonly userId: string | null;
  /** Bytes by which it is billed. */
  readonly bytesKept: bigint;
  /** Bytes of its pins and buckets. */
  readonly bytesFound: bigint;
  /** Bytes by its newest history. */
  readonly bytesInHistory: bigint;
  /** CIDs and buckets that are kept with another size than they have, kept although they are gone, or not kept. */
  readonly contents: number;
}

/** Pins with the status 'pinned' that are billed to nobody, and why. */
export interface UncountedPins {
  /** They name no user. */
  readonly withoutUser: number;
  /** Their size is not known: missing, zero or negative. */
  readonly unmeasured: number;
  /** What stands in place of their CID is longer than any. */
  readonly overlong: number;
}

/** What a comparison of the kept usage with pins and buckets found. */
export interface UsageComparison {
  /** Accounts that were looked at. */
  readonly accounts: number;
  /** How many of them differ. */
  readonly differing: number;
  /** The first of them, those that differ by most first. */
  readonly differences: readonly UsageDifference[];
  readonly uncounted: UncountedPins;
}

interface DifferenceRow {
  readonly account_id: string | null;
  readonly user_id: string | null;
  readonly kept: string;
  readonly found: string;
  readonly newest: string;
  readonly contents: string;
  readonly differing: string;
}

const DIFFERENCES = `
  with found as (
    select a.id as account_id, s.user_id, s.cid, s.bytes
      from (${CONTENTS_OF_USERS}) s left join user_credits a on a.user_id = s.user_id
  ), contents as (
    select coalesce(c.account_id, f.account_id) as account_id,
           case when c.account_id is null and f.account_id is null then f.user_id end as stranger,
           sum(f.bytes) as bytes,
           count(*) filter (where f.bytes is distinct from c.bytes) as differing
      from found f full join stored_contents c on c.account_id = f.account_id and c.cid = f.cid
     group by 1, 2
  ), newest as (
    select distinct on (account_id) account_id, hour, bytes from usage_history order by account_id, hour desc
  ), compared as (
    select coalesce(u.account_id, c.account_id) as account_id,
           c.stranger,
           coalesce(u.bytes, 0) as kept,
           least(coalesce(c.bytes, 0), 9223372036854775807)::bigint as found,
           coalesce(n.bytes, 0) as newest,
           coalesce(c.differing, 0) as contents,
           u.changed_hour is distinct from coalesce(n.hour, '-infinity') and u.account_id is not null as hour_differs
      from contents c
      full join user_usage u on u.account_id = c.account_id
      left join newest n on n.account_id = u.account_id
  )
  select compared.account_id, coalesce(a.user_id, stranger) as user_id, kept, found, newest, contents,
         count(*) over () as differing
    from compared left join user_credits a on a.id = compared.account_id
   where kept <> found or newest <> kept or contents > 0 or hour_differs
   order by abs(kept::numeric - found) desc, user_id, account_id
   limit $1`;

const COUNTS = `
  select (select count(*) from user_usage) as accounts,
         count(*) filter (where user_id is null) as without_user,
         count(*) filter (where user_id is not null and size > 0 is not true) as unmeasured,
         count(*) filter (where user_id is not null and size > 0 and octet_length(cid) > 1024) as overlong
    from pins where status = 'pinned'`;

/**
 * Compares what is kept for every account with what its pins and buckets add up to, all of it as it was at one time. Reads
 * every pin, writes nothing and holds up nobody.
 * @param limit how many differences to list at most; null = all
 */
export async function compareUsage(pool: Pool, limit: number | null, signal?: AbortSignal): Promise<UsageComparison> {
  return await withTransaction(
    pool,
    async (client) => {
      const { rows: counts } = await client.query<{
        accounts: string;
        without_user: string;
        unmeasured: string;
        overlong: string;
      }>({ name: "reconcile_counts", text: COUNTS });
      const { rows } = await client.query<DifferenceRow>({ name: "reconcile", text: DIFFERENCES, values: [limit] });
      return {
        accounts: Number(counts[0]?.accounts),
        differing: Number(rows[0]?.differing ?? 0),
        differences: rows.map((row) => ({
          accountId: row.account_id === null ? null : BigInt(row.account_id),
          userId: row.user_id,
          bytesKept: BigInt(row.kept),
          bytesFound: BigInt(row.found),
          bytesInHistory: BigInt(row.newest),
          contents: Number(row.contents),
        })),
        uncounted: {
          withoutUser: Number(counts[0]?.without_user),
          unmeasured: Number(counts[0]?.unmeasured),
          overlong: Number(counts[0]?.overlong),
        },
      };
    },
    { isolation: "repeatable read", readOnly: true, ...(signal === undefined ? {} : { signal }) },
  );
}
