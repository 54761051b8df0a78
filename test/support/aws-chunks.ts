import { createHash } from "node:crypto";
import type { ChunkSeed } from "../../src/lib/identity/chunk-signer.ts";
import { EMPTY_SHA256, sha256Hex, sign } from "../../src/lib/identity/signature.ts";

/** How a body is framed as `aws-chunked`. */
export interface Framing {
  /** Signs each chunk; null leaves them unsigned. */
  readonly seed: ChunkSeed | null;
  readonly trailers: readonly (readonly [string, string])[] | null;
}

/** Frames chunks the way a client does. */
export function frameChunks(chunks: readonly Uint8Array[], { seed, trailers }: Framing): Buffer {
  let previous = seed?.seed ?? "";
  const next = (text: string): string => {
    previous = sign(seed?.signingKey ?? new Uint8Array(0), text);
    return previous;
  };
  const pieces: Uint8Array[] = [];
  for (const chunk of [...chunks, new Uint8Array(0)]) {
    const sha256 = createHash("sha256").update(chunk).digest("hex");
    const signature =
      seed === null
        ? ""
        : `;chunk-signature=${next(["AWS4-HMAC-SHA256-PAYLOAD", seed.timestamp, seed.scope, previous, EMPTY_SHA256, sha256].join("\n"))}`;
    pieces.push(Buffer.from(`${chunk.byteLength.toString(16)}${signature}\r\n`));
    if (chunk.byteLength > 0) pieces.push(chunk, Buffer.from("\r\n"));
  }
  for (const [name, value] of trailers ?? []) pieces.push(Buffer.from(`${name}:${value}\r\n`));
  if (seed !== null && trailers !== null) {
    const lines = trailers.map(([name, value]) => `${name}:${value}\n`).join("");
    const text = ["AWS4-HMAC-SHA256-TRAILER", seed.timestamp, seed.scope, previous, sha256Hex(lines)].join("\n");
    pieces.push(Buffer.from(`x-amz-trailer-signature:${next(text)}\r\n`));
  }
  pieces.push(Buffer.from("\r\n"));
  return Buffer.concat(pieces);
}

/** Cuts bytes at these places. */
export async function* cutAt(bytes: Uint8Array, places: readonly number[]): AsyncGenerator<Uint8Array> {
  let from = 0;
  for (const place of [...places].toSorted((a, b) => a - b)) {
    yield bytes.subarray(from, place);
    from = place;
  }
  yield bytes.subarray(from);
}

/** All that a stream gives, in one piece. */
export async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces);
}
