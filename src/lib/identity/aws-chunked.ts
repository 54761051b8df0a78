import { createHash } from "node:crypto";
import { ByteReader } from "./byte-reader.ts";
import type { ChunkSigner } from "./chunk-signer.ts";
import { Refusal } from "./refusal.ts";

/** How a framed body is to be read. */
export interface AwsChunkedOptions {
  /** `x-amz-decoded-content-length`: how many bytes the object has. */
  readonly decodedBytes: number;
  /** Checks the signatures; null where chunks are not signed. */
  readonly signer: ChunkSigner | null;
  /** Names that `x-amz-trailer` announces, lower case; null where no trailing headers may follow. */
  readonly trailerNames: readonly string[] | null;
  /** Called with the verified trailing headers before the last byte is given out as such, that is before the end. */
  readonly onTrailers: (trailers: ReadonlyMap<string, string>) => void;
}

// A size of 16 hex digits and a signature fit many times over.
const CHUNK_LINE_BYTES_MAX = 256;
const TRAILER_LINE_BYTES_MAX = 1_024;
const TRAILER_LINES_MAX = 16;
const TRAILER_SIGNATURE = "x-amz-trailer-signature";

function invalid(why: string): Refusal {
  return new Refusal("InvalidRequest", `The aws-chunked body is malformed: ${why}.`);
}

interface ChunkHead {
  readonly sizeBytes: number;
  readonly signature: string | null;
}

function parseChunkHead(line: string): ChunkHead {
  const match = /^(?<size>[0-9a-fA-F]{1,12})(?:;chunk-signature=(?<signature>[0-9a-f]{64}))?$/.exec(line);
  if (match?.groups === undefined) throw invalid("a chunk does not begin with its size in hex");
  return { sizeBytes: Number.parseInt(match.groups["size"] ?? "", 16), signature: match.groups["signature"] ?? null };
}

/** Checks that a chunk is signed where it must be, and only there. */
function requireSignature({ signature }: ChunkHead, signer: ChunkSigner | null): string {
  if (signer === null && signature !== null)
    throw invalid("a chunk is signed although the body is announced as unsigned");
  if (signer !== null && signature === null) throw invalid("a chunk has no signature");
  return signature ?? "";
}

async function readTrailerLines(reader: ByteReader): Promise<readonly (readonly [string, string])[]> {
  const lines: (readonly [string, string])[] = [];
  for (
    let line = await reader.readLine(TRAILER_LINE_BYTES_MAX);
    line !== null;
    line = await reader.readLine(TRAILER_LINE_BYTES_MAX)
  ) {
    if (line === "") continue;
    const colon = line.indexOf(":");
    if (colon < 1 || lines.length === TRAILER_LINES_MAX) {
      throw new Refusal("MalformedTrailerError", "What follows the last chunk is not a list of trailing headers.");
    }
    lines.push([line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim()]);
  }
  return lines;
}

function checkTrailerSignature(
  lines: readonly (readonly [string, string])[],
  signature: string | undefined,
  signer: ChunkSigner,
): void {
  const signed = lines.map(([name, value]) => `${name}:${value}\n`).join("");
  if (signature === undefined || !signer.acceptTrailer(signed, signature)) {
    throw new Refusal("SignatureDoesNotMatch", "The signature of the trailing headers does not match.");
  }
}

/** Reads what follows the last chunk, up to the end of the body: nothing of it may ever get into the object. */
async function readTrailers(reader: ByteReader, options: AwsChunkedOptions): Promise<ReadonlyMap<string, string>> {
  const lines = await readTrailerLines(reader);
  if (options.trailerNames === null) {
    if (lines.length > 0) throw invalid("bytes follow the last chunk");
    return new Map();
  }
  const content = lines.filter(([name]) => name !== TRAILER_SIGNATURE);
  const signatures = lines.filter(([name]) => name === TRAILER_SIGNATURE).map(([, value]) => value);
  const names = content.map(([name]) => name);
  if (names.toSorted().join() !== options.trailerNames.toSorted().join() || signatures.length > 1) {
    throw new Refusal("MalformedTrailerError", "The trailing headers are not those that x-amz-trailer announces.");
  }
  if (options.signer !== null) checkTrailerSignature(content, signatures[0], options.signer);
  else if (signatures.length > 0)
    throw invalid("the trailing headers are signed although the body is announced as unsigned");
  return new Map(content);
}

async function* readChunk(reader: ByteReader, head: ChunkHead, signer: ChunkSigner | null): AsyncGenerator<Uint8Array> {
  const signature = requireSignature(head, signer);
  const hash = signer === null ? null : createHash("sha256");
  for (let left = head.sizeBytes; left > 0; ) {
    const piece = await reader.readSome(left);
    left -= piece.byteLength;
    hash?.update(piece);
    yield piece;
  }
  if (signer !== null && !signer.acceptChunk(hash?.digest("hex") ?? "", signature)) {
    throw new Refusal("SignatureDoesNotMatch", "The signature of a chunk does not match its bytes.");
  }
}

/**
 * Takes an `aws-chunked` body out of its frame, in constant memory. A chunk's bytes are given out before its signature
 * is known to be right, so nothing may be published before the generator has ended without an error.
 * @throws Refusal IncompleteBody, InvalidRequest, MalformedTrailerError, SignatureDoesNotMatch
 */
export async function* decodeAwsChunked(
  source: AsyncIterable<Uint8Array>,
  options: AwsChunkedOptions,
): AsyncGenerator<Uint8Array> {
  const reader = new ByteReader(source);
  let leftBytes = options.decodedBytes;
  for (;;) {
    const line = await reader.readLine(CHUNK_LINE_BYTES_MAX);
    if (line === null) throw new Refusal("IncompleteBody", "The body ended before its last chunk.");
    const head = parseChunkHead(line);
    if (head.sizeBytes > leftBytes) {
      throw new Refusal("IncompleteBody", "The chunks hold more bytes than x-amz-decoded-content-length announces.");
    }
    yield* readChunk(reader, head, options.signer);
    if (head.sizeBytes === 0) break;
    leftBytes -= head.sizeBytes;
    if ((await reader.readLine(0)) !== "") throw invalid("a chunk does not end where its size says");
  }
  if (leftBytes > 0) {
    throw new Refusal("IncompleteBody", "The chunks hold fewer bytes than x-amz-decoded-content-length announces.");
  }
  options.onTrailers(await readTrailers(reader, options));
}
