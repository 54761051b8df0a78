import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { basename } from "node:path";
import type { PinCluster } from "../cluster/pins.ts";
import { type Clock, formatUtc } from "../kernel/clock.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { ensureDir, SECRET_FILE_MODE, writeFileAtomic } from "../kernel/files.ts";
import { acquireLock } from "../kernel/lock.ts";
import { toolVersion } from "../kernel/project.ts";
import { lastGoodSnapshot } from "./catalog.ts";
import { type DataDigests, decompress, digestFile, writeDataFile } from "./data-file.ts";
import {
  renderManifest,
  SNAPSHOT_FORMAT,
  SNAPSHOT_FORMAT_VERSION,
  type SnapshotManifest,
  snapshotFiles,
  snapshotName,
} from "./format.ts";
import { type Acceptance, assertNotShrunk, decideHistory, decideTime, type History } from "./guards.ts";
import { assertCaughtUp, countKnownToPeers, isTooShort, type ListingCheck } from "./listing-check.ts";
import { readMemory, type SnapshotMemory, writeMemory } from "./memory.ts";
import { renderMinisig } from "./minisign.ts";
import { type KeepPolicy, pruneLocked, snapshotLockFile } from "./prune.ts";
import { countPins, recordTexts, SourceCheck } from "./records.ts";
import { ensureSigningKey, type SigningKey } from "./signing.ts";
import { clearUnfinished, openStage, publish, type Stage } from "./stage.ts";
import { loadTrustedKeys } from "./trust.ts";

/** What a snapshot is taken of and where it goes. */
export interface SnapshotDeps {
  readonly cluster: PinCluster;
  readonly paths: SnapshotPaths;
  /** `snapshot.trustedKeys`: keys, beside this box's own, whose snapshots count as earlier ones. */
  readonly trustedKeys: readonly string[];
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
  /** Told now and then how many pins have passed; `total` null = unknown. */
  readonly onProgress?: ((done: number, total: number | null) => void) | undefined;
}

/** The directories that snapshots use; a part of `Paths`. */
export interface SnapshotPaths {
  readonly snapshotsDir: string;
  readonly keysDir: string;
  readonly stateDir: string;
  readonly locksDir: string;
}

/** How a snapshot is taken. */
export interface SnapshotOptions {
  /** `snapshot.maxShrinkPercent`. */
  readonly maxShrinkPercent: number;
  /** Old snapshots to remove afterwards; null removes none. */
  readonly keep: KeepPolicy | null;
  /** The pinset is meant to be empty, or that much smaller. Default false. */
  readonly acceptShrink?: boolean;
  /** The clock was wrong before and is right now. Default false. */
  readonly acceptClock?: boolean;
  /** The settings name other peers of this cluster. Default false. */
  readonly expectsPeers?: boolean;
  /** For `join` alone: the first snapshot of a master may be empty. Default false. */
  readonly allowEmptyFirst?: boolean;
}

/** A snapshot that was taken; `--json` prints it. */
export interface SnapshotReport {
  readonly file: string;
  readonly manifestFile: string;
  readonly sequence: number;
  /** RFC 3339 UTC. */
  readonly time: string;
  readonly clusterId: string;
  readonly keyId: string;
  readonly pinCount: number;
  /** Size of the compressed file. */
  readonly bytes: number;
  readonly streamBytes: number;
  /** Of the uncompressed records. */
  readonly sha256: string;
  readonly previousManifestSha256: string | null;
  readonly durationMs: number;
  /** Names of the snapshots that were removed. */
  readonly pruned: readonly string[];
  readonly warnings: readonly string[];
}

/** What taking a snapshot would do. */
export interface SnapshotPlan {
  readonly dryRun: true;
  readonly file: string;
  readonly sequence: number;
  readonly time: string;
  readonly clusterId: string;
  readonly pinCount: number;
  readonly previousPinCount: number | null;
  readonly warnings: readonly string[];
}

/** What is known before the first pin is read. */
interface Preparation {
  readonly history: History;
  readonly timeMs: number;
  readonly warnings: readonly string[];
}

interface Written extends DataDigests {
  readonly pinCount: number;
  readonly warnings: readonly string[];
}

/**
 * Takes a signed snapshot of the whole pinset: streamed, sorted, checked as it is written, read back, and only then
 * shown under its name. On any error nothing is left of it, and earlier snapshots are as they were.
 * @throws FulaError FULA_LOCKED, FULA_SNAPSHOT_SHRUNK, FULA_SNAPSHOT_CLOCK, FULA_SNAPSHOT_MEMORY, FULA_SNAPSHOT_SOURCE,
 *   FULA_CLUSTER_UNREADABLE, FULA_DISK_FULL, FULA_PATH_NOT_WRITABLE, FULA_SIGNING_KEY_INVALID, FULA_SIGNING_KEY_LOST
 */
export async function takeSnapshot(deps: SnapshotDeps, options: SnapshotOptions): Promise<SnapshotReport> {
  const { paths, clock } = deps;
  const startedMs = clock.monotonicMs();
  using _ = await acquireLock(snapshotLockFile(paths.locksDir), "take a snapshot", clock);
  const key = await ensureSigningKey(paths.keysDir);
  await ensureDir(paths.snapshotsDir);
  const unfinished = await clearUnfinished(paths.snapshotsDir);
  const prepared = await prepare(deps, options);
  const { manifest, warnings } = await writeSnapshot(deps, options, prepared, key);
  const pruned = await pruneAfterwards(deps, options.keep);
  const files = snapshotFiles(paths.snapshotsDir, snapshotName(prepared.timeMs));
  return {
    file: files.data,
    manifestFile: files.manifest,
    ...factsOf(manifest),
    durationMs: Math.round(clock.monotonicMs() - startedMs),
    pruned: pruned.removed,
    warnings: [
      ...unfinished.map((name) => `${name} had been left unfinished and was cleared away.`),
      ...prepared.warnings,
      ...warnings,
      ...pruned.warnings,
    ],
  };
}

/**
 * Says what `takeSnapshot` would do, by listing the pins and writing nothing at all.
 * @throws FulaError as `takeSnapshot` does, where a guard would refuse
 */
export async function planSnapshot(deps: SnapshotDeps, options: SnapshotOptions): Promise<SnapshotPlan> {
  const { history, timeMs, warnings } = await prepare(deps, options);
  const listing = listingOf(deps, options, history);
  const known = await countKnownToPeers(listing);
  const pinCount = await countPins(deps);
  await assertCaughtUp(pinCount, known, listing);
  assertNotShrunk(pinCount, history, acceptanceOf(options));
  return {
    dryRun: true,
    file: snapshotFiles(deps.paths.snapshotsDir, snapshotName(timeMs)).data,
    sequence: history.sequenceMax + 1,
    time: formatUtc(timeMs),
    clusterId: deps.cluster.clusterId,
    pinCount,
    previousPinCount: history.baseline?.pinCount ?? null,
    warnings,
  };
}

function acceptanceOf(options: SnapshotOptions): Acceptance {
  const { maxShrinkPercent, acceptShrink = false, allowEmptyFirst = false } = options;
  return { maxShrinkPercent, acceptShrink, allowEmptyFirst };
}

function listingOf(deps: SnapshotDeps, options: SnapshotOptions, history: History): ListingCheck {
  const { cluster, clock, signal } = deps;
  return { cluster, clock, signal, expectsPeers: options.expectsPeers ?? false, isFirst: history.baseline === null };
}

async function prepare(deps: SnapshotDeps, options: SnapshotOptions): Promise<Preparation> {
  const { cluster, paths, clock } = deps;
  const { clusterId } = cluster;
  const trustedKeys = await loadTrustedKeys(paths.keysDir, deps.trustedKeys);
  const memory = await readMemory(paths.stateDir, clusterId, trustedKeys);
  const newest = await lastGoodSnapshot(paths.snapshotsDir, { trustedKeys, clusterId, clock });
  const history = decideHistory(memory, newest, options.acceptShrink ?? false);
  const { timeMs, warnings } = decideTime(clock.nowMs(), history.baseline, options.acceptClock ?? false);
  return { history, timeMs: freeTime(paths.snapshotsDir, timeMs), warnings: [...history.warnings, ...warnings] };
}

/** A name is never given twice, whatever lies there under it. */
function freeTime(snapshotsDir: string, timeMs: number): number {
  for (let candidateMs = timeMs; ; candidateMs += 1_000) {
    const { data, manifest, signature, minisign } = snapshotFiles(snapshotsDir, snapshotName(candidateMs));
    if (![data, manifest, signature, minisign].some((path) => existsSync(path))) return candidateMs;
  }
}

async function writeSnapshot(
  deps: SnapshotDeps,
  options: SnapshotOptions,
  { history, timeMs }: Preparation,
  key: SigningKey,
): Promise<{ readonly manifest: SnapshotManifest; readonly warnings: readonly string[] }> {
  const { paths, signal } = deps;
  await using stage = await openStage(paths.snapshotsDir, snapshotName(timeMs));
  const listing = listingOf(deps, options, history);
  const known = await countKnownToPeers(listing);
  const written = await writeRecords(deps, stage);
  await assertCaughtUp(written.pinCount, known, listing);
  assertNotShrunk(written.pinCount, history, acceptanceOf(options));
  await readBack(stage, written, signal);
  const manifest = describe(deps.cluster.clusterId, history, timeMs, key, written);
  const manifestBytes = Buffer.from(renderManifest(manifest));
  await writeSignedManifest(stage, manifest, manifestBytes, key);
  signal?.throwIfAborted();
  await writeMemory(
    paths.stateDir,
    { ...memoryOf(history, deps.cluster.clusterId), reservedSequence: manifest.sequence },
    key,
  );
  await publish(stage, paths.snapshotsDir);
  await writeMemory(paths.stateDir, nextMemory(history, manifest, manifestBytes), key);
  return { manifest, warnings: written.warnings };
}

async function writeRecords(deps: SnapshotDeps, stage: Stage): Promise<Written> {
  const { cluster, signal } = deps;
  const before = await cluster.count(signal);
  const check = new SourceCheck();
  const texts = recordTexts(deps, stage.dir, before);
  const digests = await writeDataFile(stage.files.data, texts, (chunk) => check.add(chunk), signal);
  const after = await cluster.count(signal);
  const { pinCount } = check;
  const expected = before === null || after === null ? null : Math.min(before, after);
  if (expected === null || pinCount >= expected) return { ...digests, pinCount, warnings: [] };
  return { ...digests, pinCount, warnings: [judgeShortfall(pinCount, expected)] };
}

/**
 * Pins that are removed and others that are added while the pinset is listed can make the listing a little shorter than
 * both counts around it. A listing that ended early is shorter than that.
 */
function judgeShortfall(pinCount: number, expected: number): string {
  if (!isTooShort(pinCount, expected)) {
    return `the pinset counted ${expected} pins while ${pinCount} were listed; pins came and went meanwhile.`;
  }
  throw new FulaError(
    "FULA_CLUSTER_UNREADABLE",
    `The pinset counts ${expected} pins, but its listing ended after ${pinCount}. No snapshot was taken.`,
    { hint: "run the command again; fula-master status tells how the cluster is.", details: { pinCount, expected } },
  );
}

/** What the disk gives back is compared with what was handed to it, before the snapshot counts as one. */
async function readBack(stage: Stage, written: DataDigests, signal: AbortSignal | undefined): Promise<void> {
  const path = stage.files.data;
  const file = await digestFile(path, signal);
  if (file.fileBytes !== written.fileBytes || file.fileSha256 !== written.fileSha256) {
    throw writtenBad(path, `its SHA-256 is ${file.fileSha256} instead of ${written.fileSha256}`);
  }
  const records = createHash("sha256");
  try {
    for await (const chunk of decompress(path, signal)) records.update(chunk);
  } catch (error) {
    signal?.throwIfAborted();
    throw writtenBad(path, messageOf(error), error);
  }
  if (records.digest("hex") !== written.sha256) throw writtenBad(path, "it does not decompress to the same records");
}

function writtenBad(path: string, what: string, cause?: unknown): FulaError {
  return new FulaError(
    "FULA_SNAPSHOT_WRITTEN_BAD",
    `${path} does not read back as it was written: ${what}. It was removed.`,
    {
      cause,
      hint: "look for disk or memory errors in the kernel log (dmesg), then run the command again.",
    },
  );
}

function describe(
  clusterId: string,
  history: History,
  timeMs: number,
  key: SigningKey,
  written: Written,
): SnapshotManifest {
  const { streamBytes, sha256, blake3, fileBytes, fileSha256, pinCount } = written;
  return {
    format: SNAPSHOT_FORMAT,
    formatVersion: SNAPSHOT_FORMAT_VERSION,
    tool: `fula-master ${toolVersion()}`,
    clusterId,
    nodeKeyId: key.keyId,
    sequence: history.sequenceMax + 1,
    time: formatUtc(timeMs),
    previousManifestSha256: history.baseline?.manifestSha256 ?? null,
    pinCount,
    streamBytes,
    sha256,
    blake3,
    file: basename(snapshotFiles("", snapshotName(timeMs)).data),
    fileBytes,
    fileSha256,
  };
}

async function writeSignedManifest(
  { files }: Stage,
  manifest: SnapshotManifest,
  manifestBytes: Uint8Array,
  key: SigningKey,
): Promise<void> {
  const mode = { mode: SECRET_FILE_MODE };
  await writeFileAtomic(files.manifest, manifestBytes, mode);
  await writeFileAtomic(files.signature, key.sign(manifestBytes), mode);
  const minisig = renderMinisig(manifestBytes, manifest, key.publicKey, (message) => key.sign(message));
  await writeFileAtomic(files.minisign, minisig, mode);
}

function memoryOf({ baseline, sequenceMax, pinCountMax }: History, clusterId: string): SnapshotMemory {
  return {
    clusterId,
    sequence: baseline?.sequence ?? 0,
    reservedSequence: sequenceMax,
    pinCount: baseline?.pinCount ?? 0,
    pinCountMax,
    time: baseline === null ? null : formatUtc(baseline.timeMs),
    manifestSha256: baseline?.manifestSha256 ?? null,
  };
}

function nextMemory(history: History, manifest: SnapshotManifest, manifestBytes: Uint8Array): SnapshotMemory {
  const { clusterId, sequence, pinCount, time } = manifest;
  return {
    clusterId,
    sequence,
    reservedSequence: sequence,
    pinCount,
    pinCountMax: Math.max(history.pinCountMax, pinCount),
    time,
    manifestSha256: createHash("sha256").update(manifestBytes).digest("hex"),
  };
}

/** The snapshot is good already; that old ones could not be removed is no reason to call it failed. */
async function pruneAfterwards(
  deps: SnapshotDeps,
  keep: KeepPolicy | null,
): Promise<{ readonly removed: readonly string[]; readonly warnings: readonly string[] }> {
  if (keep === null) return { removed: [], warnings: [] };
  const { cluster, paths, signal } = deps;
  try {
    const trustedKeys = await loadTrustedKeys(paths.keysDir, deps.trustedKeys);
    const { removed } = await pruneLocked(
      { ...deps, ...paths, trustedKeys, clusterId: cluster.clusterId, signal },
      keep,
    );
    return { removed, warnings: [] };
  } catch (error) {
    return { removed: [], warnings: [`old snapshots could not be removed: ${messageOf(error)}`] };
  }
}

function factsOf(
  manifest: SnapshotManifest,
): Omit<SnapshotReport, "file" | "manifestFile" | "durationMs" | "pruned" | "warnings"> {
  const { sequence, time, clusterId, nodeKeyId, pinCount, fileBytes, streamBytes, sha256, previousManifestSha256 } =
    manifest;
  return {
    sequence,
    time,
    clusterId,
    keyId: nodeKeyId,
    pinCount,
    bytes: fileBytes,
    streamBytes,
    sha256,
    previousManifestSha256,
  };
}
