import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import { type ArchiverState, startWalArchiver, type WalArchiver } from "../recovery/backup/wal-receiver.ts";
import { formatLsn } from "../recovery/lsn.ts";
import { backupConnection, backupPlace } from "../stack/backup-place.ts";
import type { Ledger } from "../stack/ledger.ts";
import type { CheckOutcome, HealthCheck } from "./health.ts";

/** The archive of the ledger's WAL, as `serve` keeps it. */
export interface WalArchiving extends AsyncDisposable {
  readonly check: HealthCheck;
  readonly archiver: Pick<WalArchiver, "interruptions" | "state">;
}

const CHECK_TIMEOUT_MS = 1_000;
/** A server that answers sends something within a second. */
const START_MS = 60_000;

function outcomeOf(state: ArchiverState, sinceMs: number): CheckOutcome {
  switch (state.status) {
    case "streaming":
      return {
        state: "ok",
        details: {
          timeline: state.timeline,
          durableLsn: formatLsn(state.durableLsn),
          lagBytes: Math.max(0, Number(state.serverLsn - state.durableLsn)),
        },
      };
    case "starting":
      if (sinceMs < START_MS) return { state: "ok", details: { status: state.status } };
      return { state: "degraded", error: "the server has sent no WAL since serve was started" };
    default:
      return { state: "degraded", error: state.because, details: { code: state.code } };
  }
}

/**
 * Archives the WAL of the server that this box carries, primary or standby, where `backup.archive` says so. Requests are
 * served without it; the server keeps meanwhile what is not archived.
 * @returns null where nothing is to be archived
 */
export function startWalArchiving(
  loaded: LoadedConfig,
  ledger: Ledger,
  deps: { readonly clock: Clock; readonly random: Random; readonly log: Log },
): WalArchiving | null {
  if (!loaded.config.backup.archive) return null;
  const { clock, log } = deps;
  const archiver = startWalArchiver({
    ...backupPlace(loaded),
    connection: async () => await backupConnection(loaded, ledger, { ...deps, env: process.env }, "archive"),
    clock,
    log,
  });
  const startedMs = clock.monotonicMs();
  return {
    archiver,
    check: {
      name: "archive",
      critical: false,
      timeoutMs: CHECK_TIMEOUT_MS,
      cacheMs: 0,
      run: async () => await Promise.resolve(outcomeOf(archiver.state(), clock.monotonicMs() - startedMs)),
    },
    [Symbol.asyncDispose]: async () => {
      await archiver[Symbol.asyncDispose]();
    },
  };
}
