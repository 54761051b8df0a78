import type { Pool } from "../../postgres/pool.ts";
import { runQuery } from "../../postgres/run-query.ts";
import { type TransactionClient, withTransaction } from "../../postgres/transaction.ts";
import { enqueuePins } from "./enqueue.ts";

/** A job that is driven again. */
export interface RedrivenJob {
  readonly cid: string;
  readonly wasDead: boolean;
  readonly lastError: string | null;
}

/** Which jobs: of one content, in whatever state, or all that were given up. */
export type RedriveWish = { readonly cid: string } | "all-dead";

const JOBS_AT_ONCE = 1_000;

function valuesOf(wish: RedriveWish): readonly unknown[] {
  return [wish === "all-dead" ? null : wish.cid];
}

const SELECTED = "($1::text is null and j.dead_at is not null or j.cid = $1)";

interface JobRow {
  readonly cid: string;
  readonly dead: boolean;
  readonly last_error: string | null;
}

function redrivenOf({ cid, dead, last_error: lastError }: JobRow): RedrivenJob {
  return { cid, wasDead: dead, lastError };
}

/** What `redrive` would drive again. */
export async function planRedrive(pool: Pool, wish: RedriveWish): Promise<readonly RedrivenJob[]> {
  const { rows } = await runQuery<JobRow>(pool, {
    name: "pin_jobs_redrive_plan",
    text: `select j.cid, j.dead_at is not null as dead, j.last_error from pin_jobs j where ${SELECTED} order by j.cid`,
    values: valuesOf(wish),
  });
  return rows.map(redrivenOf);
}

/**
 * Has jobs done at once, as if they had just been asked for; requests that failed with them wait again.
 * @param note runs in each transaction, and tells who did it
 */
export async function redrive(
  pool: Pool,
  wish: RedriveWish,
  note: (client: TransactionClient, jobs: readonly RedrivenJob[]) => Promise<void>,
): Promise<readonly RedrivenJob[]> {
  const all: RedrivenJob[] = [];
  for (;;) {
    const batch = await withTransaction(pool, async (client) => {
      const { rows } = await client.query<JobRow>({
        name: "pin_jobs_redrive",
        text: `
          select j.cid, j.dead_at is not null as dead, j.last_error from pin_jobs j
           where ${SELECTED} order by j.cid limit $2 for update`,
        values: [...valuesOf(wish), JOBS_AT_ONCE],
      });
      if (rows.length === 0) return [];
      const dead = rows.filter((row) => row.dead).map(({ cid }) => cid);
      await client.query({
        name: "pins_redrive",
        text: "update pins set status = 'queued', info = '{}' where status = 'failed' and cid_key = any ($1)",
        values: [dead],
      });
      await enqueuePins(
        client,
        rows.map(({ cid }) => cid),
      );
      const jobs = rows.map(redrivenOf);
      await note(client, jobs);
      return jobs;
    });
    all.push(...batch);
    if (wish !== "all-dead" || batch.length === 0) return all;
  }
}
