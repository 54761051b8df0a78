import { existsSync } from "node:fs";
import { open, stat } from "node:fs/promises";
import type { ErrorCode } from "../kernel/error-codes.ts";
import { FulaError, isFulaError, messageOf, systemErrorCode } from "../kernel/errors.ts";
import {
  MANIFEST_BYTES_MAX,
  parseManifest,
  type SnapshotFiles,
  type SnapshotManifest,
  snapshotName,
} from "./format.ts";
import { type KeyId, keyIdOf, rawKeyOf, type TrustedKey, verifyEd25519 } from "./keys.ts";
import { checkMinisig } from "./minisign.ts";

/** A raw ed25519 signature. */
const SIGNATURE_BYTES = 64;

/** Four short lines; the longest comment has under 600 characters. */
const MINISIG_BYTES_MAX = 4_096;

/** Keys are sorted, so every manifest begins like this, and no record of a pin does. */
const MANIFEST_BEGINNING = '{"blake3":"';

/** One thing that is wrong with a snapshot. */
export interface SnapshotProblem {
  readonly code: ErrorCode;
  /** A sentence. */
  readonly message: string;
  /** What to do about it, where that is known. */
  readonly hint?: string;
}

/** What the small files of a snapshot say, before any record is read. */
export interface ManifestCheck {
  /** Null where it cannot be read as a manifest at all. */
  readonly manifest: SnapshotManifest | null;
  readonly manifestBytes: Uint8Array | null;
  /** The key that really signed it; null where no signature holds. */
  readonly signedBy: KeyId | null;
  /** True where that key is a trusted one: only then are the records worth reading. */
  readonly trusted: boolean;
  readonly problems: readonly SnapshotProblem[];
  readonly remarks: readonly string[];
}

/** What a manifest is judged by. */
export interface ManifestCheckDeps {
  readonly trustedKeys: readonly TrustedKey[];
  readonly clusterId: string | null;
}

/**
 * Judges a snapshot by everything but its records: manifest, both signatures, key, name, cluster, and presence and size
 * of the data file. Lists every problem that it finds.
 */
export async function checkManifest(files: SnapshotFiles, deps: ManifestCheckDeps): Promise<ManifestCheck> {
  const problems: SnapshotProblem[] = [];
  const remarks: string[] = [];
  const manifestBytes = await readPart(files.manifest, MANIFEST_BYTES_MAX, "manifest", problems);
  const manifest = manifestBytes === null ? null : parse(manifestBytes, problems);
  const signature = await readPart(files.signature, SIGNATURE_BYTES, "signature", problems);
  let signedBy: KeyId | null = null;
  if (manifestBytes !== null && signature !== null) {
    signedBy = findSigner(manifestBytes, signature, manifest, deps.trustedKeys);
    if (signedBy === null)
      problems.push(problem("FULA_SNAPSHOT_SIGNATURE", `${files.signature} does not match the manifest.`));
  }
  const trusted = signedBy !== null && deps.trustedKeys.some(({ keyId }) => keyId === signedBy);
  if (signedBy !== null && !trusted) problems.push(unknownKey(signedBy, deps.trustedKeys.length));
  if (manifest !== null) {
    if (signedBy !== null && manifest.nodeKeyId !== signedBy) {
      const message = `The manifest names the key ${manifest.nodeKeyId}, but ${signedBy} signed it.`;
      problems.push(problem("FULA_SNAPSHOT_SIGNATURE", message));
    }
    problems.push(...checkName(files, manifest), ...checkCluster(manifest, deps.clusterId));
  }
  await checkMinisignFile(files, manifest, manifestBytes, problems, remarks);
  await checkDataFile(files, manifest, problems);
  return { manifest, manifestBytes, signedBy, trusted, problems, remarks };
}

function problem(code: ErrorCode, message: string, hint?: string): SnapshotProblem {
  return hint === undefined ? { code, message } : { code, message, hint };
}

/** The error for a directory of ours that cannot be looked into. */
export function unreadable(path: string, cause: unknown): FulaError {
  const errno = systemErrorCode(cause) ?? messageOf(cause);
  return new FulaError("FULA_SNAPSHOT_UNREADABLE", `Cannot read ${path}: ${errno}.`, {
    cause,
    hint: "run it as the user whose master it is, or give --base-dir if another one is meant.",
    details: { path, errno },
  });
}

/** Reads a small file whole. @returns null where it is missing, "too long" where it cannot be what it should be */
export async function readSmall(path: string, bytesMax: number): Promise<Uint8Array | null | "too long"> {
  try {
    const handle = await open(path, "r");
    try {
      const buffer = new Uint8Array(bytesMax + 1);
      let length = 0;
      for (;;) {
        const { bytesRead } = await handle.read(buffer, length, buffer.length - length, null);
        length += bytesRead;
        if (bytesRead === 0) return buffer.slice(0, length);
        if (length > bytesMax) return "too long";
      }
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return null;
    throw new FulaError(
      "FULA_SNAPSHOT_INCOMPLETE",
      `Cannot read ${path}: ${systemErrorCode(error) ?? String(error)}.`,
      {
        cause: error,
      },
    );
  }
}

async function readPart(
  path: string,
  bytesMax: number,
  what: "manifest" | "signature" | "minisign signature",
  problems: SnapshotProblem[],
): Promise<Uint8Array | null> {
  try {
    const bytes = await readSmall(path, bytesMax);
    if (bytes === "too long") {
      const code = what === "manifest" ? "FULA_SNAPSHOT_MANIFEST" : "FULA_SNAPSHOT_SIGNATURE";
      problems.push(problem(code, `The ${what} ${path} is longer than ${bytesMax} bytes, so it is none.`));
      return null;
    }
    if (bytes === null) problems.push(problem("FULA_SNAPSHOT_INCOMPLETE", `The ${what} ${path} is missing.`));
    return bytes;
  } catch (error) {
    if (!isFulaError(error)) throw error;
    problems.push(problem("FULA_SNAPSHOT_INCOMPLETE", error.message));
    return null;
  }
}

function parse(bytes: Uint8Array, problems: SnapshotProblem[]): SnapshotManifest | null {
  try {
    return parseManifest(bytes);
  } catch (error) {
    if (!isFulaError(error)) throw error;
    problems.push(problem(error.code, error.message));
    return null;
  }
}

function findSigner(
  message: Uint8Array,
  signature: Uint8Array,
  manifest: SnapshotManifest | null,
  trustedKeys: readonly TrustedKey[],
): KeyId | null {
  const named = manifest === null ? [] : [manifest.nodeKeyId];
  for (const keyId of [...named, ...trustedKeys.map((key) => key.keyId)]) {
    const raw = rawKeyOf(keyId);
    if (raw !== null && verifyEd25519(raw, message, signature)) return keyIdOf(raw);
  }
  return null;
}

function unknownKey(keyId: KeyId, trustedCount: number): SnapshotProblem {
  return problem(
    "FULA_SNAPSHOT_KEY_UNKNOWN",
    `It is signed by ${keyId}, which this box does not trust (it trusts ${trustedCount} ${trustedCount === 1 ? "key" : "keys"}).`,
    `compare the key with what its box prints for fula-master key trusted; if it is that one: fula-master key trust ${keyId}`,
  );
}

function checkName(files: SnapshotFiles, manifest: SnapshotManifest): readonly SnapshotProblem[] {
  const signedName = snapshotName(Date.parse(manifest.time));
  const problems: SnapshotProblem[] = [];
  if (signedName !== files.name) {
    const message = `It was taken at ${manifest.time} as ${signedName}, but lies here under the name ${files.name}.`;
    problems.push(problem("FULA_SNAPSHOT_RENAMED", message, `rename its files back to ${signedName}.*`));
  }
  if (manifest.file !== `${signedName}.jsonl.zst`) {
    problems.push(
      problem("FULA_SNAPSHOT_RENAMED", `Its manifest of ${manifest.time} is about another file, ${manifest.file}.`),
    );
  }
  return problems;
}

function checkCluster(manifest: SnapshotManifest, clusterId: string | null): readonly SnapshotProblem[] {
  if (clusterId === null || manifest.clusterId === clusterId) return [];
  return [
    problem(
      "FULA_SNAPSHOT_CLUSTER",
      `It is a snapshot of cluster ${manifest.clusterId}; this box belongs to cluster ${clusterId}.`,
      "add --any-cluster if you want to check it all the same.",
    ),
  ];
}

async function checkMinisignFile(
  files: SnapshotFiles,
  manifest: SnapshotManifest | null,
  manifestBytes: Uint8Array | null,
  problems: SnapshotProblem[],
  remarks: string[],
): Promise<void> {
  if (!existsSync(files.minisign)) {
    // The raw signature alone is enough; the second one is for operators who only have minisign.
    remarks.push(`The minisign signature ${files.minisign} is missing.`);
    return;
  }
  const minisig = await readPart(files.minisign, MINISIG_BYTES_MAX, "minisign signature", problems);
  if (minisig === null) return;
  if (manifest === null || manifestBytes === null) return;
  const raw = rawKeyOf(manifest.nodeKeyId);
  const wrong = raw === null ? "the manifest names no key" : checkMinisig(minisig, manifestBytes, manifest, raw);
  if (wrong !== null) problems.push(problem("FULA_SNAPSHOT_SIGNATURE", `${files.minisign} is not good: ${wrong}.`));
}

async function checkDataFile(
  files: SnapshotFiles,
  manifest: SnapshotManifest | null,
  problems: SnapshotProblem[],
): Promise<void> {
  try {
    const found = await stat(files.data);
    if (!found.isFile()) {
      problems.push(problem("FULA_SNAPSHOT_INCOMPLETE", `${files.data} is not a file.`));
    } else if (manifest !== null && found.size !== manifest.fileBytes) {
      const kind = found.size < manifest.fileBytes ? "cut short" : "too long";
      const message = `${files.data} is ${kind}: it has ${found.size} bytes instead of ${manifest.fileBytes}.`;
      problems.push(problem("FULA_SNAPSHOT_TRUNCATED", message));
    }
  } catch (error) {
    const errno = systemErrorCode(error);
    const message =
      errno === "ENOENT"
        ? `The data file ${files.data} is missing.`
        : `Cannot read ${files.data}: ${errno ?? String(error)}.`;
    problems.push(problem("FULA_SNAPSHOT_INCOMPLETE", message));
  }
}

/** True for a snapshot of the existing fleet: `pinset-*.json` holds the pins themselves, and there is no data file. */
export async function isLegacyFile(files: SnapshotFiles): Promise<boolean> {
  try {
    await stat(files.data);
    return false;
  } catch (error) {
    if (systemErrorCode(error) !== "ENOENT") return false;
  }
  try {
    const handle = await open(files.manifest, "r");
    try {
      const { buffer, bytesRead } = await handle.read(
        Buffer.alloc(MANIFEST_BEGINNING.length),
        0,
        MANIFEST_BEGINNING.length,
        0,
      );
      return buffer.toString("latin1", 0, bytesRead) !== MANIFEST_BEGINNING;
    } finally {
      await handle.close();
    }
  } catch {
    return false;
  }
}
