import { isAbsolute, join } from "node:path";
import type { LoadedConfig } from "../config/load.ts";
import { type Clock, formatUtc } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { acquireLock } from "../kernel/lock.ts";
import { type BackupEntry, listBackups } from "../recovery/backup/catalogue.ts";
import type { Recovered } from "../recovery/backup/recover.ts";
import { assertReplaceable, readSystemId, replaceData, resumeReplace } from "../recovery/backup/replace-data.ts";
import { restoreBackup, type RestoredData, restoreLockFile } from "../recovery/backup/restore-backup.ts";
import { planRestore, type RestorePlan, type RestoreRequest } from "../recovery/backup/restore-plan.ts";
import { type ArchiveListing, listArchive, newestTimeline } from "../recovery/backup/wal-archive.ts";
import { formatLsn, parseLsn } from "../recovery/lsn.ts";
import { type ControlData, parseControlData } from "../recovery/postgres/control-data.ts";
import { siteLayout } from "../recovery/postgres/site-layout.ts";
import type { PostgresSite } from "../runtime/postgres-site.ts";
import { lookAtRestored, type RestoredContents } from "./backup-check.ts";
import { type BackupDeps, backupPlace, backupTrust } from "./backup-place.ts";
import { type BackupProgress, restoreSiteOf } from "./backup-run.ts";
import { openRestoreEpoch, type RestoreEpoch } from "./restore-epoch.ts";

/** What an operator may choose for one restore. */
export interface LedgerRestoreOptions {
  /** `latest`, a time with its zone, or a position such as 16/B374D848. */
  readonly to: string;
  readonly backup: string | null;
  readonly timeline: number | null;
  /** Null for a new directory beside the server's own. */
  readonly targetDir: string | null;
  /** True makes it the data of this box's server. */
  readonly inPlace: boolean;
  /** True puts it in place although the look at it found something. */
  readonly acceptProblems: boolean;
  readonly dryRun: boolean;
}

/** What a restore of the ledger will do, or did; `backup restore --json` prints it. Positions as PostgreSQL writes them. */
export interface LedgerRestoreReport {
  readonly ok: boolean;
  readonly dryRun: boolean;
  readonly backup: string;
  /** By the server's clock. */
  readonly backupEndedAt: string;
  readonly to: string;
  /** How many archived segments it takes, and how far the WAL reaches without a gap. */
  readonly segments: number;
  readonly reachesTo: string;
  readonly neededBytes: number;
  /** Where it lies; null in a dry run. */
  readonly dir: string | null;
  readonly inPlace: boolean;
  /** Where the data lie that were replaced; null where none were. */
  readonly replaced: string | null;
  readonly recovered: { readonly timeline: number; readonly lsn: string; readonly lastCommitAt: string | null } | null;
  readonly contents: RestoredContents | null;
  readonly problems: readonly string[];
  /** The epoch of the ledger that it begins; null where the ledger has none. */
  readonly epoch: { readonly number: number; readonly uuid: string } | null;
}

const LSN = /^[0-9A-Fa-f]{1,8}\/[0-9A-Fa-f]{1,8}$/;
/** A time without its zone means another one on each box. Fractions to the microsecond, as PostgreSQL has them of commits. */
const TIME = /^(\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2})?)(?:\.(\d{1,6}))?(Z|[+-]\d{2}:?\d{2})$/;
const MICROSECOND_DIGITS = 6;
const CONTROL_TIMEOUT_MS = 30_000;

function parseTime(text: string): bigint | null {
  const [, upToSeconds, fraction = "", zone] = TIME.exec(text) ?? [];
  const atMs = Date.parse(`${upToSeconds ?? ""}${zone ?? ""}`.replace(" ", "T"));
  return Number.isNaN(atMs) ? null : BigInt(atMs) * 1_000n + BigInt(fraction.padEnd(MICROSECOND_DIGITS, "0"));
}

/** Reads what `--to` says. @throws FulaError FULA_USAGE */
export function parseRestoreTarget(text: string, nowMs: number): RestoreRequest["target"] {
  if (text === "latest") return { kind: "latest" };
  if (LSN.test(text)) return { kind: "lsn", lsn: parseLsn(text) };
  const atUs = parseTime(text);
  if (atUs === null) {
    throw new FulaError("FULA_USAGE", `--to ${text} is neither a time with its zone, nor a position, nor latest.`, {
      hint: "as an example: --to 2026-11-20T03:00:00Z, --to 16/B374D848, --to latest",
    });
  }
  if (atUs > BigInt(Math.ceil(nowMs)) * 1_000n) {
    throw new FulaError("FULA_USAGE", `--to ${text} lies in the future.`, {
      hint: "--to latest restores all that there is.",
    });
  }
  return { kind: "time", atUs };
}

function requestOf({ to, backup, timeline }: LedgerRestoreOptions, nowMs: number): RestoreRequest {
  return { target: parseRestoreTarget(to, nowMs), backup, timeline };
}

function reportOf(plan: RestorePlan, { to, inPlace, dryRun }: LedgerRestoreOptions): LedgerRestoreReport {
  return {
    ok: true,
    dryRun,
    backup: plan.backup.name,
    backupEndedAt: plan.backup.record.endedAt,
    to,
    segments: plan.wal.filter((name) => !name.endsWith(".history")).length,
    reachesTo: formatLsn(plan.reachLsn),
    neededBytes: plan.neededBytes,
    dir: null,
    inPlace,
    replaced: null,
    recovered: null,
    contents: null,
    problems: [],
    epoch: null,
  };
}

function recoveredOf({ timeline, reachedLsn, lastCommitAt }: Recovered): LedgerRestoreReport["recovered"] {
  return { timeline, lsn: formatLsn(reachedLsn), lastCommitAt };
}

/** The session's number where no control plane gives one: it grows, and nobody else restores at this site at the same time. */
function ownSession(nowMs: number): bigint {
  return BigInt(nowMs);
}

function directoryOf(site: PostgresSite, options: LedgerRestoreOptions, session: bigint, nowMs: number): string {
  const { targetDir, inPlace } = options;
  if (inPlace) return siteLayout(site).newData(session);
  if (targetDir === null) return `${site.rootDir}/restored-${formatUtc(nowMs).replaceAll(/[-:]/g, "")}`;
  if (site.kind === "container") {
    throw new FulaError("FULA_USAGE", "The server is a container: it restores onto its own volume.", {
      hint: "leave --target-dir out; the directory is told at the end.",
    });
  }
  if (isAbsolute(targetDir)) return targetDir;
  throw new FulaError("FULA_USAGE", `--target-dir ${targetDir} is no absolute path.`, {
    hint: "begin it with a slash.",
  });
}

/** @throws FulaError FULA_BASE_BACKUP_FOREIGN where it is the copy of another server than the one whose data it replaces */
function assertSameServer(backup: BackupEntry, present: string | null): void {
  if (present === null || backup.record?.systemId === present) return;
  throw new FulaError(
    "FULA_BASE_BACKUP_FOREIGN",
    `${backup.name} is a copy of the server ${backup.record?.systemId ?? "?"}, and the data here are those of ${present}.`,
    {
      hint: "if this box's data are to be given up, move its data directory away first; the backup then takes an empty place.",
    },
  );
}

async function planOf(
  loaded: LoadedConfig,
  request: RestoreRequest,
  site: PostgresSite,
  signal: AbortSignal,
): Promise<RestorePlan> {
  const { backupDir } = backupPlace(loaded);
  const entries = await listBackups(backupDir, await backupTrust(loaded));
  const archive = await listArchive(backupDir);
  const plan = planRestore(backupDir, entries, archive, request);
  const isNamed = request.backup !== null || request.timeline !== null || request.target.kind !== "latest";
  if (!isNamed) assertNewest(plan, archive, await readControl(site, signal));
  return plan;
}

/** What the control file of the data here says; null where there is none that could be read. */
async function readControl(site: PostgresSite, signal: AbortSignal): Promise<ControlData | null> {
  await using files = await site.open(signal);
  const args = ["-D", site.dataDir];
  const { exitCode, stdout } = await files.run("pg_controldata", { args, timeoutMs: CONTROL_TIMEOUT_MS, signal });
  return exitCode === 0 ? parseControlData(stdout) : null;
}

/**
 * A restore and a promotion begin a timeline. Before something of that is backed up or archived, the latest that there is would
 * be what the ledger has left: what a restore took back, above all.
 * @throws FulaError FULA_RESTORE_TARGET
 */
export function assertNewest(
  { backup: { name, record } }: RestorePlan,
  archive: ArchiveListing | null,
  present: Pick<ControlData, "checkpointTimeline" | "systemId"> | null,
): void {
  const known = Math.max(record.timeline, (archive === null ? null : newestTimeline(archive)) ?? 0);
  if (present?.systemId !== record.systemId || present.checkpointTimeline <= known) return;
  const timeline = present.checkpointTimeline;
  throw new FulaError(
    "FULA_RESTORE_TARGET",
    `The ledger here is on timeline ${timeline}, since a restore or a promotion, and nothing of that is backed up or archived yet: the latest that there is is what it has left.`,
    {
      hint: `say what is meant: --timeline ${known} for the end of that, --backup ${name}, a time or a position. For what came since: fula-master backup create, now.`,
      details: { timeline, known, backup: name },
    },
  );
}

/** Keeps prune and another restore away; and, where the server's data are replaced, `serve`, which would start it on them. */
async function lockRestore({ paths }: LoadedConfig, inPlace: boolean, clock: Clock): Promise<Disposable> {
  const held = new DisposableStack();
  try {
    held.use(await acquireLock(restoreLockFile(paths.locksDir), "restore the ledger", clock));
    if (inPlace) held.use(await acquireLock(join(paths.locksDir, "serve.lock"), "replace the ledger's data", clock));
    return held;
  } catch (error) {
    held.dispose();
    throw error;
  }
}

/**
 * Restores the ledger to a position or time, looks at it, and makes it the data of this box's server where that was asked for.
 * Whatever does not fit is found before anything is written; whatever is wrong afterwards is not put in place.
 * @throws FulaError FULA_USAGE, FULA_LOCKED, FULA_RESTORE_TARGET, FULA_RESTORE_RUNNING, FULA_BASE_BACKUP_ABSENT,
 *   FULA_BASE_BACKUP_FOREIGN, and what `planRestore` and `restoreBackup` throw
 */
export async function runLedgerRestore(
  loaded: LoadedConfig,
  options: LedgerRestoreOptions,
  deps: BackupDeps,
  onProgress: BackupProgress,
): Promise<LedgerRestoreReport> {
  const { clock, signal } = deps;
  const nowMs = clock.nowMs();
  const request = requestOf(options, nowMs);
  let contents: RestoredContents | null = null;
  const place = await restoreSiteOf(loaded, deps, async (target) => {
    const look = await lookAtRestored(target, true, signal);
    contents = look.contents;
    return look.problems;
  });
  const session = ownSession(nowMs);
  const dir = directoryOf(place.site, options, session, nowMs);
  if (options.inPlace) await assertStopped(place.site, signal);
  using _ = options.dryRun ? null : await lockRestore(loaded, options.inPlace, clock);
  const plan = await planOf(loaded, request, place.site, signal);
  const epoch = options.inPlace ? await prepareReplacement(loaded, plan, place.site, options.dryRun, deps) : null;
  const report = reportOf(plan, options);
  if (options.dryRun) return report;
  const restored = await restoreBackup(place, plan, {
    backupDir: backupPlace(loaded).backupDir,
    dir,
    signal,
    onProgress: (done, total) => {
      onProgress("copy", done, total);
    },
    acceptProblems: options.acceptProblems,
    lastStatements: (recovered) => epoch?.statements(recovered) ?? [],
  });
  const seen = { ...report, dir, recovered: recoveredOf(restored), contents, problems: restored.problems };
  if (restored.problems.length > 0 && !options.acceptProblems) return { ...seen, ok: false, inPlace: false };
  if (!options.inPlace) return seen;
  const replaced = await putInPlace(place.site, session, restored, epoch, deps);
  return { ...seen, dir: place.site.dataDir, replaced, epoch: epoch?.epoch ?? null };
}

/** Before anything else: that is what an operator has to do first. */
async function assertStopped(site: PostgresSite, signal: AbortSignal): Promise<void> {
  await using files = await site.open(signal);
  await assertReplaceable(site, files);
}

/** Finds out whether the server's data may be replaced, and under which epoch. Ends first what a killed run left. */
async function prepareReplacement(
  loaded: LoadedConfig,
  { backup }: RestorePlan,
  site: PostgresSite,
  dryRun: boolean,
  deps: BackupDeps,
): Promise<RestoreEpoch | null> {
  await using files = await site.open(deps.signal);
  if (!dryRun) await resumeReplace(site, files);
  assertSameServer(backup, await readSystemId(site, files));
  return await openRestoreEpoch(loaded, backup.name, deps);
}

/** First the control plane, then the data: between the two, nobody takes this box's old data for the ledger's newest. */
async function putInPlace(
  site: PostgresSite,
  session: bigint,
  restored: RestoredData,
  epoch: RestoreEpoch | null,
  { clock, signal }: BackupDeps,
): Promise<string> {
  await using files = await site.open(signal);
  await assertReplaceable(site, files);
  await epoch?.begin(files, site);
  const replaced = await replaceData(site, files, session, clock);
  await epoch?.finish(restored);
  return replaced;
}
