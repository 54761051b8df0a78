import { createHash } from "node:crypto";
import { readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { isFulaError, systemErrorCode } from "../kernel/errors.ts";
import { MANIFEST_BYTES_MAX, parseManifest, type SnapshotFiles, type SnapshotManifest } from "./format.ts";
import { readSmall, type SnapshotProblem, unreadable } from "./manifest-check.ts";

/** What the neighbours of a snapshot say about it. */
export interface ChainCheck {
  readonly problems: readonly SnapshotProblem[];
  readonly remarks: readonly string[];
}

/** What a chain is judged by, beside the directory. */
export interface ChainDeps {
  readonly newest?: { readonly sequence: number; readonly manifestSha256: string | null } | undefined;
}

interface Neighbour {
  readonly file: string;
  readonly sha256: string;
  readonly manifest: SnapshotManifest | null;
}

/**
 * Checks that a snapshot follows from the one that it names as its predecessor, as far as that is still there, and that
 * it is not an old one in the place of the newest.
 */
export async function checkChain(
  files: SnapshotFiles,
  manifest: SnapshotManifest,
  manifestBytes: Uint8Array,
  deps: ChainDeps,
): Promise<ChainCheck> {
  const neighbours = await readNeighbours(files);
  const own = digest(manifestBytes);
  const problems: SnapshotProblem[] = [...checkReplay(manifest, own, deps)];
  const remarks: string[] = [];
  for (const { file, sha256, manifest: other } of neighbours) {
    if (other === null || other.nodeKeyId !== manifest.nodeKeyId || other.clusterId !== manifest.clusterId) continue;
    if (other.sequence === manifest.sequence && sha256 !== own) {
      problems.push(broken(`${file} has the same sequence ${manifest.sequence} and says something else.`));
    }
  }
  const previous = neighbours.find(({ sha256 }) => sha256 === manifest.previousManifestSha256);
  if (previous !== undefined) {
    if (previous.manifest !== null && previous.manifest.sequence >= manifest.sequence) {
      const { sequence } = previous.manifest;
      problems.push(
        broken(`It has sequence ${manifest.sequence}, but follows ${previous.file} with sequence ${sequence}.`),
      );
    }
    if (previous.manifest !== null && previous.manifest.time >= manifest.time) {
      remarks.push(`The clock was set back between ${previous.file} (${previous.manifest.time}) and this one.`);
    }
    return { problems, remarks };
  }
  if (manifest.previousManifestSha256 === null) return { problems, remarks };
  const claims = neighbours.find(
    ({ manifest: other }) =>
      other !== null && other.clusterId === manifest.clusterId && other.sequence === manifest.sequence - 1,
  );
  if (claims === undefined) remarks.push("The snapshot before it is not here any more.");
  else
    problems.push(
      broken(
        `It follows a manifest with SHA-256 ${manifest.previousManifestSha256}, but ${claims.file} has ${claims.sha256}.`,
      ),
    );
  return { problems, remarks };
}

function checkReplay(manifest: SnapshotManifest, own: string, { newest }: ChainDeps): readonly SnapshotProblem[] {
  if (newest === undefined) return [];
  const isLast = manifest.sequence === newest.sequence && (newest.manifestSha256 ?? own) === own;
  if (manifest.sequence > newest.sequence || isLast) return [];
  return [
    {
      code: "FULA_SNAPSHOT_REPLAYED",
      message: `It has sequence ${manifest.sequence}, but the last snapshot that this box took has sequence ${newest.sequence}: newer ones were removed or replaced.`,
      hint: "look for the missing files in your copies off this box, then take a new one: fula-master snapshot",
    },
  ];
}

function broken(message: string): SnapshotProblem {
  return { code: "FULA_SNAPSHOT_CHAIN", message };
}

async function readNeighbours(files: SnapshotFiles): Promise<readonly Neighbour[]> {
  const dir = dirname(files.manifest);
  const names = (await list(dir)).filter((file) => /^pinset-\d{8}T\d{6}Z\.json$/.test(file));
  const neighbours: Neighbour[] = [];
  for (const file of names) {
    if (file === basename(files.manifest)) continue;
    const bytes = await readIfPossible(join(dir, file));
    if (bytes !== null) neighbours.push({ file, sha256: digest(bytes), manifest: readable(bytes) });
  }
  return neighbours;
}

/** A neighbour that cannot be read says nothing about the snapshot itself. */
async function readIfPossible(path: string): Promise<Uint8Array | null> {
  try {
    const bytes = await readSmall(path, MANIFEST_BYTES_MAX);
    return bytes === "too long" ? null : bytes;
  } catch (error) {
    if (isFulaError(error)) return null;
    throw error;
  }
}

async function list(dir: string): Promise<readonly string[]> {
  try {
    return await readdir(dir);
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return [];
    throw unreadable(dir, error);
  }
}

function readable(bytes: Uint8Array): SnapshotManifest | null {
  try {
    return parseManifest(bytes);
  } catch (error) {
    if (isFulaError(error)) return null;
    throw error;
  }
}

function digest(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
