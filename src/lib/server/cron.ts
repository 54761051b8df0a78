import type { Clock } from "../kernel/clock.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import { type Lease, type LeaseState, startLease } from "../lease/lease.ts";
import { type ConnectionTarget, createPool, type Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import type { TransactionClient } from "../postgres/transaction.ts";
import { ATTENDED_SESSION } from "../postgres/session-settings.ts";
import { endStuckSessions } from "../postgres/stuck-sessions.ts";
import { cronLoop, type RunOutcome } from "./cron-run.ts";
import type { CronTask } from "./cron-task.ts";
import { repeat } from "./repeat.ts";

/** What the cron family of a master needs. */
export interface CronOptions {
  readonly connection: ConnectionTarget;
  /** Name of this master. */
  readonly node: string;
  /** A holder that does not renew for so long, in milliseconds, loses the lease. */
  readonly ttlMs: number;
  /** False: no lease, every master runs the tasks, without a fence. */
  readonly hasLease: boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** No statement of a task takes longer, in milliseconds. Default 60,000. */
  readonly statementTimeoutMs?: number;
  /** The tasks, over a pool that is theirs alone. */
  readonly tasks: (pool: Pool) => readonly CronTask[];
  /** Binds further things to the lease's session whenever there is a new one; it is not used where this rejects. */
  readonly onSession?: (client: TransactionClient) => Promise<void>;
  readonly onLease?: (state: LeaseState) => void;
  readonly onRun?: (task: string, outcome: RunOutcome) => void;
}

/** The running cron family. */
export interface Cron extends AsyncDisposable {
  lease(): LeaseState;
}

const POOL_MAX = 4;
/** No statement of a task takes longer: an hour's accounts are charged in shards, blocks are scanned in windows. */
const STATEMENT_TIMEOUT_MS = 60_000;
/** A session that has begun a transaction and says nothing for so long is ended, or for the time of a statement if that is shorter. */
const SILENT_MS = 10_000;

async function msToNextHour(pool: Pool): Promise<number> {
  const { rows } = await runQuery<{ ms: number }>(pool, {
    name: "cron_ms_to_next_hour",
    text: `
      select (extract(epoch from date_trunc('hour', t, 'UTC') + interval '1 hour' - t) * 1000)::float8 as ms
        from clock_timestamp() as t`,
    values: [],
  });
  return rows[0]?.ms ?? 0;
}

/** Ends dead sessions, of any master, that keep hours or accounts from being billed; again and again. */
function keepUnstuck(pool: Pool, silentMs: number, { clock, log }: CronOptions): AsyncDisposable {
  return repeat({ intervalMs: silentMs / 2, clock }, async () => {
    try {
      for (const session of await endStuckSessions(pool, silentMs))
        log.warn("cron.stuck_session_ended", { ...session });
    } catch (error) {
      log.debug("cron.stuck_sessions_not_seen", { error });
    }
  });
}

/**
 * Starts the cron family: takes part in the lease and runs the tasks while it is held. Disposing tells the tasks to end,
 * waits for them, and gives the lease back.
 * @throws FulaError what `startLease` throws
 */
export async function startCron(options: CronOptions): Promise<Cron> {
  const { connection, node, clock, random, log, onRun, statementTimeoutMs = STATEMENT_TIMEOUT_MS } = options;
  const silentMs = Math.min(SILENT_MS, statementTimeoutMs);
  await using opened = new AsyncDisposableStack();
  const pool = createPool({
    ...connection,
    node,
    part: "cron",
    max: POOL_MAX,
    // An answer that takes longer is late by a twelfth, or nobody is there to give it.
    queryTimeoutMs: statementTimeoutMs + statementTimeoutMs / 12,
    sessionSettings: {
      ...ATTENDED_SESSION,
      statement_timeout: String(statementTimeoutMs),
      idle_in_transaction_session_timeout: String(silentMs),
    },
    log,
  });
  opened.defer(async () => {
    await pool.end();
  });
  opened.use(keepUnstuck(pool, silentMs, options));
  const deps = { clock, random, log, onRun, msToNextHour: async () => await msToNextHour(pool) };
  const lease: Lease = opened.use(
    await startLease({
      connection,
      node,
      ttlMs: options.ttlMs,
      exclusive: options.hasLease,
      clock,
      random,
      log,
      ...(options.onSession === undefined ? {} : { onSession: options.onSession }),
      ...(options.onLease === undefined ? {} : { onChange: options.onLease }),
      whileHeld: cronLoop(options.tasks(pool), deps),
    }),
  );
  const running = opened.move();
  return {
    lease: () => lease.state(),
    [Symbol.asyncDispose]: async () => {
      await running.disposeAsync();
    },
  };
}
