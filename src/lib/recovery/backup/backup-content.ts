import { segmentOf, segmentStart, walFileName } from "../lsn.ts";
import { type BackupManifest, formatWalRange, type WalRange } from "./backup-manifest.ts";
import type { FileDigest } from "./backup-record.ts";
import { TarReader } from "./tar-reader.ts";

/** The files of an archive by path, as they passed. */
export type BackupContent = ReadonlyMap<string, FileDigest>;

/** Gathers what is in an archive while it passes. */
export class ContentReader {
  readonly #files = new Map<string, FileDigest>();
  readonly #tar = new TarReader(({ path, bytes, sha256 }) => {
    this.#files.set(path, { bytes, sha256 });
  });
  #bytes = 0;

  add(piece: Buffer): void {
    this.#bytes += piece.length;
    this.#tar.add(piece);
  }

  /** @throws FulaError FULA_BASE_BACKUP_DAMAGED where the archive broke off */
  finish(): { readonly files: BackupContent; readonly bytes: number } {
    this.#tar.end();
    return { files: this.#files, bytes: this.#bytes };
  }
}

const WAL_DIR = "pg_wal/";
/** One damaged disk makes thousands of damaged files. */
const PROBLEMS_MAX = 10;

/** The names of the files that hold a range. */
function segmentsOf({ timeline, startLsn, endLsn }: WalRange, segmentBytes: number): readonly string[] {
  const names: string[] = [];
  // A range that ends where a segment does needs nothing of the next one.
  for (let segment = segmentOf(startLsn, segmentBytes); segmentStart(segment, segmentBytes) < endLsn; segment += 1n) {
    names.push(walFileName(timeline, segmentStart(segment, segmentBytes), segmentBytes));
  }
  return names;
}

/**
 * Holds the content of an archive against PostgreSQL's manifest: every file with its digest, nothing besides, and the WAL
 * that makes it consistent. @returns what is wrong, sentences; none where nothing is
 */
export function judgeContent(files: BackupContent, manifest: BackupManifest, segmentBytes: number): readonly string[] {
  const problems: string[] = [];
  for (const [path, wanted] of manifest.files) {
    const found = files.get(path);
    if (found === undefined) problems.push(`${path} is missing`);
    else if (found.bytes !== wanted.bytes) problems.push(`${path} has ${found.bytes} bytes instead of ${wanted.bytes}`);
    else if (found.sha256 !== wanted.sha256) problems.push(`${path} has other contents than PostgreSQL sent`);
  }
  for (const path of files.keys()) {
    if (!path.startsWith(WAL_DIR) && !manifest.files.has(path)) problems.push(`${path} is not in the manifest`);
  }
  for (const range of manifest.walRanges) {
    for (const name of segmentsOf(range, segmentBytes)) {
      if (files.get(`${WAL_DIR}${name}`)?.bytes === segmentBytes) continue;
      problems.push(`WAL ${formatWalRange(range)} is needed, but ${name} is missing or cut off`);
    }
  }
  const more = problems.length - PROBLEMS_MAX;
  return more > 0 ? [...problems.slice(0, PROBLEMS_MAX), `and ${more} more`] : problems;
}
