import type { Clock } from "../kernel/clock.ts";
import { formatUtc } from "../kernel/clock.ts";
import { isFulaError, messageOf, systemErrorCode } from "../kernel/errors.ts";
import { formatDuration } from "../kernel/units.ts";
import { checkChain } from "./chain.ts";
import { digestFile, digestStream } from "./data-file.ts";
import { filesOf, type SnapshotFiles, type SnapshotManifest, timeOfName } from "./format.ts";
import type { KeyId, TrustedKey } from "./keys.ts";
import { verifyLegacy } from "./legacy-verify.ts";
import { checkManifest, isLegacyFile, type SnapshotProblem } from "./manifest-check.ts";
import { RecordCheck } from "./record-check.ts";

/** What a snapshot is checked against. */
export interface VerifyDeps {
  readonly trustedKeys: readonly TrustedKey[];
  /** The cluster it must be of; null = any. */
  readonly clusterId: string | null;
  readonly clock: Clock;
  /** Older than this is a problem; not given = any age will do. */
  readonly maxAgeMs?: number | undefined;
  /** What this box remembers as its last snapshot: an older one is a problem. Given when the newest is asked for. */
  readonly newest?: { readonly sequence: number; readonly manifestSha256: string | null } | undefined;
  /**
   * A neighbour that does not fit makes `verify` fail. For a restore it is only a remark: the records are signed, and
   * who damages an older snapshot must not keep the newest one from being used. Default "problem".
   */
  readonly chain?: "problem" | "remark";
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number | null) => void) | undefined;
}

/** What `verifySnapshot` found. `--json` prints it. */
export interface Verification {
  /** True where there is no problem at all. */
  readonly ok: boolean;
  /** The file with the pins. */
  readonly file: string;
  readonly name: string;
  readonly format: "snapshot" | "legacy";
  readonly manifest: SnapshotManifest | null;
  /** The key that signed it; null where no signature holds. */
  readonly signedBy: KeyId | null;
  /** RFC 3339 UTC: signed, or for a legacy file what its name says; null where neither can be read. */
  readonly time: string | null;
  /** Since then; negative where it is dated in the future. */
  readonly ageMs: number | null;
  /** Counted; null where the records were not read, because nobody whom we trust vouches for the bytes. */
  readonly pinCount: number | null;
  /** Every one that was found. */
  readonly problems: readonly SnapshotProblem[];
  /** What an operator should know and that is no problem. */
  readonly remarks: readonly string[];
}

/** A snapshot may be dated that far in the future, for clocks that differ. */
const FUTURE_TOLERANCE_MS = 5 * 60_000;

/**
 * Checks a snapshot and lists everything that is wrong with it. Takes the path of any of its files, or its name in a
 * directory; old-format files too. Nothing is decompressed before a trusted signature and the file's digest hold.
 */
export async function verifySnapshot(file: string, deps: VerifyDeps): Promise<Verification> {
  const files = filesOf(file);
  if (await isLegacyFile(files)) return finish(await verifyLegacy(files, deps), deps);
  const check = await checkManifest(files, deps);
  const { manifest, manifestBytes, signedBy, trusted } = check;
  const problems = [...check.problems];
  const remarks = [...check.remarks];
  if (manifest !== null && manifestBytes !== null) {
    const chain = await checkChain(files, manifest, manifestBytes, deps);
    if (deps.chain === "remark") remarks.push(...chain.problems.map(({ message }) => message));
    else problems.push(...chain.problems);
    remarks.push(...chain.remarks);
  }
  let pinCount: number | null = null;
  const isWhole = !problems.some(
    ({ code }) => code === "FULA_SNAPSHOT_TRUNCATED" || code === "FULA_SNAPSHOT_INCOMPLETE",
  );
  if (trusted && manifest !== null && isWhole) {
    const records = await checkRecords(files, manifest, deps);
    problems.push(...records.problems);
    pinCount = records.pinCount;
  }
  if (pinCount === null)
    remarks.push("Its records were not read, because nothing that this box trusts vouches for them.");
  return finish({ files, file: files.data, format: "snapshot", manifest, signedBy, pinCount, problems, remarks }, deps);
}

/** What is known before the age is looked at. */
export interface Findings {
  readonly files: SnapshotFiles;
  readonly file: string;
  readonly format: Verification["format"];
  readonly manifest: SnapshotManifest | null;
  readonly signedBy: KeyId | null;
  readonly pinCount: number | null;
  readonly problems: readonly SnapshotProblem[];
  readonly remarks: readonly string[];
}

function finish({ files, ...findings }: Findings, deps: VerifyDeps): Verification {
  const { manifest } = findings;
  const timeMs = manifest === null ? timeOfName(files.name) : Date.parse(manifest.time);
  const ageMs = timeMs === null ? null : deps.clock.nowMs() - timeMs;
  const age = judgeAge(ageMs, deps.maxAgeMs);
  const problems = [...findings.problems, ...age.problems];
  return {
    ok: problems.length === 0,
    name: files.name,
    time: timeMs === null ? null : formatUtc(timeMs),
    ageMs,
    ...findings,
    problems,
    remarks: [...findings.remarks, ...age.remarks],
  };
}

function stale(message: string, hint: string): SnapshotProblem {
  return { code: "FULA_SNAPSHOT_STALE", message, hint };
}

function judgeAge(
  ageMs: number | null,
  maxAgeMs: number | undefined,
): { readonly problems: readonly SnapshotProblem[]; readonly remarks: readonly string[] } {
  if (ageMs === null) {
    if (maxAgeMs === undefined) return { problems: [], remarks: [] };
    return { problems: [stale("Its age cannot be told.", "fula-master snapshot")], remarks: [] };
  }
  if (ageMs < -FUTURE_TOLERANCE_MS) {
    const message = `It is dated ${formatDuration(-ageMs)} in the future.`;
    if (maxAgeMs === undefined) return { problems: [], remarks: [message] };
    return {
      problems: [stale(message, "set the clock of this box (timedatectl), then fula-master snapshot.")],
      remarks: [],
    };
  }
  if (maxAgeMs === undefined || ageMs <= maxAgeMs) return { problems: [], remarks: [] };
  const message = `It is ${formatDuration(ageMs)} old, more than ${formatDuration(maxAgeMs)}.`;
  return {
    problems: [stale(message, "fula-master snapshot takes a new one; its schedule may have stopped.")],
    remarks: [],
  };
}

async function checkRecords(
  files: SnapshotFiles,
  manifest: SnapshotManifest,
  { signal, onProgress }: VerifyDeps,
): Promise<{ readonly pinCount: number | null; readonly problems: readonly SnapshotProblem[] }> {
  const check = new RecordCheck();
  const onChunk = (chunk: Buffer): void => {
    check.add(chunk);
    onProgress?.(check.count, manifest.pinCount);
  };
  try {
    const found = await digestFile(files.data, signal);
    if (found.fileSha256 !== manifest.fileSha256) {
      const message = `The SHA-256 of ${files.data} is ${found.fileSha256}, but ${manifest.fileSha256} was signed.`;
      return { pinCount: null, problems: [{ code: "FULA_SNAPSHOT_DIGEST", message }] };
    }
    const stream = await digestStream(files.data, manifest.streamBytes, onChunk, signal);
    const problems = [...check.finish(), ...compareStream(stream, check.count, manifest)];
    return { pinCount: check.count, problems };
  } catch (error) {
    signal?.throwIfAborted();
    if (isFulaError(error)) throw error;
    // Errors of the system are called EIO, EACCES …, those of zstd otherwise.
    const errno = /^E[A-Z]+$/.exec(systemErrorCode(error) ?? "")?.[0];
    if (errno !== undefined) {
      return {
        pinCount: null,
        problems: [{ code: "FULA_SNAPSHOT_INCOMPLETE", message: `Cannot read ${files.data}: ${errno}.` }],
      };
    }
    const message = `${files.data} cannot be decompressed: ${messageOf(error)}.`;
    return { pinCount: check.count, problems: [{ code: "FULA_SNAPSHOT_DIGEST", message }] };
  }
}

function compareStream(
  stream: Awaited<ReturnType<typeof digestStream>>,
  pinCount: number,
  manifest: SnapshotManifest,
): readonly SnapshotProblem[] {
  const problems: SnapshotProblem[] = [];
  const differs = (code: SnapshotProblem["code"], what: string, found: unknown, signed: unknown): void => {
    if (found !== signed)
      problems.push({ code, message: `${what} is ${String(found)}, but ${String(signed)} was signed.` });
  };
  if (stream.overlong) {
    return [
      {
        code: "FULA_SNAPSHOT_TRUNCATED",
        message: `Its records go on after the ${manifest.streamBytes} bytes that were signed.`,
      },
    ];
  }
  differs("FULA_SNAPSHOT_TRUNCATED", "The size of its records in bytes", stream.streamBytes, manifest.streamBytes);
  differs("FULA_SNAPSHOT_DIGEST", "The SHA-256 of its records", stream.sha256, manifest.sha256);
  differs("FULA_SNAPSHOT_DIGEST", "The BLAKE3 of its records", stream.blake3, manifest.blake3);
  differs("FULA_SNAPSHOT_COUNT", "The number of its pins", pinCount, manifest.pinCount);
  return problems;
}
