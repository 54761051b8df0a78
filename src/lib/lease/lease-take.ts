import type { Clock } from "../kernel/clock.ts";
import type { Log } from "../kernel/log.ts";
import type { Fence } from "../postgres/fence.ts";
import type { ConnectionTarget } from "../postgres/pool.ts";
import { openSession, type Session } from "../postgres/session.ts";
import { endBlockers, isLockTimeout, raiseEpoch } from "./lease-row.ts";
import type { LeaseTimes } from "./lease-session.ts";

/** What taking needs. */
interface TakeOptions {
  readonly connection: ConnectionTarget;
  readonly node: string;
  readonly times: LeaseTimes;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** A taken lease. */
export interface Taken {
  readonly fence: Fence;
  /** When the statement that took it was sent, by the monotonic clock in milliseconds: its time to live began later. */
  readonly sentMs: number;
}

/** How long a write under the epoch before may go on when a successor is there. */
const PATIENCE_MS = 250;

/** Ends sessions that keep the successor waiting, again and again until `signal` aborts. */
async function clearTheWay(session: Session, options: TakeOptions, signal: AbortSignal): Promise<void> {
  const { connection, node, clock, log } = options;
  const patienceMs = Math.min(PATIENCE_MS, options.times.pollMs);
  try {
    await clock.sleep(patienceMs, signal);
    await using helper = await openSession({ ...connection, node, part: "lease-probe" }, clock);
    while (!signal.aborted) {
      for (const blocker of await endBlockers(helper, session.pid)) {
        log.warn(blocker.isEnded ? "lease.late_writer_ended" : "lease.blocked", { ...blocker });
      }
      await clock.sleep(patienceMs, signal);
    }
  } catch (error) {
    // Taking goes on without help: the server ends what is dead, only later.
    if (!signal.aborted) log.warn("lease.late_writers_not_seen", { error });
  }
}

/**
 * Raises the epoch for a session that has the lock. Writes under the epoch before end first; those that take longer than
 * a moment are cut off.
 * @throws what makes the session useless
 */
export async function takeEpoch(session: Session, options: TakeOptions): Promise<Taken> {
  const done = new AbortController();
  // Not waited for at the end: the lease's time runs already. It handles its own errors and ends by itself.
  void clearTheWay(session, options, done.signal);
  try {
    for (;;) {
      options.signal.throwIfAborted();
      const sentMs = options.clock.monotonicMs();
      try {
        return { fence: await raiseEpoch(session, options.node, options.times.ttlMs), sentMs };
      } catch (error) {
        // The lock is still ours: it belongs to the session, not to the statement.
        if (!isLockTimeout(error)) throw error;
      }
    }
  } finally {
    done.abort();
  }
}
