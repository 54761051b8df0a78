import type { Pool } from "pg";
import type { Clock } from "../kernel/clock.ts";
import { messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import { describeSession } from "./advisory-lock.ts";

/** What watching needs: a pool with a connection to spare, beside the one that builds. */
interface WatchContext {
  readonly pool: Pool;
  readonly clock: Clock;
  readonly log: Log;
}

const POLL_MS = 2_000;

interface ProgressRow {
  readonly phase: string;
  readonly blocks_done: string;
  readonly blocks_total: string;
  readonly locker: number | null;
  readonly application_name: string | null;
  readonly usename: string | null;
}

async function readPhase(pool: Pool): Promise<string | null> {
  const { rows } = await pool.query<ProgressRow>(
    `select p.phase, p.blocks_done, p.blocks_total, nullif(p.current_locker_pid, 0)::integer as locker,
            a.application_name, a.usename::text
       from pg_stat_progress_create_index p
       left join pg_stat_activity a on a.pid = p.current_locker_pid
      where p.datname = current_database() limit 1`,
  );
  const [row] = rows;
  if (row === undefined) return null;
  if (row.locker !== null) {
    const session = {
      pid: row.locker,
      applicationName: row.application_name ?? "",
      user: row.usename ?? "",
      clientAddress: null,
      connectedAt: null,
    };
    return `${row.phase}: ${describeSession(session)}`;
  }
  const total = BigInt(row.blocks_total);
  return total === 0n ? row.phase : `${row.phase}, ${(BigInt(row.blocks_done) * 100n) / total} %`;
}

/**
 * Runs `build`, a CREATE INDEX CONCURRENTLY, and tells every two seconds what the server is doing: how far it is, or
 * which session's transaction it waits for. Failing to look is no reason to fail.
 */
export async function watchIndexBuild(
  { pool, clock, log }: WatchContext,
  onPhase: (phase: string) => void,
  build: () => Promise<void>,
): Promise<void> {
  const done = new AbortController();
  const watch = async (): Promise<void> => {
    for (;;) {
      await clock.sleep(POLL_MS, done.signal);
      const phase = await readPhase(pool);
      if (phase !== null && !done.signal.aborted) onPhase(phase);
    }
  };
  const watching = watch().catch((error: unknown) => {
    if (!done.signal.aborted) log.warn("migration.progress.failed", { message: messageOf(error) });
  });
  try {
    await build();
  } finally {
    done.abort();
    await watching;
  }
}
