import { assertFenced, type Fence, fenceCte, fenceValues } from "../postgres/fence.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";

/**
 * Lifts the suspension of every account whose balance is above zero or that stores no more than the free tier by now.
 * Deposits lift it at once, in their own transaction; what is left for this sweep is usage that went back.
 * @returns how many
 * @throws FulaError FULA_LEASE_LOST
 */
export async function liftSuspensions(pool: Pool, freeTierBytes: number, fence: Fence | null): Promise<number> {
  const { rows } = await runQuery<{ fenced: boolean; lifted: string }>(pool, {
    name: "billing_suspensions_lift",
    text: `
      with ${fenceCte(1)}, free as materialized (
        select a.id
          from user_credits a left join user_usage u on u.account_id = a.id
         where exists (select from fence) and a.is_suspended = 1
           and (a.balance_fula > 0 or coalesce(u.bytes, 0) <= $3::bigint)
         order by a.id
           for no key update of a
      ), lifted as (
        update user_credits a set is_suspended = 0, suspended_at = null from free where a.id = free.id
        returning a.id
      )
      select exists (select from fence) as fenced, (select count(*) from lifted) as lifted`,
    values: [...fenceValues(fence), freeTierBytes],
  });
  assertFenced(rows[0]?.fenced, fence);
  return Number(rows[0]?.lifted ?? 0);
}
