import { createHash, type Hash } from "node:crypto";
import { type FileHandle, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { FulaError, systemErrorCode } from "../../kernel/errors.ts";
import { exists, explainWriteError, fsyncDir, SECRET_FILE_MODE, writeFileAtomic } from "../../kernel/files.ts";
import { type Lsn, parseWalFileName, segmentStart, segmentOf, walFileName } from "../lsn.ts";
import { historyName } from "../timeline-history.ts";
import { DIGEST_SUFFIX, PARTIAL_SUFFIX } from "./wal-archive.ts";

/** The segment that is being received. */
interface OpenSegment {
  readonly name: string;
  readonly handle: FileHandle;
  readonly hash: Hash;
  /** What comes of it has to begin so; null where nothing of it was archived. */
  readonly known: KnownStart | null;
}

/** The beginning of a segment that is archived already: it is received once more, and has to be the same. */
export interface ArchivedStart {
  readonly path: string;
  readonly bytes: number;
}

/** Lies open, to be compared. */
interface KnownStart extends ArchivedStart {
  readonly handle: FileHandle;
}

function conflict(path: string): FulaError {
  return new FulaError(
    "FULA_WAL_ARCHIVE_CONFLICT",
    `${path} is archived already, and the server sends something else under that name.`,
    {
      hint: "two servers wrote into this archive, or one was set back without a new timeline; move the directory away and take a base backup: fula-master backup create",
      details: { path },
    },
  );
}

async function readIfThere(path: string): Promise<string | null> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return null;
    throw error;
  }
}

/**
 * Holds what comes against what is there. Servers that were promoted apart from one another write other WAL under the same
 * names, and a restore would go from the one to the other.
 * @throws FulaError FULA_WAL_ARCHIVE_CONFLICT
 */
async function assertSame({ handle, path, bytes }: KnownStart, offset: number, part: Buffer): Promise<void> {
  const before = Buffer.alloc(Math.max(0, Math.min(part.length, bytes - offset)));
  const { bytesRead } = await handle.read(before, 0, before.length, offset);
  // Zeros are what a power loss leaves of what was not on the disk yet.
  const isOther = before.subarray(0, bytesRead).some((byte, index) => byte !== 0 && byte !== part[index]);
  if (isOther) throw conflict(path);
}

/** Archives the history of a timeline; one that is there already has to be the same. @throws FulaError FULA_WAL_ARCHIVE_CONFLICT */
export async function writeHistory(dir: string, timeline: number, text: string): Promise<void> {
  const path = join(dir, historyName(timeline));
  const before = await readIfThere(path);
  if (before === text) return;
  if (before !== null) throw conflict(path);
  await writeFileAtomic(path, text, { mode: SECRET_FILE_MODE });
}

/**
 * Writes received WAL into an archive, one segment at a time, each from its beginning. A segment gets its name when all of
 * it and its digest are on the disk; until then it ends in `.partial`, and what is in it up to its size is WAL.
 */
export class WalWriter implements AsyncDisposable {
  readonly #dir: string;
  readonly #timeline: number;
  readonly #segmentBytes: number;
  #begun: ArchivedStart | null;
  #segment: OpenSegment | null = null;
  #written: Lsn;
  #durable: Lsn;

  /**
   * @param startLsn the beginning of a segment
   * @param begun what is archived of the first segment under the name of an older timeline
   */
  constructor(dir: string, timeline: number, startLsn: Lsn, segmentBytes: number, begun: ArchivedStart | null = null) {
    this.#dir = dir;
    this.#begun = begun;
    this.#timeline = timeline;
    this.#segmentBytes = segmentBytes;
    this.#written = startLsn;
    this.#durable = startLsn;
  }

  /** Exclusive ends of what was written, and of what a power loss leaves. */
  get writtenLsn(): Lsn {
    return this.#written;
  }

  get durableLsn(): Lsn {
    return this.#durable;
  }

  /** @throws FulaError FULA_WAL_ARCHIVE_CONFLICT, FULA_DISK_FULL, FULA_PATH_NOT_WRITABLE */
  async write(startLsn: Lsn, data: Buffer): Promise<void> {
    if (startLsn !== this.#written) throw new Error(`WAL came from ${startLsn} on instead of ${this.#written}`);
    let rest = data;
    while (rest.length > 0) {
      const segment = (this.#segment ??= await this.#open());
      const end = segmentStart(segmentOf(this.#written, this.#segmentBytes) + 1n, this.#segmentBytes);
      const part = rest.subarray(0, Number(end - this.#written));
      try {
        if (segment.known !== null) {
          await assertSame(segment.known, Number(this.#written - end) + this.#segmentBytes, part);
        }
        await segment.handle.writeFile(part);
      } catch (error) {
        throw explainWriteError(error, join(this.#dir, segment.name));
      }
      segment.hash.update(part);
      this.#written += BigInt(part.length);
      rest = rest.subarray(part.length);
      if (this.#written === end) await this.#finish(segment);
    }
  }

  /** Brings everything that was written to the disk. */
  async sync(): Promise<void> {
    if (this.#durable === this.#written) return;
    try {
      await this.#segment?.handle.sync();
    } catch (error) {
      throw explainWriteError(error, this.#dir);
    }
    this.#durable = this.#written;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const segment = this.#segment;
    this.#segment = null;
    if (segment !== null) await closeBoth(segment).catch(() => {});
  }

  async #open(): Promise<OpenSegment> {
    const name = walFileName(this.#timeline, this.#written, this.#segmentBytes);
    const path = join(this.#dir, `${name}${PARTIAL_SUFFIX}`);
    try {
      const isBegun = await exists(path);
      // What was received of it before is received again, and written over itself: until then it is all that there may be.
      const handle = await open(path, isBegun ? "r+" : "wx", SECRET_FILE_MODE);
      if (!isBegun) await fsyncDir(this.#dir);
      const begun = isBegun ? { path, bytes: (await handle.stat()).size } : this.#begun;
      this.#begun = null;
      const known = begun === null ? null : { ...begun, handle: isBegun ? handle : await open(begun.path, "r") };
      return { name, handle, hash: createHash("sha256"), known };
    } catch (error) {
      throw explainWriteError(error, path);
    }
  }

  async #finish(segment: OpenSegment): Promise<void> {
    const { name, handle, hash } = segment;
    const path = join(this.#dir, name);
    try {
      await handle.sync();
      await closeBoth(segment);
      this.#segment = null;
      await this.#name(path, `${hash.digest("hex")}  ${name}\n`);
      this.#durable = this.#written;
    } catch (error) {
      throw explainWriteError(error, path);
    }
  }

  async #name(path: string, digest: string): Promise<void> {
    const before = await readIfThere(`${path}${DIGEST_SUFFIX}`);
    if (before !== null && before !== digest) throw conflict(path);
    if (before === null) await writeFileAtomic(`${path}${DIGEST_SUFFIX}`, digest, { mode: SECRET_FILE_MODE });
    await rename(`${path}${PARTIAL_SUFFIX}`, path);
    await fsyncDir(this.#dir);
  }
}

async function closeBoth({ handle, known }: OpenSegment): Promise<void> {
  if (known !== null && known.handle !== handle) await known.handle.close();
  await handle.close();
}

/** Removes the begun segments that whole ones have replaced. Only for the one who writes. */
export async function clearPartials(dir: string, segmentBytes: number): Promise<void> {
  const names = await readdir(dir);
  for (const name of names.filter((each) => each.endsWith(PARTIAL_SUFFIX))) {
    const whole = name.slice(0, -PARTIAL_SUFFIX.length);
    if (parseWalFileName(whole, segmentBytes) !== null && names.includes(whole)) await rm(join(dir, name));
  }
}
