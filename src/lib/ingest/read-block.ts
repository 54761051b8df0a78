import { createHash } from "node:crypto";
import { CID } from "multiformats/cid";
import { create as createMultihash } from "multiformats/hashes/digest";
import { BLAKE3, RAW_CODEC } from "../blocks/cid.ts";
import type { Clock } from "../kernel/clock.ts";
import { IngestRefusal } from "./refusal.ts";

/** A body that is read once, from its beginning. */
export type BodyBytes = AsyncIterable<Uint8Array>;

/** What a body is to be. */
export interface BlockWish {
  readonly cid: CID;
  /** Its length as the head says; null where only its end tells. */
  readonly declaredBytes: number | null;
  /** Base64 of its MD5, where the head has it. */
  readonly contentMd5: string | null;
  readonly maxBytes: number;
}

/** A hash that is worked out as bytes come. */
export interface BlockHash {
  readonly update: (piece: Uint8Array) => unknown;
  readonly digest: (form: "binary") => Uint8Array;
}

/** Bytes that hash to the CID that they were sent as. */
export interface VerifiedBlock {
  readonly cid: CID;
  readonly bytes: Uint8Array;
}

/** A client may take so long to begin, whatever its line. */
const GRACE_MS = 3_000;
/** From then on it must have sent so much on average: whoever is slower is not on a slow line but holds us up. */
const BYTES_PER_MS_MIN = (16 * 1_024) / 1_000;
const BODY_MS_MAX = 60_000;
/** Where a body grows from when nobody says how long it is. */
const FIRST_BYTES = 64 * 1_024;

function tooLarge(maxBytes: number): IngestRefusal {
  return new IngestRefusal(413, `A block has at most ${maxBytes} bytes.`);
}

/** When a body of which so much has come must have more: milliseconds after its beginning. */
export function dueMs(receivedBytes: number): number {
  return Math.min(BODY_MS_MAX, GRACE_MS + receivedBytes / BYTES_PER_MS_MIN);
}

/** Waits until the body is slower than it may be, or the signal ends it. @returns true where it was too slow */
async function tooSlow(clock: Clock, received: () => number, signal: AbortSignal): Promise<boolean> {
  const startMs = clock.monotonicMs();
  for (;;) {
    const leftMs = startMs + dueMs(received()) - clock.monotonicMs();
    if (leftMs <= 0) return true;
    try {
      await clock.sleep(leftMs, signal);
    } catch {
      return false;
    }
  }
}

/** A buffer that is as long as the head says, or grows; pages that nothing was written to take no memory. */
class Gathered {
  readonly #maxBytes: number;
  #buffer: Buffer;
  #length = 0;

  constructor(maxBytes: number, declaredBytes: number | null) {
    this.#maxBytes = maxBytes;
    this.#buffer = Buffer.allocUnsafeSlow(declaredBytes ?? Math.min(FIRST_BYTES, maxBytes));
  }

  get length(): number {
    return this.#length;
  }

  add(piece: Uint8Array): void {
    const length = this.#length + piece.byteLength;
    if (length > this.#maxBytes) throw tooLarge(this.#maxBytes);
    if (length > this.#buffer.byteLength) {
      const grown = Buffer.allocUnsafeSlow(Math.min(this.#maxBytes, Math.max(length, this.#buffer.byteLength * 2)));
      this.#buffer.copy(grown, 0, 0, this.#length);
      this.#buffer = grown;
    }
    this.#buffer.set(piece, this.#length);
    this.#length = length;
  }

  bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.#length);
  }
}

async function gather(
  body: BodyBytes,
  gathered: Gathered,
  hash: Pick<BlockHash, "update">,
  signal: AbortSignal,
): Promise<void> {
  for await (const piece of body) {
    signal.throwIfAborted();
    gathered.add(piece);
    hash.update(piece);
  }
}

async function gatherInTime(
  body: BodyBytes,
  gathered: Gathered,
  hash: Pick<BlockHash, "update">,
  clock: Clock,
): Promise<void> {
  const end = new AbortController();
  const reading = gather(body, gathered, hash, end.signal);
  const watching = tooSlow(clock, () => gathered.length, end.signal);
  // Where it is given up, its stream is ended with the answer; nobody waits for what that makes of the reading.
  reading.catch(() => {});
  try {
    const isLate = await Promise.race([reading.then(() => false), watching]);
    if (isLate) {
      throw new IngestRefusal(408, `The body came too slowly: ${gathered.length} bytes so far.`, {
        retryAfterSeconds: 1,
      });
    }
  } catch (error) {
    if (error instanceof IngestRefusal) throw error;
    throw new IngestRefusal(400, "The body could not be read to its end.", { cause: error });
  } finally {
    end.abort();
  }
}

function assertWhole(found: Uint8Array, { cid, contentMd5, declaredBytes }: BlockWish, gathered: Gathered): void {
  if (gathered.length === 0) throw new IngestRefusal(400, "The body is empty.");
  if (declaredBytes !== null && gathered.length !== declaredBytes) {
    throw new IngestRefusal(400, `The body has ${gathered.length} bytes; its head says ${declaredBytes}.`);
  }
  const actual = CID.createV1(RAW_CODEC, createMultihash(BLAKE3, found)).toString();
  if (actual !== cid.toString()) {
    const details = { declared: cid.toString(), actual };
    throw new IngestRefusal(422, "The body does not hash to the CID that it was sent as.", { details });
  }
  if (contentMd5 === null) return;
  const md5 = createHash("md5").update(gathered.bytes()).digest("base64");
  if (md5 !== contentMd5) throw new IngestRefusal(400, "Content-MD5 is not that of the body.");
}

/**
 * Reads a block from a body, hashing it as it comes. Slow bodies and long ones are given up as soon as they are known to
 * be such. The hash is BLAKE3 of nothing so far.
 * @throws IngestRefusal 400 (empty, cut off, wrong Content-MD5), 408, 413, 422
 */
export async function readBlock(
  body: BodyBytes,
  wish: BlockWish,
  { hash, clock }: { readonly hash: BlockHash; readonly clock: Clock },
): Promise<VerifiedBlock> {
  const gathered = new Gathered(wish.maxBytes, wish.declaredBytes);
  await gatherInTime(body, gathered, hash, clock);
  assertWhole(hash.digest("binary"), wish, gathered);
  return { cid: wish.cid, bytes: gathered.bytes() };
}

/** Refuses a body by what its head says of it, before a byte is read. @throws IngestRefusal 400, 413 */
export function assertDeclared(declaredBytes: number | null, maxBytes: number): void {
  if (declaredBytes === null) return;
  if (declaredBytes === 0) throw new IngestRefusal(400, "The body is empty.");
  if (declaredBytes > maxBytes) throw tooLarge(maxBytes);
}
