import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { systemErrorCode } from "../../kernel/errors.ts";
import type { SiteSession } from "../../runtime/postgres-site.ts";
import { parseWalFileName } from "../lsn.ts";
import type { ArchivedFiles, WalArchive } from "../postgres/archived-wal.ts";
import { unpackWal } from "./unpack.ts";
import { archiveDir, listArchive, PARTIAL_SUFFIX } from "./wal-archive.ts";

/** An archive on this box, for whoever brings a replica back with it. */
export class LocalArchive implements WalArchive {
  readonly #backupDir: string;
  #state: "good" | "distrusted" | "given up" = "good";

  constructor(backupDir: string) {
    this.#backupDir = backupDir;
  }

  /** @throws FulaError FULA_WAL_ARCHIVE_FOREIGN where it cannot be told whose it is */
  distrust(): void {
    if (this.#state === "good") this.#state = "distrusted";
  }

  /** @returns true once after it was distrusted: there may be a way without it */
  giveUp(): boolean {
    if (this.#state !== "distrusted") return false;
    this.#state = "given up";
    return true;
  }

  async list(): Promise<ArchivedFiles | null> {
    const listing = this.#state !== "good" ? null : await listArchive(this.#backupDir);
    if (listing === null) return null;
    const { systemId, segmentBytes, ranges } = listing;
    const bytesOf = (name: string): number => {
      const file = parseWalFileName(name, segmentBytes);
      if (file === null) return 0;
      const range = ranges.find(
        ({ timeline, startLsn, endLsn }) =>
          timeline === file.timeline && startLsn <= file.startLsn && file.startLsn < endLsn,
      );
      const whole = BigInt(segmentBytes);
      const there = range === undefined ? 0n : range.endLsn - file.startLsn;
      return Number(there < whole ? there : whole);
    };
    return { systemId, segmentBytes, bytesOf };
  }

  async digest(name: string, bytes: number): Promise<string | null> {
    const whole = join(archiveDir(this.#backupDir), name);
    return (await digestOfStart(whole, bytes)) ?? (await digestOfStart(`${whole}${PARTIAL_SUFFIX}`, bytes));
  }

  async unpack(names: readonly string[], files: SiteSession, dir: string, signal: AbortSignal): Promise<void> {
    const segmentBytes = (await listArchive(this.#backupDir))?.segmentBytes ?? 0;
    await unpackWal(files, this.#backupDir, names, segmentBytes, dir, signal);
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
