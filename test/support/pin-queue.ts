import type { BlockStore } from "../../src/lib/blocks/block-store.ts";
import { announceCids } from "../../src/lib/buckets/roots/root-queries.ts";
import type { PinCluster } from "../../src/lib/cluster/pins.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { silentLog } from "../../src/lib/kernel/log.ts";
import { contentKey } from "../../src/lib/pinning/content-key.ts";
import { measureDag } from "../../src/lib/pinning/measure-dag.ts";
import { enqueuePins } from "../../src/lib/pinning/queue/enqueue.ts";
import type { JobOutcome } from "../../src/lib/pinning/queue/job.ts";
import type { WorkerParts } from "../../src/lib/pinning/queue/worker.ts";
import type { Pool } from "../../src/lib/postgres/pool.ts";
import { withTransaction } from "../../src/lib/postgres/transaction.ts";
import { seededRandom } from "./seeded-random.ts";

/** A row of `pins` as the tests of the queue look at it. */
export interface QueuedPin {
  readonly requestid: string;
  readonly status: string;
  readonly size: string | null;
  readonly info: string;
}

/** What a user asks for. */
export interface TestRequest {
  readonly id: string;
  readonly cid: string;
  /** 64 hex digits, or anything else that the ledger takes. */
  readonly userId?: string;
  readonly name?: string;
  readonly origins?: readonly string[];
}

/** Puts a request into the ledger as the API does: row and job in one transaction. */
export async function askForPin(pool: Pool, request: TestRequest): Promise<void> {
  const { id, cid, userId = "u-1", name = "", origins = [] } = request;
  await withTransaction(pool, async (client) => {
    await client.query(
      `insert into pins (requestid, user_id, cid, cid_key, name, origins, status) values ($1, $2, $3, $4, $5, $6, 'queued')`,
      [id, userId, cid, contentKey(cid), name, JSON.stringify(origins)],
    );
    await enqueuePins(client, [contentKey(cid)]);
  });
}

/** Takes a request back, as the API does. */
export async function takePinBack(pool: Pool, id: string): Promise<void> {
  await withTransaction(pool, async (client) => {
    const { rows } = await client.query<{ cid_key: string }>(
      "update pins set status = 'deleted' where requestid = $1 and status <> 'deleted' returning cid_key",
      [id],
    );
    await enqueuePins(
      client,
      rows.map(({ cid_key: cid }) => cid),
    );
  });
}

/** The rows of requests, in their order. */
export async function pinRows(pool: Pool): Promise<readonly QueuedPin[]> {
  const { rows } = await pool.query<QueuedPin>("select requestid, status, size, info from pins order by requestid");
  return rows;
}

/** How many jobs there are, dead ones too. */
export async function jobCount(pool: Pool): Promise<number> {
  const { rows } = await pool.query<{ count: string }>("select count(*) from pin_jobs");
  return Number(rows[0]?.count);
}

/** Makes everything on the queue due now. */
export async function makeDue(pool: Pool): Promise<void> {
  await pool.query("update pin_jobs set due_at = clock_timestamp() where dead_at is null");
}

/** Parts of workers over a real ledger and any pinset. */
export function workerParts(
  stores: { readonly pool: Pool; readonly pins: PinCluster; readonly blocks: BlockStore },
  more: Partial<WorkerParts> = {},
): WorkerParts & { readonly settled: JobOutcome["kind"][] } {
  const { pool, pins, blocks } = stores;
  const settled: JobOutcome["kind"][] = [];
  return {
    pool,
    pins,
    announce: async (cids) => await announceCids(pool, cids),
    measure: async (cid, signal) => await measureDag(cid, blocks, signal),
    dial: async () => {},
    clock: systemClock,
    random: seededRandom(1),
    log: silentLog,
    node: "m-1",
    workers: 1,
    claimMs: 60_000,
    giveUpMs: 7 * 86_400_000,
    onSettled: (kind) => {
      settled.push(kind);
    },
    ...more,
    settled,
  };
}
