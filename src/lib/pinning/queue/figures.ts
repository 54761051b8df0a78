import type { Pool } from "../../postgres/pool.ts";
import { runQuery } from "../../postgres/run-query.ts";

/** What is said of the queue as a whole. */
export interface PinQueueFigures {
  /** Jobs that somebody has yet to do, and those of them that a worker has in hand. */
  readonly waiting: number;
  readonly claimed: number;
  /** Those of which the last try failed. */
  readonly failing: number;
  /** Seconds since the wishes of the oldest of them changed, by the database's clock; null where nothing waits. */
  readonly oldestSeconds: number | null;
  /** Seconds that the longest overdue has been due and in nobody's hand; 0 where workers keep up. */
  readonly overdueSeconds: number;
  /** Given up, until an operator drives them again. */
  readonly dead: number;
}

/** Looks how the queue stands. */
export async function readPinQueueFigures(pool: Pool): Promise<PinQueueFigures> {
  const { rows } = await runQuery<{
    waiting: string;
    claimed: string;
    failing: string;
    oldest: number | null;
    overdue: number | null;
    dead: string;
  }>(pool, {
    name: "pin_jobs_figures",
    text: `
      select count(*) filter (where dead_at is null) as waiting,
             count(*) filter (where dead_at is null and claimed_until >= clock_timestamp()) as claimed,
             count(*) filter (where dead_at is null and attempts > 0) as failing,
             extract(epoch from clock_timestamp() - min(queued_at) filter (where dead_at is null))::float8 as oldest,
             extract(epoch from clock_timestamp() - min(greatest(due_at, claimed_until))
               filter (where dead_at is null and (claim is null or claimed_until < clock_timestamp())))::float8 as overdue,
             count(*) filter (where dead_at is not null) as dead
        from pin_jobs`,
    values: [],
  });
  const [row] = rows;
  return {
    waiting: Number(row?.waiting ?? 0),
    claimed: Number(row?.claimed ?? 0),
    failing: Number(row?.failing ?? 0),
    oldestSeconds: row?.oldest ?? null,
    overdueSeconds: Math.max(0, row?.overdue ?? 0),
    dead: Number(row?.dead ?? 0),
  };
}
