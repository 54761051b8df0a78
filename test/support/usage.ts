import type { Pool } from "../../src/lib/postgres/pool.ts";

/** A pin as the tests of usage write it; the other columns keep their defaults. */
export interface TestPin {
  readonly id: string;
  readonly user: string | null;
  readonly cid: string;
  readonly size: bigint | null;
  readonly status: "queued" | "pinning" | "pinned" | "failed" | "deleted";
}

/**
 * What accounts store by the documented rules, worked out from the pins without SQL's help: pinned and measured pins
 * only, each CID once an account, with its greatest size. Users who store nothing are left out.
 */
export function usageOf(pins: Iterable<TestPin>): ReadonlyMap<string, bigint> {
  const contents = new Map<string, Map<string, bigint>>();
  for (const { user, cid, size, status } of pins) {
    if (status !== "pinned" || user === null || size === null || size <= 0n) continue;
    const sizes = contents.get(user) ?? new Map<string, bigint>();
    contents.set(user, sizes);
    const known = sizes.get(cid) ?? 0n;
    sizes.set(cid, size > known ? size : known);
  }
  return new Map([...contents].map(([user, sizes]) => [user, [...sizes.values()].reduce((sum, size) => sum + size)]));
}

/** Every pin in the database. */
export async function allPins(pool: Pool): Promise<readonly TestPin[]> {
  const { rows } = await pool.query<{
    id: string;
    user: string | null;
    cid: string;
    size: string | null;
    status: string;
  }>(`select requestid as id, user_id as "user", cid, size, status from pins`);
  return rows.map((row) => ({
    ...row,
    size: row.size === null ? null : BigInt(row.size),
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a check constraint of the table lists them
    status: row.status as TestPin["status"],
  }));
}

/** What the database keeps: bytes by user, without those who store nothing. */
export async function keptUsage(pool: Pool): Promise<ReadonlyMap<string, bigint>> {
  const { rows } = await pool.query<{ user_id: string; bytes: string }>(
    "select a.user_id, u.bytes from user_usage u join user_credits a on a.id = u.account_id where u.bytes > 0",
  );
  return new Map(rows.map(({ user_id, bytes }) => [user_id, BigInt(bytes)]));
}

/** Accounts whose newest history is not what they store now, in words; none may be. */
export async function historyFaults(pool: Pool): Promise<readonly string[]> {
  const { rows } = await pool.query<{ fault: string }>(`
    select format('account %s: %s since %s, history %s at %s', u.account_id, u.bytes, u.changed_hour, h.bytes, h.hour) as fault
      from user_usage u
      left join lateral (select hour, bytes from usage_history where account_id = u.account_id order by hour desc limit 1) h on true
     where u.bytes <> coalesce(h.bytes, 0) or u.changed_hour <> coalesce(h.hour, '-infinity')`);
  return rows.map(({ fault }) => fault);
}

/**
 * Ends the open hour at once, although the clock has not: waits for the transactions that write into it, as closing
 * does. @returns the hour that is closed now, in hours since 1970
 */
export async function endOpenHour(pool: Pool): Promise<number> {
  const { rows } = await pool.query<{ hour: number }>(`
    with hour as materialized (
      select h, pg_advisory_xact_lock(815551, (extract(epoch from h) / 3600)::integer)
        from usage_clock, greatest(closed_through + interval '1 hour', date_trunc('hour', clock_timestamp(), 'UTC')) as h
    )
    update usage_clock set closed_through = h from hour
    returning (extract(epoch from h) / 3600)::integer as hour`);
  const row = rows[0];
  if (row === undefined) throw new Error("usage_clock has no row");
  return row.hour;
}
