import { acquireLock } from "../kernel/lock.ts";
import type { Clock } from "../kernel/clock.ts";
import { join } from "node:path";
import { type CatalogDeps, listSnapshots, type SnapshotEntry } from "./catalog.ts";
import { digestFile } from "./data-file.ts";
import { clearUnfinished, removeSnapshot } from "./stage.ts";

/** How many snapshots stay: the newest ones, and the newest of each of the last days, ISO weeks and months (UTC) that have one. */
export interface KeepPolicy {
  readonly last: number;
  readonly daily: number;
  readonly weekly: number;
  readonly monthly: number;
}

/** Why a snapshot stays. */
export type KeepReason =
  | "last"
  | "daily"
  | "weekly"
  | "monthly"
  /** The newest that can be restored from; it stays whatever the policy says. */
  | "last good"
  /** Does not verify: left for a person to look at. */
  | "not good"
  /** A file of the existing fleet or of another cluster: not ours to remove. */
  | "not ours";

/** What the decision needs to know of one snapshot. */
export interface PruneCandidate {
  readonly name: string;
  /** 0 where it has none that can be trusted. */
  readonly sequence: number;
  readonly timeMs: number;
  readonly standing: "good" | "not good" | "not ours";
}

/** Whether a snapshot stays, and why; no reason means that it goes. */
export interface PruneDecision {
  readonly name: string;
  readonly keep: boolean;
  readonly reasons: readonly KeepReason[];
}

/** What prune did, or would do. */
export interface PruneReport {
  readonly decisions: readonly PruneDecision[];
  readonly removed: readonly string[];
}

const DAY_MS = 86_400_000;

/** Decides what stays. Only good snapshots count, so that bad ones never push them out. */
export function decidePrune(candidates: readonly PruneCandidate[], policy: KeepPolicy): readonly PruneDecision[] {
  // By sequence, not by time: a clock that once was wrong must not make an old snapshot the newest.
  const good = candidates
    .filter(({ standing }) => standing === "good")
    .toSorted((a, b) => b.sequence - a.sequence || b.timeMs - a.timeMs);
  const reasons = new Map<string, KeepReason[]>(candidates.map(({ name }) => [name, []]));
  for (const { name } of good.slice(0, policy.last)) reasons.get(name)?.push("last");
  for (const [reason, count, bucketOf] of [
    ["daily", policy.daily, dayOf],
    ["weekly", policy.weekly, weekOf],
    ["monthly", policy.monthly, monthOf],
  ] as const) {
    const buckets = new Set<string | number>();
    for (const { name, timeMs } of good) {
      const bucket = bucketOf(timeMs);
      if (buckets.has(bucket) || buckets.size >= count) continue;
      buckets.add(bucket);
      reasons.get(name)?.push(reason);
    }
  }
  const [lastGood] = good;
  if (lastGood !== undefined) reasons.get(lastGood.name)?.push("last good");
  for (const { name, standing } of candidates) if (standing !== "good") reasons.get(name)?.push(standing);
  return candidates.map(({ name }) => {
    const own = reasons.get(name) ?? [];
    return { name, keep: own.length > 0, reasons: own };
  });
}

function dayOf(timeMs: number): number {
  return Math.floor(timeMs / DAY_MS);
}

/** ISO weeks begin on Monday; 1970-01-01 was a Thursday. */
function weekOf(timeMs: number): number {
  return Math.floor((dayOf(timeMs) + 3) / 7);
}

function monthOf(timeMs: number): string {
  return new Date(timeMs).toISOString().slice(0, 7);
}

/** What `pruneSnapshots` works on. */
export interface PruneDeps extends CatalogDeps {
  readonly snapshotsDir: string;
  readonly locksDir: string;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
}

/** Removes what the policy does not keep. @throws FulaError FULA_LOCKED, FULA_PATH_NOT_WRITABLE */
export async function pruneSnapshots(deps: PruneDeps, policy: KeepPolicy): Promise<PruneReport> {
  using _ = await acquireLock(snapshotLockFile(deps.locksDir), "prune snapshots", deps.clock);
  return pruneLocked(deps, policy);
}

/** Like `pruneSnapshots`, for who holds the lock already. */
export async function pruneLocked(deps: PruneDeps, policy: KeepPolicy): Promise<PruneReport> {
  const entries = await listSnapshots(deps.snapshotsDir, deps);
  const decisions = decidePrune(await pruneCandidates(entries, deps.signal), policy);
  if (decisions.length > 0) await clearUnfinished(deps.snapshotsDir);
  const removed: string[] = [];
  for (const { name, keep } of decisions) {
    deps.signal?.throwIfAborted();
    if (keep) continue;
    await removeSnapshot(deps.snapshotsDir, name);
    removed.push(name);
  }
  return { decisions, removed };
}

/** The lock of everything that writes snapshots. */
export function snapshotLockFile(locksDir: string): string {
  return join(locksDir, "snapshot.lock");
}

/**
 * What prune has to decide about. The newest good one is only as good as its bytes: its data file is read, and one that
 * rotted does not count.
 */
export async function pruneCandidates(
  entries: readonly SnapshotEntry[],
  signal: AbortSignal | undefined,
): Promise<readonly PruneCandidate[]> {
  const candidates: PruneCandidate[] = [];
  let isNewestFound = false;
  const newestFirst = entries.toSorted((a, b) => (b.manifest?.sequence ?? 0) - (a.manifest?.sequence ?? 0));
  for (const { name, timeMs, good, format, manifest, files, problems } of newestFirst) {
    const isForeign = format === "legacy" || problems.some(({ code }) => code === "FULA_SNAPSHOT_CLUSTER");
    let isSound = good && manifest !== null;
    if (isSound && !isNewestFound) {
      isSound = (await digestOf(files.data, signal)) === manifest?.fileSha256;
      isNewestFound = isSound;
    }
    candidates.push({
      name,
      sequence: manifest?.sequence ?? 0,
      timeMs,
      standing: isSound ? "good" : isForeign ? "not ours" : "not good",
    });
  }
  return candidates;
}

/** Null where the file cannot be read. */
async function digestOf(path: string, signal: AbortSignal | undefined): Promise<string | null> {
  try {
    return (await digestFile(path, signal)).fileSha256;
  } catch {
    signal?.throwIfAborted();
    return null;
  }
}
