import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../kernel/clock.ts";
import { exists, fsyncDir } from "../../kernel/files.ts";
import { acquireLock, tryLock } from "../../kernel/lock.ts";
import { type BackupEntry, checkContent, isFuture, listBackups } from "./catalogue.ts";
import { restoreLockFile } from "./restore-backup.ts";
import type { BackupTrust } from "./signer.ts";
import { type BackupPlace, backupLockFile, clearUnfinished, isHeld, REMOVING } from "./take-backup.ts";
import { pruneArchive } from "./wal-prune.ts";

/** Why a backup stays. */
export type BackupKeepReason =
  /** One of the newest `backup.keep`. */
  | "newest"
  /** The newest whose every byte is as it was signed; it stays whatever the policy says. */
  | "last good"
  /** An operator said so. */
  | "kept"
  /** A recovery is using it. */
  | "pinned"
  /** Damaged, or signed by somebody else: left for a person to look at. */
  | "not good"
  /** Dated later than it is now, so that it cannot be told which are the newest: left as well. */
  | "dated in the future";

/** Whether a backup stays, and why; no reason means that it goes. */
export interface BackupPruneDecision {
  readonly name: string;
  readonly keep: boolean;
  readonly reasons: readonly BackupKeepReason[];
}

/** What the decision needs to know of one backup. */
export interface BackupPruneCandidate {
  readonly name: string;
  readonly isGood: boolean;
  readonly isKept: boolean;
  readonly isPinned: boolean;
  readonly isFuture: boolean;
}

/** What prune did, or would do. */
export interface BackupPruneReport {
  readonly decisions: readonly BackupPruneDecision[];
  readonly removed: readonly string[];
  /** Names of archived WAL that no backup needs any more. */
  readonly removedWal: readonly string[];
}

/** What pruning needs. */
export interface BackupPruneDeps extends BackupPlace {
  readonly trust: BackupTrust;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/**
 * Decides what stays. Only good ones count, so that bad ones never push them out; nor do those of a clock that was wrong.
 * @param candidates newest first
 */
export function decideBackupPrune(
  candidates: readonly BackupPruneCandidate[],
  keep: number,
): readonly BackupPruneDecision[] {
  const good = candidates.filter(({ isGood, isFuture: isDated }) => isGood && !isDated).map(({ name }) => name);
  const newest = new Set(good.slice(0, keep));
  return candidates.map(({ name, isGood, isKept, isPinned, isFuture: isDated }) => {
    const reasons: BackupKeepReason[] = [];
    if (newest.has(name)) reasons.push("newest");
    if (name === good[0]) reasons.push("last good");
    if (isKept) reasons.push("kept");
    if (isPinned) reasons.push("pinned");
    if (!isGood) reasons.push("not good");
    if (isDated) reasons.push("dated in the future");
    return { name, keep: reasons.length > 0, reasons };
  });
}

/**
 * What prune decides about, newest first. The newest good one is only as good as its bytes: all of it is read, and one that
 * rotted does not count.
 */
export async function pruneCandidates(
  entries: readonly BackupEntry[],
  { clock, signal }: Pick<BackupPruneDeps, "clock" | "signal">,
): Promise<readonly BackupPruneCandidate[]> {
  const candidates: BackupPruneCandidate[] = [];
  let isNewestFound = false;
  for (const entry of entries) {
    const isDated = isFuture(entry, clock.nowMs());
    let isGood = entry.problems.length === 0;
    if (isGood && !isDated && !isNewestFound) {
      isGood = (await checkContent(entry, { signal })).length === 0;
      isNewestFound = isGood;
    }
    const [isKept, isPinned] = [entry.kept !== null, entry.pins.length > 0];
    candidates.push({ name: entry.name, isGood, isKept, isPinned, isFuture: isDated });
  }
  return candidates;
}

/**
 * Removes what is not kept, and the archived WAL before the oldest that stays.
 * @throws FulaError FULA_LOCKED, FULA_PATH_NOT_WRITABLE
 */
export async function pruneBackups(deps: BackupPruneDeps, keep: number): Promise<BackupPruneReport> {
  const { backupDir, locksDir, trust, clock, signal } = deps;
  if (!(await exists(backupDir))) return { decisions: [], removed: [], removedWal: [] };
  using _ = await acquireLock(backupLockFile(locksDir), "prune base backups", clock);
  await clearUnfinished(backupDir);
  const entries = await listBackups(backupDir, trust);
  const decisions = decideBackupPrune(await pruneCandidates(entries, deps), keep);
  // Whoever restores has chosen a backup and the WAL since: nothing is taken away from under it.
  using idle = await tryLock(restoreLockFile(locksDir), "prune base backups", clock);
  if (idle === null) return { decisions: decisions.map(pinned), removed: [], removedWal: [] };
  const removed: string[] = [];
  for (const { name, keep: stays } of decisions) {
    signal.throwIfAborted();
    if (!stays && (await removeUnlessPinned(backupDir, name))) removed.push(name);
  }
  const left = entries.filter(({ name }) => !removed.includes(name));
  const told = decisions.map((decision) => (removed.includes(decision.name) ? decision : pinned(decision)));
  return { decisions: told, removed, removedWal: await pruneArchive(backupDir, left) };
}

/** What became of a decision that somebody's use of the backup stood against. */
function pinned(decision: BackupPruneDecision): BackupPruneDecision {
  return decision.keep ? decision : { ...decision, keep: true, reasons: ["pinned"] };
}

/**
 * Takes a backup away under another name, looks once more whether somebody holds it, and gives it back then: a pin or an
 * operator's word that came meanwhile either was seen here, or its owner saw that the backup was gone.
 */
async function removeUnlessPinned(backupDir: string, name: string): Promise<boolean> {
  const leaving = join(backupDir, `${REMOVING}${name}`);
  await rename(join(backupDir, name), leaving);
  await fsyncDir(backupDir);
  if (await isHeld(backupDir, name, `${REMOVING}${name}`)) {
    await rename(leaving, join(backupDir, name));
    await fsyncDir(backupDir);
    return false;
  }
  await rm(leaving, { recursive: true, force: true });
  return true;
}
