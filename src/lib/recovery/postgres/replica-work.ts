import { FulaError } from "../../kernel/errors.ts";
import type { SiteProgram, SiteRun, SiteSession } from "../../runtime/postgres-site.ts";
import type { Epoch } from "../epoch.ts";
import type { Lsn } from "../lsn.ts";
import type { SessionId } from "../types.ts";
import type { WalArchive } from "./archived-wal.ts";
import type { Following } from "./follow.ts";
import type { LedgerServer } from "./ledger-server.ts";
import { runStep } from "./site-files.ts";

/** How long the programs of a recovery may take. */
export interface WorkLimits {
  /** One program as a whole, in milliseconds. */
  readonly programMs: number;
  /** One that says nothing for so long hangs, in milliseconds: `pg_rewind` waits for ever for a source that went silent. */
  readonly silenceMs: number;
}

/** The history that this box's server has of its own, and nobody else. */
export interface DivergedTail {
  /** The timeline on which it was written. */
  readonly timeline: number;
  /** Where it left the federation's history. */
  readonly forkLsn: Lsn;
  /** Where it ended when it was looked at. */
  readonly endLsn: Lsn;
}

/** One session's work at this box's server. */
export interface ReplicaWork {
  readonly server: LedgerServer;
  /** The ledger's, whose rows are kept before they are discarded. */
  readonly database: string;
  readonly session: SessionId;
  readonly following: Following;
  /** The one that superseded the tail: under its number the tail is kept. */
  readonly epoch: Epoch;
  /** What is saved before it is discarded; null where there is nothing that others lack. */
  readonly tail: DivergedTail | null;
  /** What this box can read of archived WAL; null where there is none. */
  readonly archive: WalArchive | null;
  readonly limits: WorkLimits;
  /** Told of what a program says it is doing. */
  readonly onProgress: (line: string) => void;
}

/** The server's settings beside the data directory; the tools read them too. */
export function configFileOf({ site }: LedgerServer): string {
  return `${site.rootDir}/server.conf`;
}

/** A program that may take as long as all may, whether it says something or not. */
export function patientWith(work: ReplicaWork): ReplicaWork {
  return { ...work, limits: { ...work.limits, silenceMs: work.limits.programMs } };
}

/**
 * Runs a long program that must succeed, and ends it, with all that it started, where it takes too long or goes silent.
 * @throws FulaError FULA_RECOVERY_STEP
 */
export async function runLong(
  work: ReplicaWork,
  files: SiteSession,
  doing: string,
  program: SiteProgram,
  run: Omit<SiteRun, "timeoutMs" | "onLine" | "signal"> & { readonly signal: AbortSignal },
): Promise<string> {
  const { limits, onProgress, server } = work;
  const { clock } = server;
  const done = new AbortController();
  const silent = new AbortController();
  let heardMs = clock.monotonicMs();
  const watch = async (): Promise<void> => {
    for (;;) {
      const leftMs = heardMs + limits.silenceMs - clock.monotonicMs();
      if (leftMs <= 0) break;
      await clock.sleep(leftMs, done.signal);
    }
    silent.abort(
      new FulaError(
        "FULA_RECOVERY_STEP",
        `Cannot ${doing}: ${program} said nothing for ${limits.silenceMs} ms and was ended.`,
        {
          hint: "look whether the primary's box answers and the disks do; then run the command again.",
        },
      ),
    );
  };
  // It ends with `done`, by a rejection that is nobody's.
  const watching = watch().catch(() => {});
  try {
    return await runStep(files, doing, program, {
      ...run,
      timeoutMs: limits.programMs,
      signal: AbortSignal.any([run.signal, silent.signal]),
      onLine: (line) => {
        heardMs = clock.monotonicMs();
        onProgress(line);
      },
    });
  } finally {
    done.abort();
    await watching;
  }
}
