import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { isFulaError, messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import { retryUntil } from "../kernel/retry.ts";
import { isLateAnswer } from "../postgres/database-errors.ts";
import { readKnownEpochs } from "../stack/ledger-epoch-file.ts";
import type { HealthCheck } from "./health.ts";

/** What waiting for the ledger needs. */
export interface LedgerWaitDeps<T> {
  readonly clock: Clock;
  readonly log: Log;
  readonly signal?: AbortSignal | undefined;
  readonly open: () => Promise<T>;
  /** Has operators told meanwhile how it stands; closed when the ledger is open. */
  readonly tell: (check: HealthCheck) => Promise<AsyncDisposable>;
}

const POLL_MS = 500;

/** Whether time, or another box, may mend it. */
async function isWorthWaiting(error: unknown, loaded: LoadedConfig): Promise<boolean> {
  if (isFulaError(error, "FULA_LEDGER_FENCED") || isFulaError(error, "FULA_EPOCH_ROLLED_BACK")) return true;
  if (!isFulaError(error, "FULA_DATABASE_UNREACHABLE")) return false;
  // Recovery after a crash takes its minutes, and so may a login where the box is busy.
  if (isLateAnswer(error.cause)) return true;
  // The primary may be gone, and this box the one that is to take its place.
  return (await readKnownEpochs(loaded.paths.stateDir)) !== null;
}

/**
 * Opens the ledger, and waits for as long as its server is there but lets nobody in yet. Where the ledger has more than one
 * server, also for as long as its primary is being changed, is away, or this box's own must not be started: what this box does
 * about that goes on meanwhile.
 * @throws what `open` throws and waiting does not mend; the signal's reason
 */
export async function waitForLedger<T>(loaded: LoadedConfig, deps: LedgerWaitDeps<T>): Promise<T> {
  const { clock, log, signal, open, tell } = deps;
  await using waiting = new AsyncDisposableStack();
  let why: string | null = null;
  const say = async (failure: unknown): Promise<void> => {
    const message = messageOf(failure);
    if (message !== why) log.warn("ledger.waiting", { error: failure });
    const isFirst = why === null;
    why = message;
    if (!isFirst) return;
    const run: HealthCheck["run"] = async () => await Promise.resolve({ state: "failed", error: why ?? message });
    waiting.use(await tell({ name: "ledger", critical: true, timeoutMs: 1_000, cacheMs: 0, run }));
  };
  return await retryUntil(open, {
    clock,
    signal,
    pauseMs: POLL_MS,
    shouldRetry: async (error) => {
      // A start that is ended says so, whatever the ledger said last.
      signal?.throwIfAborted();
      return await isWorthWaiting(error, loaded);
    },
    onRetry: say,
  });
}
