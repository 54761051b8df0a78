import { EMPTY_SHA256, equalsSecretly, sha256Hex, sign } from "./signature.ts";

/** What the chain of chunk signatures starts from. */
export interface ChunkSeed {
  readonly signingKey: Uint8Array;
  /** `x-amz-date` */
  readonly timestamp: string;
  /** `20130524/us-east-1/s3/aws4_request` */
  readonly scope: string;
  /** The signature of the request's headers. */
  readonly seed: string;
}

/** Checks signed chunks in their order: each signature covers the one before it. */
export interface ChunkSigner {
  /** @param sha256 of the chunk's bytes, hex @returns false where the signature is not the one that must come now */
  acceptChunk(sha256: string, signature: string): boolean;
  /** @param lines the trailing headers as `name:value\n`, in their order */
  acceptTrailer(lines: string, signature: string): boolean;
}

/**
 * Starts the chain of a body.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and sigv4-streaming-trailers.html
 */
export function createChunkSigner({ signingKey, timestamp, scope, seed }: ChunkSeed): ChunkSigner {
  let previous = seed;
  const accept = (text: string, signature: string): boolean => {
    const expected = sign(signingKey, text);
    if (!equalsSecretly(expected, signature)) return false;
    previous = expected;
    return true;
  };
  return {
    acceptChunk: (sha256, signature) =>
      accept(["AWS4-HMAC-SHA256-PAYLOAD", timestamp, scope, previous, EMPTY_SHA256, sha256].join("\n"), signature),
    acceptTrailer: (lines, signature) =>
      accept(["AWS4-HMAC-SHA256-TRAILER", timestamp, scope, previous, sha256Hex(lines)].join("\n"), signature),
  };
}
