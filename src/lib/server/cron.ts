import type { Clock } from "../kernel/clock.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import { type Lease, type LeaseState, startLease } from "../lease/lease.ts";
import { type ConnectionTarget, createPool, type Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import type { TransactionClient } from "../postgres/transaction.ts";
import { cronLoop, type RunOutcome } from "./cron-run.ts";
import type { CronTask } from "./cron-task.ts";

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

/**
 * Settings of the tasks' sessions: whoever is paused or gone in the middle keeps no lock for long. The server looks every
 * 250 ms whether there is still somebody to answer, and ends what it does for nobody. `jit` off: the planner takes tables of
 * one row, which nobody has analyzed, for thousands, and would compile a second for a statement that takes a millisecond.
 */
const SESSION_SETTINGS: Readonly<Record<string, string>> = {
  jit: "off",
  idle_in_transaction_session_timeout: "10000",
  client_connection_check_interval: "250",
  tcp_user_timeout: "15000",
  tcp_keepalives_idle: "5",
  tcp_keepalives_interval: "5",
  tcp_keepalives_count: "3",
};

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

/**
 * Starts the cron family: takes part in the lease and runs the tasks while it is held. Disposing tells the tasks to end,
 * waits for them, and gives the lease back.
 * @throws FulaError what `startLease` throws
 */
export async function startCron(options: CronOptions): Promise<Cron> {
  const { connection, node, clock, random, log, onRun, statementTimeoutMs = STATEMENT_TIMEOUT_MS } = options;
  await using opened = new AsyncDisposableStack();
  const pool = createPool({
    ...connection,
    node,
    part: "cron",
    max: POOL_MAX,
    // An answer that takes longer is late by a twelfth, or nobody is there to give it.
    queryTimeoutMs: statementTimeoutMs + statementTimeoutMs / 12,
    sessionSettings: { ...SESSION_SETTINGS, statement_timeout: String(statementTimeoutMs) },
    log,
  });
  opened.defer(async () => {
    await pool.end();
  });
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
