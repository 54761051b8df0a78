import { join } from "node:path";
import { FulaError } from "../../kernel/errors.ts";
import type { SiteSession } from "../../runtime/postgres-site.ts";
import { formatLsn, segmentOf } from "../lsn.ts";
import { runScript } from "../postgres/site-files.ts";
import { type Recovered, recoverData, runConfFile, runSingleUser } from "./recover.ts";
import type { RestorePlan } from "./restore-plan.ts";
import { withScratchServer } from "./scratch-server.ts";
import type { RestoreSite } from "./test-backup.ts";
import { assertSiteRoom, unpackBackup, unpackWal } from "./unpack.ts";

/** How a restore goes about it. */
export interface RestoreOptions {
  readonly backupDir: string;
  /** A new directory of the site, beside the server's own or wherever its user may write. */
  readonly dir: string;
  readonly signal: AbortSignal;
  readonly onProgress?: ((doneBytes: number, totalBytes: number) => void) | undefined;
  readonly onSegment?: ((name: string) => void) | undefined;
  /** Whether it is finished although the look at it found something. */
  readonly acceptProblems: boolean;
  /** Run last, as what the ledger begins its new life with. One line each. */
  readonly lastStatements: (recovered: Recovered) => readonly string[];
}

/** What came of a restore. */
export interface RestoredData extends Recovered {
  readonly dir: string;
  /** What is wrong with the ledger that was restored, sentences. */
  readonly problems: readonly string[];
}

/** The lock of whoever restores from the catalogue: nothing of it is removed meanwhile. */
export function restoreLockFile(locksDir: string): string {
  return join(locksDir, "backup-restore.lock");
}

/** A server neither follows anybody nor asks for more WAL: what it had of that belongs to the one that was copied. */
const FINISH =
  'cd "$1" && rm -rf "$2" "$3" "$3.lock" "$1.hba" "$1.hba.lock" backup_manifest recovery.signal standby.signal && : >postgresql.auto.conf && sync postgresql.auto.conf . "${1%/*}"';
const DISCARD = 'rm -rf "$1" "$2" "$3" "$3.lock" "$1.hba" "$1.hba.lock"';
/** Names the first that is there, be it a link to nowhere. */
const TAKEN = 'for path; do if [ -e "$path" ] || [ -L "$path" ]; then printf %s "$path"; break; fi; done';

/**
 * Restores a ledger into a directory of its own, on a new timeline, and looks at it. Nobody can reach it meanwhile, and
 * nothing that is in use is touched.
 * @throws FulaError FULA_RESTORE_OCCUPIED where the directory is there already, and stays as it is; FULA_DISK_FULL,
 *   FULA_BASE_BACKUP_DAMAGED, FULA_WAL_ARCHIVE_DAMAGED, FULA_RESTORE_TARGET: the directory is gone then
 */
export async function restoreBackup(
  place: RestoreSite,
  plan: RestorePlan,
  options: RestoreOptions,
): Promise<RestoredData> {
  const { site } = place;
  const { dir, signal } = options;
  const walDir = `${dir}.wal`;
  await using session = await site.open(signal);
  // Before anything else: what fails from here on takes the directory away.
  await assertNotTaken(session, [dir, walDir, runConfFile(dir), `${dir}.hba`]);
  try {
    return await restoreInto(place, session, plan, { ...options, walDir });
  } catch (error) {
    // Not by the signal of the run: it may be what ended it.
    await using cleaning = await site.open(new AbortController().signal);
    await runScript(cleaning, "clear away what was restored", DISCARD, [dir, walDir, runConfFile(dir)]);
    throw error;
  }
}

async function assertNotTaken(session: SiteSession, paths: readonly string[]): Promise<void> {
  const taken = await runScript(session, "look whether the directory is there", TAKEN, paths);
  if (taken === "") return;
  throw new FulaError("FULA_RESTORE_OCCUPIED", `${taken} is there already; a restore takes a new directory.`, {
    hint: "name one that is not there yet, or leave --target-dir out. Nothing was changed.",
    details: { taken },
  });
}

async function restoreInto(
  place: RestoreSite,
  session: SiteSession,
  plan: RestorePlan,
  options: RestoreOptions & { readonly walDir: string },
): Promise<RestoredData> {
  const { database, clock, random } = place;
  const { backupDir, dir, walDir, signal, onProgress } = options;
  const parent = dir.slice(0, dir.lastIndexOf("/")) || "/";
  await assertSiteRoom(session, parent, plan.neededBytes);
  await unpackBackup(session, plan.backup, dir, { signal, onProgress });
  if (plan.wal.length > 0) {
    await unpackWal(session, backupDir, plan.wal, plan.backup.record.segmentBytes, walDir, signal);
  }
  const recovered = await recoverOrExplain(session, plan, options, database);
  const scratch = {
    session,
    dataDir: dir,
    database,
    host: session.host,
    port: await place.freePort(),
    clock,
    random,
    signal,
  };
  const problems = [...findCutOff(plan, recovered), ...(await withScratchServer(scratch, place.check))];
  const statements = problems.length > 0 && !options.acceptProblems ? [] : options.lastStatements(recovered);
  if (statements.length > 0) {
    await runSingleUser(session, "write the ledger's new epoch", { dataDir: dir, database, signal }, statements);
  }
  await runScript(session, "finish the restore", FINISH, [dir, walDir, runConfFile(dir)]);
  return { ...recovered, dir, problems };
}

/**
 * PostgreSQL ends where the next record does not fit, and takes that for the end of all WAL. The last one that is archived may
 * be begun, and the rest of a segment empty; whole segments beyond that are not of this history.
 */
export function findCutOff(
  {
    target,
    reachLsn,
    backup,
  }: Pick<RestorePlan, "target" | "reachLsn"> & {
    readonly backup: { readonly record: { readonly segmentBytes: number } };
  },
  { reachedLsn }: Pick<Recovered, "reachedLsn">,
): readonly string[] {
  const { segmentBytes } = backup.record;
  if (target.kind !== "latest") return [];
  const beyond = segmentOf(reachLsn - 1n, segmentBytes) - segmentOf(reachedLsn - 1n, segmentBytes);
  if (beyond <= 1n) return [];
  return [
    `it ends at ${formatLsn(reachedLsn)}, and WAL is archived up to ${formatLsn(reachLsn)}: what follows there does not go on with it, as that of another history`,
  ];
}

async function recoverOrExplain(
  session: SiteSession,
  { target, timeline, wal }: RestorePlan,
  { dir, walDir, signal, onSegment }: RestoreOptions & { readonly walDir: string },
  database: string,
): Promise<Recovered> {
  try {
    const recovery = {
      dataDir: dir,
      walDir: wal.length > 0 ? walDir : null,
      target,
      timeline,
      database,
      signal,
      onSegment,
    };
    return await recoverData(session, recovery);
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof FulaError) || target.kind === "latest") throw error;
    throw new FulaError(
      "FULA_RESTORE_TARGET",
      `The ledger could not be brought to where it was to be.\n${error.message}`,
      {
        cause: error,
        hint: "--to latest restores all that there is; fula-master backup list shows from when on and how far each backup reaches.",
      },
    );
  }
}
