import type { Pool } from "../../postgres/pool.ts";
import { runQuery } from "../../postgres/run-query.ts";

/** A job as operators see it. */
export interface PinJobView {
  /** As `contentKey` gives it. */
  readonly cid: string;
  /** `due`: waits for a worker. `claimed`: in a worker's hand. `waiting`: for its next try or look. `dead`: given up. */
  readonly state: "due" | "claimed" | "waiting" | "dead";
  /** Requests of users that want it now; 0 = it is to be let go. */
  readonly requests: number;
  /** Times as RFC 3339, UTC. Since when the present wishes wait. */
  readonly queuedAt: string;
  /** When it is tried or looked at next; null where it is given up. */
  readonly dueAt: string | null;
  readonly attempts: number;
  readonly looks: number;
  /** The master that has it in hand; null where none does. */
  readonly claimedBy: string | null;
  readonly lastError: string | null;
}

interface JobRow {
  readonly cid: string;
  readonly state: PinJobView["state"];
  readonly requests: string;
  readonly queued_at: Date;
  readonly due_at: Date;
  readonly attempts: number;
  readonly looks: number;
  readonly claimed_by: string | null;
  readonly last_error: string | null;
}

const COLUMNS = `
  j.cid, j.queued_at, j.due_at, j.attempts, j.looks, j.last_error,
  case when j.claimed_until >= clock_timestamp() then j.claimed_by end as claimed_by,
  case when j.dead_at is not null then 'dead'
       when j.claimed_until >= clock_timestamp() then 'claimed'
       when j.due_at <= clock_timestamp() then 'due' else 'waiting' end as state,
  (select count(*) from pins p
    where p.cid_key = j.cid and p.status in ('queued', 'pinning', 'pinned')) as requests`;

function viewOf({ queued_at: queuedAt, due_at: dueAt, ...row }: JobRow): PinJobView {
  const { cid, state, requests, attempts, looks, claimed_by: claimedBy, last_error: lastError } = row;
  return {
    cid,
    state,
    requests: Number(requests),
    queuedAt: queuedAt.toISOString(),
    dueAt: state === "dead" ? null : dueAt.toISOString(),
    attempts,
    looks,
    claimedBy,
    lastError,
  };
}

/** Jobs, those that have waited longest first. @param dead true lists those that were given up, and nothing else */
export async function listPinJobs(
  pool: Pool,
  { dead, limit }: { readonly dead: boolean; readonly limit: number },
): Promise<readonly PinJobView[]> {
  const { rows } = await runQuery<JobRow>(pool, {
    name: "pin_jobs_list",
    text: `select ${COLUMNS} from pin_jobs j where $1 = (j.dead_at is not null) order by j.queued_at, j.cid limit $2`,
    values: [dead, limit],
  });
  return rows.map(viewOf);
}

/** The job of a content; null where there is nothing to do. */
export async function findPinJob(pool: Pool, cid: string): Promise<PinJobView | null> {
  const { rows } = await runQuery<JobRow>(pool, {
    name: "pin_job_find",
    text: `select ${COLUMNS} from pin_jobs j where j.cid = $1`,
    values: [cid],
  });
  return rows[0] === undefined ? null : viewOf(rows[0]);
}

/** A request of a user, as operators see it. */
export interface PinRequestView {
  readonly requestId: string;
  /** The account; null in rows of software that names none. */
  readonly userId: string | null;
  /** As the user wrote it. */
  readonly cid: string;
  readonly name: string;
  readonly status: string;
  /** Text of a number of bytes; null where it is not known. */
  readonly sizeBytes: string | null;
  /** True where the size was worked out from the blocks. */
  readonly isMeasured: boolean;
  readonly createdAt: string | null;
}

const REQUESTS_MAX = 100;

/** Requests by their id or by their content, the newest first; deleted ones by their id alone. At most a hundred. */
export async function findPinRequests(
  pool: Pool,
  by: { readonly requestId: string } | { readonly cid: string },
): Promise<readonly PinRequestView[]> {
  const { rows } = await runQuery<{
    requestid: string;
    user_id: string | null;
    cid: string;
    name: string | null;
    status: string;
    size: string | null;
    measured: boolean;
    created_at: Date | null;
  }>(pool, {
    name: "pin_requests_look",
    text: `
      select requestid, user_id, cid, name, status, size, measured_at is not null as measured, created_at
        from pins
       where requestid = $1 or (cid_key = $2 and status in ('queued', 'pinning', 'pinned'))
       order by created_at desc, id desc limit $3`,
    values: ["requestId" in by ? by.requestId : null, "cid" in by ? by.cid : null, REQUESTS_MAX],
  });
  return rows.map(({ requestid, user_id: userId, cid, name, status, size, measured, created_at: createdAt }) => ({
    requestId: requestid,
    userId,
    cid,
    name: name ?? "",
    status,
    sizeBytes: size === null || (size === "0" && !measured) ? null : size,
    isMeasured: measured,
    createdAt: createdAt?.toISOString() ?? null,
  }));
}
