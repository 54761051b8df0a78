import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { systemErrorCode } from "../../kernel/errors.ts";
import { type Lsn, segmentOf, segmentStart } from "../lsn.ts";
import { archiveDir, listArchive, PARTIAL_SUFFIX, reachOf } from "./wal-archive.ts";

/** An archive on this box, as whoever proves what a replica can be brought back with asks about it. */
export class LocalArchive {
  readonly #backupDir: string;

  constructor(backupDir: string) {
    this.#backupDir = backupDir;
  }

  /**
   * The oldest position from which the archive reaches up to another without a hole.
   * @param timeline on whose history
   * @returns null where it does not reach there, or is another server's
   * @throws FulaError FULA_WAL_ARCHIVE_FOREIGN where it cannot be told whose it is
   */
  async reachesBackFrom(lsn: Lsn, timeline: number, systemId: string): Promise<Lsn | null> {
    const listing = await listArchive(this.#backupDir);
    if (listing === null || listing.systemId !== systemId) return null;
    const { segmentBytes, ranges } = listing;
    const starts = ranges
      .map(({ startLsn }) => segmentStart(segmentOf(startLsn, segmentBytes), segmentBytes))
      .filter((startLsn) => startLsn < lsn)
      .toSorted((a, b) => (a < b ? -1 : 1));
    return starts.find((startLsn) => (reachOf(listing, startLsn, timeline)?.endLsn ?? 0n) >= lsn) ?? null;
  }

  /** Of the first `bytes` of a segment, SHA-256 in hex; null where the archive does not have so much of it. */
  async digest(name: string, bytes: number): Promise<string | null> {
    const whole = join(archiveDir(this.#backupDir), name);
    return (await digestOfStart(whole, bytes)) ?? (await digestOfStart(`${whole}${PARTIAL_SUFFIX}`, bytes));
  }
}

async function digestOfStart(path: string, bytes: number): Promise<string | null> {
  try {
    if ((await stat(path)).size < bytes) return null;
    const hash = createHash("sha256");
    for await (const piece of createReadStream(path, { end: bytes - 1 })) hash.update(piece);
    return hash.digest("hex");
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return null;
    throw error;
  }
}
