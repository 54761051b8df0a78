import { isPinningPin } from "../../cluster/pin-source.ts";
import type { PinCluster } from "../../cluster/pins.ts";
import { isFulaError } from "../../kernel/errors.ts";
import type { Pool } from "../../postgres/pool.ts";
import { runQuery } from "../../postgres/run-query.ts";
import { withTransaction } from "../../postgres/transaction.ts";
import { contentKey } from "../content-key.ts";
import { enqueuePins } from "./enqueue.ts";

const ROWS_AT_ONCE = 1_000;

/** The key of a row that names no content. */
const NO_CID = "";

function keyOrNone(cid: string): string {
  try {
    return contentKey(cid);
  } catch (error) {
    if (isFulaError(error, "FULA_CID_INVALID")) return NO_CID;
    throw error;
  }
}

/**
 * Works out the contents of rows that other software has written: SQL cannot read a CID.
 * @returns how many rows it was; a run takes some at a time, so that nobody waits for their locks
 */
export async function keyRows(pool: Pool, signal: AbortSignal): Promise<number> {
  let keyed = 0;
  for (;;) {
    signal.throwIfAborted();
    const { rows } = await runQuery<{ id: string; cid: string }>(pool, {
      name: "pins_unkeyed",
      text: `
        select id, cid from pins where cid_key is null and status in ('queued', 'pinning', 'pinned')
         order by id limit $1`,
      values: [ROWS_AT_ONCE],
    });
    if (rows.length === 0) return keyed;
    const values = [rows.map(({ id }) => id), rows.map(({ cid }) => keyOrNone(cid)), rows.map(({ cid }) => cid)];
    keyed += await withTransaction(pool, async (client) => {
      const { rowCount } = await client.query({
        name: "pins_key",
        text: `
          update pins p set cid_key = k.cid_key
            from unnest($1::bigint[], $2::text[], $3::text[]) as k (id, cid_key, cid)
           where p.id = k.id and p.cid = k.cid and p.cid_key is null`,
        values,
      });
      return rowCount ?? 0;
    });
  }
}

/**
 * Queues contents that wait and have no job, or one that was given up before they came: rows of other software, and pinned
 * ones of which nobody knows the size.
 * @param minAgeMs rows that were changed later are left alone: whoever wrote them may be at it
 * @returns how many contents
 */
export async function queueForgotten(pool: Pool, minAgeMs: number, signal: AbortSignal): Promise<number> {
  let queued = 0;
  for (;;) {
    signal.throwIfAborted();
    const { rows } = await runQuery<{ cid: string }>(pool, {
      name: "pins_without_job",
      text: `
        select distinct p.cid_key as cid from pins p
         where p.cid_key <> '' and p.updated_at <= clock_timestamp() - $1 * interval '1 millisecond'
           and (p.status in ('queued', 'pinning')
                or p.status = 'pinned' and p.measured_at is null and coalesce(p.size, 0) = 0)
           and not exists (select from pin_jobs j where j.cid = p.cid_key and j.dead_at is null)
         limit $2`,
      values: [minAgeMs, ROWS_AT_ONCE],
    });
    if (rows.length === 0) return queued;
    await withTransaction(pool, async (client) => {
      await enqueuePins(
        client,
        rows.map(({ cid }) => cid),
      );
    });
    queued += rows.length;
  }
}

/** What was found in the pinset that no user wants. */
export interface UnwantedReport {
  /** Pins for users that the pinset has, and those of them that the ledger knows nothing of. */
  readonly seen: number;
  readonly unwanted: number;
  /** How many were queued; 0 where there are so many that it is the ledger that must be wrong. */
  readonly queued: number;
}

/** Of a run; the next one takes what is left. */
const UNWANTED_MAX = 10_000;

/**
 * Queues contents that the pinset has for users and that no user wants: their rows were taken away by software that
 * knows no queue. Where that were more than half of all pins, none is queued: a ledger that was lost, or came back from
 * an old copy, knows nothing of what is still promised.
 * @throws FulaError FULA_CLUSTER_UNREADABLE
 */
export async function queueUnwanted(
  pool: Pool,
  pins: Pick<PinCluster, "pins">,
  signal: AbortSignal,
): Promise<UnwantedReport> {
  let seen = 0;
  let unwanted = 0;
  const found: string[] = [];
  let batch: string[] = [];
  const lookAtBatch = async (): Promise<void> => {
    const cids = await readUnwanted(pool, batch);
    seen += batch.length;
    unwanted += cids.length;
    found.push(...cids.slice(0, UNWANTED_MAX - found.length));
    batch = [];
  };
  for await (const pin of pins.pins(signal)) {
    if (!isPinningPin(pin)) continue;
    batch.push(contentKey(pin.cid));
    if (batch.length === ROWS_AT_ONCE) await lookAtBatch();
  }
  await lookAtBatch();
  if (unwanted * 2 > seen) return { seen, unwanted, queued: 0 };
  await withTransaction(pool, async (client) => {
    await enqueuePins(client, found);
  });
  return { seen, unwanted, queued: found.length };
}

async function readUnwanted(pool: Pool, cids: readonly string[]): Promise<readonly string[]> {
  const { rows } = await runQuery<{ cid: string }>(pool, {
    name: "pins_unwanted",
    text: `
      select asked.cid from unnest($1::text[]) as asked (cid)
       where not exists (select from pins p where p.cid_key = asked.cid and p.status in ('queued', 'pinning', 'pinned'))
         and not exists (select from pin_jobs j where j.cid = asked.cid)`,
    values: [cids],
  });
  return rows.map(({ cid }) => cid);
}
