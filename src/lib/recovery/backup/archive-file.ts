import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { createZstdCompress, createZstdDecompress } from "node:zlib";
import { FulaError } from "../../kernel/errors.ts";
import { explainWriteError, SECRET_FILE_MODE } from "../../kernel/files.ts";
import { BUFFER_BYTES, CHUNK_BYTES, compression, DECOMPRESSION } from "../../kernel/zstd.ts";
import type { FileDigest } from "./backup-record.ts";

/** Pages of PostgreSQL become a few times smaller at level 1, and hardly smaller still above (docs/decisions/0257). */
const COMPRESSION_LEVEL = 1;
class PassingDigest {
  #bytes = 0;
  readonly #hash = createHash("sha256");

  readonly tap = (chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> => this.#pass(chunks);

  async *#pass(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      this.#bytes += chunk.length;
      this.#hash.update(chunk);
      yield chunk;
    }
  }

  finish(): FileDigest {
    return { bytes: this.#bytes, sha256: this.#hash.digest("hex") };
  }
}

/**
 * Compresses bytes into a new file, down to the disk. @returns size and digest of the file
 * @throws FulaError FULA_DISK_FULL, FULA_PATH_NOT_WRITABLE; whatever the source throws
 */
export async function writeArchive(
  path: string,
  source: AsyncIterable<Buffer>,
  signal: AbortSignal,
): Promise<FileDigest> {
  const digest = new PassingDigest();
  const compress = createZstdCompress(compression(COMPRESSION_LEVEL));
  try {
    const handle = await open(path, "wx", SECRET_FILE_MODE);
    const target = handle.createWriteStream({ flush: true, highWaterMark: BUFFER_BYTES });
    await pipeline(source, compress, digest.tap, target, { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw explainWriteError(error, path);
  }
  return digest.finish();
}

/** Size and SHA-256 of a file as it lies there. @throws the system's error */
export async function digestOf(path: string, signal: AbortSignal): Promise<FileDigest> {
  const digest = new PassingDigest();
  for await (const _ of digest.tap(createReadStream(path, { highWaterMark: CHUNK_BYTES }))) signal.throwIfAborted();
  return digest.finish();
}

/**
 * What was compressed into an archive.
 * @throws FulaError FULA_BASE_BACKUP_DAMAGED for bytes that are not zstd
 */
export async function* readArchive(path: string, signal: AbortSignal): AsyncGenerator<Buffer> {
  const source = createReadStream(path, { highWaterMark: CHUNK_BYTES });
  const decompress = createZstdDecompress(DECOMPRESSION);
  source.on("error", (error) => decompress.destroy(error));
  source.pipe(decompress);
  try {
    for await (const chunk of decompress) {
      signal.throwIfAborted();
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a stream without an encoding gives buffers
      yield chunk as Buffer;
    }
  } catch (cause) {
    signal.throwIfAborted();
    throw new FulaError("FULA_BASE_BACKUP_DAMAGED", `${path} cannot be decompressed.`, {
      cause,
      hint: "fula-master backup list shows the other backups; take a new one with fula-master backup create.",
      details: { path },
    });
  } finally {
    source.destroy();
    decompress.destroy();
  }
}
