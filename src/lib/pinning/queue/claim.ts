import type { Pool } from "../../postgres/pool.ts";
import { runQuery } from "../../postgres/run-query.ts";
import type { ClaimedJob } from "./job.ts";

/** Who claims, and for how long. */
export interface ClaimWish {
  /** Names this claim alone. */
  readonly claim: string;
  /** The master's name, for operators. */
  readonly node: string;
  readonly limit: number;
  /** After that long without a renewal others may take the jobs. */
  readonly claimMs: number;
}

/**
 * Claims jobs that are due, longest overdue first; none that somebody else has. What the rows say is to be read after
 * this: whoever changed them before has raised the revision that is claimed.
 */
export async function claimJobs(
  pool: Pool,
  { claim, node, limit, claimMs }: ClaimWish,
): Promise<readonly ClaimedJob[]> {
  const { rows } = await runQuery<{
    cid: string;
    revision: string;
    replaces: string | null;
    attempts: number;
    looks: number;
    age_ms: number;
  }>(pool, {
    name: "pin_jobs_claim",
    text: `
      update pin_jobs j
         set claim = $1, claimed_by = $2, claimed_until = clock_timestamp() + $4 * interval '1 millisecond'
        from (select cid from pin_jobs
               where dead_at is null and due_at <= clock_timestamp()
                 and (claim is null or claimed_until < clock_timestamp())
               order by due_at limit $3
                 for update skip locked) due
       where j.cid = due.cid
      returning j.cid, j.revision, j.replaces, j.attempts, j.looks,
                extract(epoch from clock_timestamp() - j.queued_at)::float8 * 1000 as age_ms`,
    values: [claim, node, limit, claimMs],
  });
  return rows.map(({ cid, revision, replaces, attempts, looks, age_ms: ageMs }) => ({
    cid,
    claim,
    revision,
    replaces,
    attempts,
    looks,
    ageMs,
  }));
}

/** Keeps a claim for as long again from now, on what is left of it. */
export async function renewClaim(pool: Pool, claim: string, claimMs: number): Promise<void> {
  await runQuery(pool, {
    name: "pin_jobs_renew",
    text: `
      update pin_jobs set claimed_until = clock_timestamp() + $2 * interval '1 millisecond'
       where claim = $1 and claimed_until >= clock_timestamp()`,
    values: [claim, claimMs],
  });
}

/** Gives jobs back, so that others need not wait for the claim to end. @returns those that were still claimed */
export async function releaseJobs(pool: Pool, jobs: readonly ClaimedJob[]): Promise<ReadonlySet<string>> {
  const { rows } = await runQuery<{ cid: string }>(pool, {
    name: "pin_jobs_release",
    text: `
      update pin_jobs j set claim = null, claimed_by = null, claimed_until = null
        from unnest($1::text[], $2::text[]) as given (cid, claim)
       where j.cid = given.cid and j.claim = given.claim
      returning j.cid`,
    values: [jobs.map(({ cid }) => cid), jobs.map(({ claim }) => claim)],
  });
  return new Set(rows.map(({ cid }) => cid));
}
