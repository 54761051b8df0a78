import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { fsyncDir } from "../../kernel/files.ts";
import { type Lsn, parseWalFileName, segmentOf } from "../lsn.ts";
import type { BackupEntry } from "./catalogue.ts";
import { archiveDir, DIGEST_SUFFIX, listArchive, PARTIAL_SUFFIX } from "./wal-archive.ts";

function isBefore(name: string, oldest: Lsn, segmentBytes: number): boolean {
  const segment = [DIGEST_SUFFIX, PARTIAL_SUFFIX].reduce(
    (text, suffix) => (text.endsWith(suffix) ? text.slice(0, -suffix.length) : text),
    name,
  );
  const file = parseWalFileName(segment, segmentBytes);
  return file !== null && file.segment < segmentOf(oldest, segmentBytes);
}

/**
 * Removes the archived WAL before the oldest of the backups. Histories stay. Where one of the backups does not say where
 * it begins, or there is none, everything stays.
 * @returns the names of the segments that went
 */
export async function pruneArchive(backupDir: string, backups: readonly BackupEntry[]): Promise<readonly string[]> {
  const listing = await listArchive(backupDir);
  const starts = backups.map(({ record }) => record?.startLsn ?? 0n);
  const oldest = starts.toSorted((a, b) => (a < b ? -1 : Number(a > b)))[0];
  if (listing === null || oldest === undefined || oldest === 0n) return [];
  const dir = archiveDir(backupDir);
  const removed: string[] = [];
  // The digest last: a segment without one is none, a digest without its segment is nothing.
  for (const name of (await readdir(dir)).toSorted()) {
    if (!isBefore(name, oldest, listing.segmentBytes)) continue;
    await rm(join(dir, name), { force: true });
    if (parseWalFileName(name, listing.segmentBytes) !== null) removed.push(name);
  }
  if (removed.length > 0) await fsyncDir(dir);
  return removed;
}
