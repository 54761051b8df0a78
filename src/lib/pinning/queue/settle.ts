import type { Pool } from "../../postgres/pool.ts";
import { withTransaction } from "../../postgres/transaction.ts";
import { releaseJobs } from "./claim.ts";
import { enqueuePins } from "./enqueue.ts";
import type { ClaimedJob, JobOutcome } from "./job.ts";

/** A claimed job, and what became of it. */
export interface SettledJob {
  readonly job: ClaimedJob;
  readonly outcome: JobOutcome;
}

/** What the statement makes of one job. */
interface Verdict {
  /** Null leaves the rows alone. */
  readonly status: "pinning" | "pinned" | "failed" | null;
  readonly details: string;
  readonly sizeBytes: bigint | null;
  /** What becomes of the job. */
  readonly next: "end" | "wait" | "dead";
  readonly delayMs: number;
  readonly error: string | null;
}

const NOTHING: Verdict = { status: null, details: "", sizeBytes: null, next: "end", delayMs: 0, error: null };

function verdictOf(outcome: JobOutcome): Verdict {
  if (outcome.kind === "gone") return NOTHING;
  if (outcome.kind === "pinned") return { ...NOTHING, status: "pinned", sizeBytes: outcome.sizeBytes };
  if (outcome.kind === "dead") {
    return { ...NOTHING, status: "failed", details: outcome.details, next: "dead", error: outcome.error };
  }
  const { rows, delayMs, error } = outcome;
  return { ...NOTHING, status: rows?.status ?? null, details: rows?.details ?? "", next: "wait", delayMs, error };
}

/** What peers say may hold anything, and PostgreSQL takes no NUL: one would keep all that is settled with it from being told. */
function storable(text: string | null): string | null {
  return text?.replaceAll("\0", "\uFFFD") ?? null;
}

/** The fleet's column is a JSON object of texts; `status_details` is what the specification of pinning services names. */
function infoOf(details: string): string {
  return details === "" ? "{}" : JSON.stringify({ status_details: details });
}

/**
 * One statement for rows and jobs, each only where the claim and the revision are still the ones that were worked on. A
 * row that is told to be pinned never goes back; its size is set where nobody knew it.
 */
const SETTLE = `
  with settled as materialized (
    select * from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::float8[], $9::text[])
      as s (cid, claim, revision, status, info, size, next, delay_ms, error)
  ), owned as materialized (
    select j.cid from pin_jobs j join settled s on s.cid = j.cid and s.claim = j.claim and s.revision = j.revision
     order by j.cid for update of j
  ), told as (
    update pins p
       set status = s.status, info = s.info, size = coalesce(s.size, p.size),
           measured_at = case when s.size is null then p.measured_at else clock_timestamp() end
      from settled s join owned using (cid)
     where p.cid_key = s.cid and p.status in ('queued', 'pinning', 'pinned') and s.status is not null
       and (p.status <> 'pinned' and (s.size is not null or (p.status, p.info) is distinct from (s.status, s.info))
            or p.status = 'pinned' and s.status = 'pinned' and s.size is not null
               and p.measured_at is null and coalesce(p.size, 0) = 0)
  ), ended as (
    delete from pin_jobs j using settled s join owned using (cid) where j.cid = s.cid and s.next = 'end'
  ), kept as (
    update pin_jobs j
       set claim = null, claimed_by = null, claimed_until = null, last_error = s.error,
           due_at = clock_timestamp() + s.delay_ms * interval '1 millisecond',
           attempts = case when s.error is null then 0 else j.attempts + 1 end,
           looks = case when s.error is null then j.looks + 1 else j.looks end,
           dead_at = case when s.next = 'dead' then clock_timestamp() end
      from settled s join owned using (cid)
     where j.cid = s.cid and s.next <> 'end'
  )
  select cid from owned`;

/**
 * Writes down what became of claimed jobs and tells the users. A job whose wishes have changed meanwhile is given back
 * as it is; one that somebody else has claimed meanwhile is put on the queue again, because both may have worked on it.
 * @throws FulaError FULA_DATABASE_UNREACHABLE, FULA_COMMIT_UNKNOWN; all of it can be run again
 */
export async function settleJobs(pool: Pool, settled: readonly SettledJob[]): Promise<void> {
  const verdicts = settled.map(({ outcome }) => verdictOf(outcome));
  const owned = await withTransaction(pool, async (client) => {
    const { rows } = await client.query<{ cid: string }>({
      name: "pin_jobs_settle",
      text: SETTLE,
      values: [
        settled.map(({ job }) => job.cid),
        settled.map(({ job }) => job.claim),
        settled.map(({ job }) => job.revision),
        verdicts.map(({ status }) => status),
        verdicts.map(({ details }) => infoOf(details)),
        verdicts.map(({ sizeBytes }) => sizeBytes?.toString() ?? null),
        verdicts.map(({ next }) => next),
        verdicts.map(({ delayMs }) => delayMs),
        verdicts.map(({ error }) => storable(error)),
      ],
    });
    return new Set(rows.map(({ cid }) => cid));
  });
  const changed = settled.flatMap(({ job }) => (owned.has(job.cid) ? [] : [job]));
  if (changed.length === 0) return;
  const released = await releaseJobs(pool, changed);
  const overtaken = changed.flatMap(({ cid }) => (released.has(cid) ? [] : [cid]));
  await withTransaction(pool, async (client) => {
    await enqueuePins(client, overtaken);
  });
}
