import type { BigIntStats, Dirent } from "node:fs";
import { type FileHandle, open, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { base32upper } from "multiformats/bases/base32";
import { CID } from "multiformats/cid";
import { decode as decodeMultihash } from "multiformats/hashes/digest";
import { type Clock, systemClock } from "../kernel/clock.ts";
import { FulaError, systemErrorCode } from "../kernel/errors.ts";
import {
  ensureDir,
  explainWriteError,
  fsyncDir,
  readTextIfExists,
  SECRET_FILE_MODE,
  writeFileAtomic,
} from "../kernel/files.ts";
import { type Random, systemRandom } from "../kernel/random.ts";
import { type AddedBlock, assertBlockFits, BLOCK_BYTES_MAX, type BlockStore } from "./block-store.ts";
import { blockMatches, IDENTITY, RAW_CODEC, verifyBlock } from "./cid.ts";

/** A put takes milliseconds; a temp file this old was left by a crash. */
const TEMP_AGE_MAX_MS = 3_600_000;
// The layout of Kubo's flatfs (https://github.com/ipfs/go-ds-flatfs): a Kubo node can be given this directory as it is.
const SHARDING = "/repo/flatfs/shard/v1/next-to-last/2";
const SHARDING_FILE = "SHARDING";
const EXTENSION = ".data";
const TEMP_DIR = ".temp";
const CORRUPT_DIR = ".corrupt";
/** Two letters of the base32 alphabet: 1,024 shards. */
const SHARD_NAME = /^[A-Z2-7]{2}$/;

/** How much a block directory holds. */
interface BlockUsage {
  readonly blocks: number;
  readonly bytes: number;
  /** Files that failed their check and were moved aside. */
  readonly corrupt: number;
}

/** Blocks in a directory of this machine. */
export interface LocalBlockStore extends BlockStore {
  readonly dir: string;
  /** Every stored block, in no order, as CIDv1 of raw bytes: the files are named by multihash and know no codec. */
  list(signal?: AbortSignal): AsyncIterable<CID>;
  /** Size of one block, or null where it is not there; does not read its bytes. */
  stat(cid: CID): Promise<{ readonly sizeBytes: number } | null>;
  /** Counts everything; reads every directory, no content. */
  usage(signal?: AbortSignal): Promise<BlockUsage>;
}

/** What the store takes from outside; tests hand in their own. */
export interface LocalBlockStoreOptions {
  readonly clock?: Clock;
  readonly random?: Random;
}

function keyOf(cid: CID): string {
  // Keyed by multihash, so that CIDv0 and v1 and every codec of the same bytes share one file. `B` is the multibase prefix.
  return base32upper.encode(cid.multihash.bytes).slice(1);
}

/** The CID that a file's name stands for; null for a file that names no block, such as one that a person put there. */
function cidOf(fileName: string): CID | null {
  if (!fileName.endsWith(EXTENSION)) return null;
  try {
    const multihash = decodeMultihash(base32upper.decode(`B${fileName.slice(0, -EXTENSION.length)}`));
    return CID.createV1(RAW_CODEC, multihash);
  } catch {
    return null;
  }
}

function shardOf(key: string): string {
  return key.slice(-3, -1);
}

async function assertSharding(dir: string): Promise<void> {
  const file = join(dir, SHARDING_FILE);
  const found = await readTextIfExists(file);
  if (found?.trim() === SHARDING) return;
  if (found === null) {
    const entries = await readdir(dir);
    if (entries.every((name) => name === TEMP_DIR || name === CORRUPT_DIR)) {
      await writeFileAtomic(file, `${SHARDING}\n`, { mode: SECRET_FILE_MODE });
      return;
    }
  }
  const what =
    found === null ? `has files in it but no ${SHARDING_FILE}` : `is sharded as ${JSON.stringify(found.trim())}`;
  throw new FulaError(
    "FULA_BLOCK_STORE_FORMAT",
    `Will not use ${dir} as a block directory: it ${what}; expected ${SHARDING}.`,
    {
      hint: "point the block directory at an empty one, or at one that this program or Kubo's flatfs made.",
      details: { dir, expected: SHARDING, found: found?.trim() ?? null },
    },
  );
}

async function removeOldTemps(dir: string, nowMs: number): Promise<void> {
  for (const name of await readdir(dir)) {
    const path = join(dir, name);
    const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: nowMs }));
    if (nowMs - mtimeMs > TEMP_AGE_MAX_MS) await rm(path, { force: true }).catch(() => {});
  }
}

/** Tells a file from another one of the same name, and from itself after it was touched. */
type FileStamp = Pick<BigIntStats, "ino" | "mtimeNs">;

async function stampOf(path: string): Promise<FileStamp | null> {
  try {
    return await stat(path, { bigint: true });
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return null;
    throw error;
  }
}

function isSameStamp(found: FileStamp | null, written: FileStamp): boolean {
  return found?.ino === written.ino && found.mtimeNs === written.mtimeNs;
}

async function sizeOf(path: string): Promise<number | null> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return null;
    throw error;
  }
}

/** Reads a block file; null where there is none. One byte more than allowed is enough to tell that it is too long. */
async function readBlockFile(path: string): Promise<Uint8Array | null> {
  let handle: FileHandle;
  try {
    handle = await open(path, "r");
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return null;
    throw error;
  }
  try {
    const { size } = await handle.stat();
    const bytes = new Uint8Array(Math.min(size, BLOCK_BYTES_MAX + 1));
    let filled = 0;
    while (filled < bytes.byteLength) {
      const { bytesRead } = await handle.read(bytes, filled, bytes.byteLength - filled, filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return bytes.subarray(0, filled);
  } finally {
    await handle.close();
  }
}

/**
 * Opens a block directory, creating it when it is not there. Several processes may have it open at the same time.
 * @throws FulaError FULA_BLOCK_STORE_FORMAT, FULA_PATH_NOT_WRITABLE, FULA_DISK_FULL
 */
export async function openLocalBlockStore(dir: string, options: LocalBlockStoreOptions = {}): Promise<LocalBlockStore> {
  const { clock = systemClock, random = systemRandom } = options;
  await ensureDir(dir);
  await assertSharding(dir);
  await ensureDir(join(dir, TEMP_DIR));
  await removeOldTemps(join(dir, TEMP_DIR), clock.nowMs());
  return new FlatfsBlockStore(dir, clock, random);
}

class FlatfsBlockStore implements LocalBlockStore {
  readonly dir: string;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #shards = new Set<string>();

  constructor(dir: string, clock: Clock, random: Random) {
    this.dir = dir;
    this.#clock = clock;
    this.#random = random;
  }

  async put(cid: CID, bytes: Uint8Array, signal?: AbortSignal): Promise<void> {
    await this.add(cid, bytes, signal);
  }

  async add(cid: CID, bytes: Uint8Array, signal?: AbortSignal): Promise<AddedBlock | null> {
    assertBlockFits(cid, bytes);
    verifyBlock(cid, bytes);
    if (cid.multihash.code === IDENTITY) return null;
    signal?.throwIfAborted();
    const key = keyOf(cid);
    if (await this.#touch(key, bytes.byteLength)) return null;
    const written = await this.#write(key, bytes);
    return {
      takeBack: async () => {
        await this.#takeBack(key, written);
      },
    };
  }

  async get(cid: CID, signal?: AbortSignal): Promise<Uint8Array> {
    const bytes = await this.find(cid, signal);
    if (bytes === null) throw missing(cid);
    return bytes;
  }

  async find(cid: CID, signal?: AbortSignal): Promise<Uint8Array | null> {
    signal?.throwIfAborted();
    if (cid.multihash.code === IDENTITY) return cid.multihash.digest;
    const key = keyOf(cid);
    const bytes = await readBlockFile(this.#path(key));
    if (bytes === null) return null;
    if (bytes.byteLength <= BLOCK_BYTES_MAX && blockMatches(cid, bytes)) return bytes;
    return await this.#quarantine(cid, key);
  }

  async has(cid: CID): Promise<boolean> {
    return (await this.stat(cid)) !== null;
  }

  async stat(cid: CID): Promise<{ readonly sizeBytes: number } | null> {
    if (cid.multihash.code === IDENTITY) return { sizeBytes: cid.multihash.size };
    const sizeBytes = await sizeOf(this.#path(keyOf(cid)));
    return sizeBytes === null ? null : { sizeBytes };
  }

  async delete(cid: CID): Promise<boolean> {
    if (cid.multihash.code === IDENTITY) return false;
    const path = this.#path(keyOf(cid));
    try {
      await rm(path);
      return true;
    } catch (error) {
      if (systemErrorCode(error) === "ENOENT") return false;
      throw explainWriteError(error, path);
    }
  }

  async *list(signal?: AbortSignal): AsyncGenerator<CID> {
    for await (const { cid } of this.#files(signal)) yield cid;
  }

  async usage(signal?: AbortSignal): Promise<BlockUsage> {
    let blocks = 0;
    let bytes = 0;
    for await (const { path } of this.#files(signal)) {
      const sizeBytes = await sizeOf(path);
      if (sizeBytes === null) continue;
      blocks += 1;
      bytes += sizeBytes;
    }
    const corrupt = await readdir(join(this.dir, CORRUPT_DIR)).catch(() => []);
    return { blocks, bytes, corrupt: corrupt.length };
  }

  #path(key: string): string {
    return join(this.dir, shardOf(key), `${key}${EXTENSION}`);
  }

  #tempPath(key: string): string {
    return join(this.dir, TEMP_DIR, `${key.slice(-12)}-${this.#random.uuid()}`);
  }

  async *#files(signal?: AbortSignal): AsyncGenerator<{ readonly cid: CID; readonly path: string }> {
    const shards = (await readdir(this.dir, { withFileTypes: true })).filter(isShard);
    for (const shard of shards) {
      signal?.throwIfAborted();
      for (const name of await readdir(join(this.dir, shard.name))) {
        const cid = cidOf(name);
        if (cid !== null) yield { cid, path: join(this.dir, shard.name, name) };
      }
    }
  }

  /**
   * Marks a block that is there as put once more, so that whoever wrote it does not take it back.
   * @returns false where there is none, or one of another size: a file that something cut short is replaced, not trusted
   */
  async #touch(key: string, sizeBytes: number): Promise<boolean> {
    const path = this.#path(key);
    if ((await sizeOf(path)) !== sizeBytes) return false;
    const now = this.#clock.nowMs() / 1_000;
    try {
      await utimes(path, now, now);
      return true;
    } catch (error) {
      // It was taken back in this very moment.
      if (systemErrorCode(error) === "ENOENT") return false;
      throw explainWriteError(error, path);
    }
  }

  /**
   * Removes a file if it is still the one that was written, untouched. It is looked at again when nobody else finds it any
   * more, and comes back where somebody put it in between.
   */
  async #takeBack(key: string, written: FileStamp): Promise<void> {
    const path = this.#path(key);
    if (!isSameStamp(await stampOf(path), written)) return;
    const aside = this.#tempPath(key);
    try {
      await rename(path, aside);
    } catch (error) {
      if (systemErrorCode(error) === "ENOENT") return;
      throw explainWriteError(error, path);
    }
    if (isSameStamp(await stampOf(aside), written)) await rm(aside, { force: true });
    else await rename(aside, path);
  }

  async #write(key: string, bytes: Uint8Array): Promise<FileStamp> {
    const path = this.#path(key);
    const temp = this.#tempPath(key);
    try {
      await this.#ensureShard(shardOf(key));
      const handle = await open(temp, "wx", SECRET_FILE_MODE);
      let written: FileStamp;
      try {
        await handle.writeFile(bytes);
        await handle.sync();
        written = await handle.stat({ bigint: true });
      } finally {
        await handle.close();
      }
      await rename(temp, path);
      await fsyncDir(join(this.dir, shardOf(key)));
      return written;
    } catch (error) {
      await rm(temp, { force: true }).catch(() => {});
      throw explainWriteError(error, path);
    }
  }

  async #ensureShard(shard: string): Promise<void> {
    if (this.#shards.has(shard)) return;
    await ensureDir(join(this.dir, shard));
    await fsyncDir(this.dir);
    this.#shards.add(shard);
  }

  /**
   * Moves a file that failed its check to `.corrupt/`, where nothing reads it and nothing deletes it: what is left of
   * it may be all there is. The check is repeated after the move, because another process may have replaced the file
   * with a good one between our read and the move; a good one goes back.
   */
  async #quarantine(cid: CID, key: string): Promise<Uint8Array> {
    const path = this.#path(key);
    const stamp = new Date(this.#clock.nowMs()).toISOString().replaceAll(/[-:.]/g, "");
    const aside = join(this.dir, CORRUPT_DIR, `${key}.${stamp}.${this.#random.uuid().slice(0, 8)}`);
    let moved = false;
    try {
      await ensureDir(join(this.dir, CORRUPT_DIR));
      await rename(path, aside);
      moved = true;
    } catch {
      // A read-only directory, or another reader was faster: the block is as corrupt as before.
    }
    const again = await readBlockFile(moved ? aside : path);
    if (again !== null && again.byteLength <= BLOCK_BYTES_MAX && blockMatches(cid, again)) {
      if (moved) await rename(aside, path);
      return again;
    }
    throw new FulaError(
      "FULA_BLOCK_CORRUPT",
      `Block ${cid.toString()} on disk does not hash to its CID${moved ? `; it was moved to ${aside}` : ""}.`,
      {
        hint: "fetch or store the block again (a put of the same bytes heals it), and check the disk: smartctl, dmesg.",
        details: { cid: cid.toString(), path, quarantined: moved ? aside : null },
      },
    );
  }
}

function isShard(entry: Dirent): boolean {
  return entry.isDirectory() && SHARD_NAME.test(entry.name);
}

function missing(cid: CID): FulaError {
  return new FulaError("FULA_BLOCK_MISSING", `Block ${cid.toString()} is not in the local block store.`, {
    hint: "fula-master sweep shows which pins lack blocks; store the content again, or copy the block from a master that has it.",
    details: { cid: cid.toString() },
  });
}
