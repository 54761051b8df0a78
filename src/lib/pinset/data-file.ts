import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import type { Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createZstdCompress, createZstdDecompress } from "node:zlib";
import { createBLAKE3 } from "hash-wasm";
import { explainWriteError, SECRET_FILE_MODE } from "../kernel/files.ts";
import { BUFFER_BYTES, CHUNK_BYTES, compression, DECOMPRESSION } from "../kernel/zstd.ts";

/** What a data file is made of: digests in lower-case hex, sizes in bytes. */
export interface DataDigests {
  readonly streamBytes: number;
  readonly sha256: string;
  readonly blake3: string;
  readonly fileBytes: number;
  readonly fileSha256: string;
}

/**
 * Most of a record that does not repeat is its CID, which is random. Level 3 makes the file 8 % larger and takes half as
 * long again, level 9 makes it 4 % larger and takes six times as long (docs/decisions/0042).
 */
const COMPRESSION_LEVEL = 1;

/** Being filled, being compressed, and one in between. */
const RING_BUFFERS = 3;

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
 * Buffers that are used over and over: a stream of new ones is freed so late that the process holds a hundred megabytes
 * of them, and how many depends on how long it runs.
 */
class BufferRing {
  readonly #free: Buffer[] = Array.from({ length: RING_BUFFERS }, () => Buffer.alloc(2 * CHUNK_BYTES));
  #waiting: (() => void) | null = null;

  /** Waits until one is free. For one caller at a time. */
  async take(): Promise<Buffer> {
    for (;;) {
      const buffer = this.#free.pop();
      if (buffer !== undefined) return buffer;
      const freed = Promise.withResolvers<void>();
      this.#waiting = freed.resolve;
      await freed.promise;
    }
  }

  give(buffer: Buffer): void {
    this.#free.push(buffer);
    this.#waiting?.();
    this.#waiting = null;
  }
}

const encoder = new TextEncoder();

function encode(text: string, buffer: Buffer): Buffer {
  const { read, written } = encoder.encodeInto(text, buffer);
  return read === text.length ? buffer.subarray(0, written) : Buffer.from(text);
}

/**
 * Writes texts compressed into a new file, down to the disk, and digests what passes.
 * @param onChunk told of the bytes of each text before they are written; what it throws ends it. They are used again afterwards
 * @throws FulaError FULA_DISK_FULL, FULA_PATH_NOT_WRITABLE; whatever the source throws
 */
export async function writeDataFile(
  path: string,
  source: AsyncIterable<string>,
  onChunk: (chunk: Buffer) => void,
  signal: AbortSignal | undefined,
): Promise<DataDigests> {
  const stream = new StreamDigest(await createBLAKE3());
  const file = new FileDigest();
  const compress = createZstdCompress(compression(COMPRESSION_LEVEL));
  try {
    const handle = await open(path, "wx", SECRET_FILE_MODE);
    const target = handle.createWriteStream({ flush: true, highWaterMark: BUFFER_BYTES });
    const written = pipeline(compress, file.tap, target, signal === undefined ? {} : { signal });
    await feed(compress, source, written, (chunk) => {
      onChunk(chunk);
      stream.add(chunk);
    });
  } catch (error) {
    throw explainWriteError(error, path);
  }
  return { ...stream.finish(), ...file.finish() };
}

/** Hands a source to a compressor, until it is written to its end or one of them fails. */
async function feed(
  compress: Writable,
  source: AsyncIterable<string>,
  written: Promise<void>,
  onChunk: (chunk: Buffer) => void,
): Promise<void> {
  const ring = new BufferRing();
  // Its failure is noticed where somebody waits for it; until then it must not count as unhandled.
  written.catch(() => {});
  try {
    for await (const text of source) {
      const buffer = await Promise.race([ring.take(), written]);
      if (buffer === undefined) throw new Error("The compressor ended before its source did");
      const chunk = encode(text, buffer);
      onChunk(chunk);
      compress.write(chunk, () => ring.give(buffer));
    }
    compress.end();
    await written;
  } catch (error) {
    compress.destroy(error instanceof Error ? error : new Error(String(error)));
    await written.catch(() => {});
    throw error;
  }
}

/** Size and SHA-256 of a file as it passes. */
class FileDigest {
  #bytes = 0;
  readonly #hash = createHash("sha256");

  add(chunk: Uint8Array): void {
    this.#bytes += chunk.length;
    this.#hash.update(chunk);
  }

  readonly tap = (chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> => this.#pass(chunks);

  async *#pass(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      this.add(chunk);
      yield chunk;
    }
  }

  finish(): { readonly fileBytes: number; readonly fileSha256: string } {
    return { fileBytes: this.#bytes, fileSha256: this.#hash.digest("hex") };
  }
}

/** Size and SHA-256 of a file as it lies there. */
export async function digestFile(
  path: string,
  signal?: AbortSignal,
): Promise<{ readonly fileBytes: number; readonly fileSha256: string }> {
  const digest = new FileDigest();
  for await (const chunk of readChunks(path, signal)) digest.add(chunk);
  return digest.finish();
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
