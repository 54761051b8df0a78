import { constants } from "node:zlib";

/** How much is read, hashed, compressed and written at once. */
export const CHUNK_BYTES = 256 * 1024;

/** Room for chunks to be made, or worked on, while others are compressed or decompressed in another thread. */
export const BUFFER_BYTES = 4 * CHUNK_BYTES;

/** Our files need 512 KiB to be decompressed; whatever asks for more than 8 MiB is none of ours. */
const WINDOW_LOG_MAX = 23;

/** Options of a stream that compresses a file of ours, with a checksum. @param level what it is worth, the caller's record says */
export function compression(level: number): {
  readonly chunkSize: number;
  readonly writableHighWaterMark: number;
  readonly params: Record<number, number>;
} {
  return {
    chunkSize: CHUNK_BYTES,
    writableHighWaterMark: BUFFER_BYTES,
    params: { [constants.ZSTD_c_compressionLevel]: level, [constants.ZSTD_c_checksumFlag]: 1 },
  };
}

/** Options of a stream that decompresses one. */
export const DECOMPRESSION = {
  chunkSize: CHUNK_BYTES,
  readableHighWaterMark: BUFFER_BYTES,
  params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG_MAX },
};
