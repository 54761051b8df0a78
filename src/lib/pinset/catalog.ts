import { existsSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Clock } from "../kernel/clock.ts";
import { systemErrorCode } from "../kernel/errors.ts";
import { type SnapshotFiles, type SnapshotManifest, snapshotFiles, timeOfName } from "./format.ts";
import type { TrustedKey } from "./keys.ts";
import { checkManifest, isLegacyFile, type SnapshotProblem, unreadable } from "./manifest-check.ts";
import { stageName } from "./stage.ts";

/** What decides which snapshots are good ones. */
export interface CatalogDeps {
  readonly trustedKeys: readonly TrustedKey[];
  /** Snapshots of other clusters are not good here; null = any cluster. */
  readonly clusterId: string | null;
}

/** One snapshot in the directory, as far as it can be judged without reading its records. */
export interface SnapshotEntry {
  readonly files: SnapshotFiles;
  readonly name: string;
  /** Time of the manifest where that can be trusted, else of the name. */
  readonly timeMs: number;
  /** `legacy`: a file of the existing fleet, without manifest. */
  readonly format: "snapshot" | "legacy";
  readonly manifest: SnapshotManifest | null;
  /** Size of the data file; null where it is missing. */
  readonly sizeBytes: number | null;
  /** Empty where signatures, manifest, name, cluster and size of the data file are as they should be. */
  readonly problems: readonly SnapshotProblem[];
  readonly good: boolean;
}

/** A snapshot that is good as far as its signatures, its manifest and the size of its data file tell. */
export interface GoodSnapshot extends SnapshotEntry {
  readonly manifest: SnapshotManifest;
  /** Milliseconds since it was taken; negative where it is dated in the future. */
  readonly ageMs: number;
}

/** Every snapshot of a directory, newest first; none where there is no such directory. Reads manifests, no records. */
export async function listSnapshots(dir: string, deps: CatalogDeps): Promise<readonly SnapshotEntry[]> {
  const names = await snapshotNames(dir);
  const entries: SnapshotEntry[] = [];
  for (const name of names) {
    const entry = await readEntry(snapshotFiles(dir, name), deps);
    if (entry !== null) entries.push(entry);
  }
  return newestFirst(entries);
}

/**
 * The newest good snapshot, judged by signatures, manifest and file size alone, so that it can be asked for often
 * (`status`, `/readyz`, metrics); `verify` reads the records too. Null where there is none.
 */
export async function lastGoodSnapshot(
  dir: string,
  deps: CatalogDeps & { readonly clock: Clock },
): Promise<GoodSnapshot | null> {
  const names = (await snapshotNames(dir)).toSorted().toReversed();
  let best: GoodSnapshot | null = null;
  for (const name of names) {
    const entry = await readEntry(snapshotFiles(dir, name), deps);
    const manifest = entry?.good === true ? entry.manifest : null;
    if (entry === null || manifest === null) continue;
    if (best !== null && best.manifest.sequence >= manifest.sequence) continue;
    best = { ...entry, manifest, ageMs: deps.clock.nowMs() - entry.timeMs };
  }
  return best;
}

/**
 * The one that `verify` means by the newest: by its name where that one is bad, so that a bad one is never passed over;
 * else by sequence, because a clock may have been set back. Null where there is none.
 */
export function newestOf(entries: readonly SnapshotEntry[]): SnapshotEntry | null {
  const [byName] = entries.toSorted((a, b) => (a.name < b.name ? 1 : -1));
  if (byName === undefined || !byName.good) return byName ?? null;
  return entries
    .filter(({ good }) => good)
    .reduce((best, entry) => ((entry.manifest?.sequence ?? 0) > (best.manifest?.sequence ?? 0) ? entry : best), byName);
}

async function snapshotNames(dir: string): Promise<readonly string[]> {
  let listed: readonly string[];
  try {
    listed = await readdir(dir);
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return [];
    throw unreadable(dir, error);
  }
  // A data file without a manifest is listed too: it is either unfinished or somebody removed its manifest.
  const names = listed.flatMap((file) => /^(pinset-\d{8}T\d{6}Z)\.(?:json|jsonl\.zst)$/.exec(file)?.[1] ?? []);
  return [...new Set(names)].filter((name) => timeOfName(name) !== null);
}

/** Null for one that is being made or removed just now: only its manifest makes it a snapshot. */
async function readEntry(files: SnapshotFiles, deps: CatalogDeps): Promise<SnapshotEntry | null> {
  const { name } = files;
  if (isUnderWay(files)) return null;
  const timeMs = timeOfName(name) ?? 0;
  if (await isLegacyFile(files)) {
    return {
      files,
      name,
      timeMs,
      format: "legacy",
      manifest: null,
      sizeBytes: await sizeOf(files.manifest),
      problems: [],
      good: false,
    };
  }
  const { manifest, problems } = await checkManifest(files, deps);
  const sizeBytes = await sizeOf(files.data);
  return {
    files,
    name,
    timeMs: manifest === null ? timeMs : Date.parse(manifest.time),
    format: "snapshot",
    manifest,
    sizeBytes,
    problems,
    good: problems.length === 0,
  };
}

function isUnderWay(files: SnapshotFiles): boolean {
  if (existsSync(files.manifest)) return false;
  return existsSync(join(dirname(files.manifest), stageName(files.name))) || !existsSync(files.data);
}

async function sizeOf(path: string): Promise<number | null> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return null;
    throw unreadable(path, error);
  }
}

/**
 * By time; but good ones among each other by sequence, because a clock that once was wrong must not make an old
 * snapshot the newest.
 */
function newestFirst(entries: readonly SnapshotEntry[]): readonly SnapshotEntry[] {
  const bySequence = entries
    .filter(({ good }) => good)
    .toSorted((a, b) => (b.manifest?.sequence ?? 0) - (a.manifest?.sequence ?? 0) || byTime(a, b))
    .values();
  return entries.toSorted(byTime).map((entry) => (entry.good ? (bySequence.next().value ?? entry) : entry));
}

function byTime(a: SnapshotEntry, b: SnapshotEntry): number {
  return b.timeMs - a.timeMs || (a.name < b.name ? 1 : -1);
}
