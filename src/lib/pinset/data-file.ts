import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { constants, createZstdCompress, createZstdDecompress } from "node:zlib";
import { createBLAKE3 } from "hash-wasm";
import { explainWriteError, SECRET_FILE_MODE } from "../kernel/files.ts";

/** What a data file is made of: digests in lower-case hex, sizes in bytes. */
export interface DataDigests {
  readonly streamBytes: number;
  readonly sha256: string;
  readonly blake3: string;
  readonly fileBytes: number;
  readonly fileSha256: string;
}

/** Two more levels save 4 % and take twice as long (1,000,000 pins; docs/decisions/0042). */
const COMPRESSION_LEVEL = 3;

/** Our files need 2 MiB to be decompressed (level 3); whatever asks for more than 8 MiB is none of ours. */
const WINDOW_LOG_MAX = 23;

/** How much is read, hashed, compressed and written at once. */
const CHUNK_BYTES = 256 * 1024;

/** Room for chunks to be made, or worked on, while others are compressed or decompressed in another thread. */
const BUFFER_BYTES = 4 * CHUNK_BYTES;

const COMPRESSION = {
  chunkSize: CHUNK_BYTES,
  writableHighWaterMark: BUFFER_BYTES,
  params: { [constants.ZSTD_c_compressionLevel]: COMPRESSION_LEVEL, [constants.ZSTD_c_checksumFlag]: 1 },
};

const DECOMPRESSION = {
  chunkSize: CHUNK_BYTES,
  readableHighWaterMark: BUFFER_BYTES,
  params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG_MAX },
};

/** SHA-256 and BLAKE3 of bytes as they pass. BLAKE3 in WebAssembly: ten times as fast as in JavaScript. */
class StreamDigest {
  bytes = 0;
  readonly #sha256 = createHash("sha256");
  readonly #blake3: Awaited<ReturnType<typeof createBLAKE3>>;

  constructor(blake3: Awaited<ReturnType<typeof createBLAKE3>>) {
    this.#blake3 = blake3;
    this.#blake3.init();
  }

  add(chunk: Uint8Array): void {
    this.bytes += chunk.length;
    this.#sha256.update(chunk);
    this.#blake3.update(chunk);
  }

  finish(): { readonly streamBytes: number; readonly sha256: string; readonly blake3: string } {
    return { streamBytes: this.bytes, sha256: this.#sha256.digest("hex"), blake3: this.#blake3.digest("hex") };
  }
}

/**
 * Writes chunks compressed into a new file, down to the disk, and digests what passes.
 * @throws FulaError FULA_DISK_FULL, FULA_PATH_NOT_WRITABLE; whatever the source throws
 */
export async function writeDataFile(
  path: string,
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): Promise<DataDigests> {
  const stream = new StreamDigest(await createBLAKE3());
  const fileHash = createHash("sha256");
  let fileBytes = 0;
  const compress = createZstdCompress(COMPRESSION);
  try {
    const handle = await open(path, "wx", SECRET_FILE_MODE);
    await pipeline(
      async function* () {
        for await (const chunk of source) {
          stream.add(chunk);
          yield chunk;
        }
      },
      compress,
      async function* (compressed: AsyncIterable<Buffer>) {
        for await (const chunk of compressed) {
          fileHash.update(chunk);
          fileBytes += chunk.length;
          yield chunk;
        }
      },
      handle.createWriteStream({ flush: true, highWaterMark: BUFFER_BYTES }),
      signal === undefined ? {} : { signal },
    );
  } catch (error) {
    throw explainWriteError(error, path);
  }
  return { ...stream.finish(), fileBytes, fileSha256: fileHash.digest("hex") };
}

/** Size and SHA-256 of a file as it lies there. */
export async function digestFile(
  path: string,
  signal?: AbortSignal,
): Promise<{ readonly fileBytes: number; readonly fileSha256: string }> {
  const hash = createHash("sha256");
  let fileBytes = 0;
  for await (const chunk of readChunks(path, signal)) {
    hash.update(chunk);
    fileBytes += chunk.length;
  }
  return { fileBytes, fileSha256: hash.digest("hex") };
}

/**
 * Decompresses a data file and hands on what comes out, at most `bytesMax` bytes of it, in flat memory.
 * @returns digests of what came out; `overlong` where there was more than allowed
 * @throws Error of zlib for bytes that are not zstd
 */
export async function digestStream(
  path: string,
  bytesMax: number,
  onChunk: (chunk: Buffer) => void,
  signal?: AbortSignal,
): Promise<{
  readonly streamBytes: number;
  readonly sha256: string;
  readonly blake3: string;
  readonly overlong: boolean;
}> {
  const digest = new StreamDigest(await createBLAKE3());
  for await (const chunk of decompress(path, signal)) {
    if (digest.bytes + chunk.length > bytesMax) return { ...digest.finish(), overlong: true };
    digest.add(chunk);
    onChunk(chunk);
  }
  return { ...digest.finish(), overlong: false };
}

/** The uncompressed bytes of a data file. @throws Error of zlib for bytes that are not zstd */
export async function* decompress(path: string, signal?: AbortSignal): AsyncGenerator<Buffer> {
  const source = createReadStream(path, { highWaterMark: CHUNK_BYTES });
  const zstd = createZstdDecompress(DECOMPRESSION);
  source.on("error", (error) => zstd.destroy(error));
  source.pipe(zstd);
  try {
    for await (const chunk of zstd) {
      signal?.throwIfAborted();
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a stream without an encoding gives buffers
      yield chunk as Buffer;
    }
  } finally {
    source.destroy();
    zstd.destroy();
  }
}

async function* readChunks(path: string, signal: AbortSignal | undefined): AsyncGenerator<Buffer> {
  for await (const chunk of createReadStream(path, { highWaterMark: CHUNK_BYTES })) {
    signal?.throwIfAborted();
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a stream without an encoding gives buffers
    yield chunk as Buffer;
  }
}
