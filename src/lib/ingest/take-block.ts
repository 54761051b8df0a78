import { createBLAKE3 } from "hash-wasm";
import type { CID } from "multiformats/cid";
import { BLAKE3, parseCid, RAW_CODEC } from "../blocks/cid.ts";
import type { Clock } from "../kernel/clock.ts";
import { isFulaError } from "../kernel/errors.ts";
import type { Attribution } from "./attribution.ts";
import type { BlockKeeper } from "./block-keeper.ts";
import type { Client, Decisions } from "./decisions.ts";
import type { OpenCounts, StoreSlots } from "./limits.ts";
import { assertDeclared, type BodyBytes, readBlock, type VerifiedBlock } from "./read-block.ts";
import { IngestRefusal } from "./refusal.ts";

/** One block as a client sends it. */
export interface IngestRequest {
  /** What `cid` of the query says; null where it is missing. */
  readonly cid: string | null;
  /** The token of `Authorization: Bearer …`; null where there is none. */
  readonly bearer: string | null;
  /** The address that it comes from. */
  readonly address: string;
  readonly contentLength: number | null;
  readonly contentMd5: string | null;
  /** Called once, when the body is wanted: a client that waits to be asked for it is asked then. */
  readonly openBody: () => BodyBytes;
}

/** What taking blocks needs. */
export interface TakeParts {
  readonly decisions: Decisions;
  readonly attribution: Attribution;
  readonly keeper: BlockKeeper;
  readonly openByAddress: OpenCounts;
  readonly openByClient: OpenCounts;
  readonly slots: StoreSlots;
  readonly maxBlockBytes: number;
  readonly leaseMs: number;
  readonly clock: Clock;
}

/** A block that was taken. */
export interface TakenBlock {
  readonly cid: string;
  readonly sizeBytes: number;
}

function cidOf(text: string | null): CID {
  if (text === null || text === "") throw new IngestRefusal(400, "The query has no cid.");
  let cid: CID;
  try {
    cid = parseCid(text);
  } catch (error) {
    throw new IngestRefusal(400, "The query's cid is no CID.", { cause: error });
  }
  if (cid.version === 1 && cid.code === RAW_CODEC && cid.multihash.code === BLAKE3) return cid;
  throw new IngestRefusal(400, "The query's cid must be a CIDv1 of codec raw and hash blake3.");
}

function enter(counts: OpenCounts, key: string, who: string): Disposable {
  const entered = counts.enter(key);
  if (entered !== null) return entered;
  throw new IngestRefusal(429, `Too many blocks of ${who} are being sent at the same time.`, { retryAfterSeconds: 1 });
}

function assertRoom({ leftBytes }: Client, sizeBytes: number | null): void {
  if (leftBytes === null || (leftBytes > 0 && (sizeBytes ?? 0) <= leftBytes)) return;
  throw new IngestRefusal(402, "The account has no room for this: its storage is used up.");
}

async function store(block: VerifiedBlock, { keeper, slots }: TakeParts): Promise<void> {
  try {
    await slots.run(async () => {
      await keeper.store(block);
    });
  } catch (error) {
    if (isFulaError(error, "FULA_BLOCK_MISMATCH")) {
      throw new IngestRefusal(500, "The block store named the block otherwise than it was sent.", { cause: error });
    }
    if (!isFulaError(error)) throw error;
    throw new IngestRefusal(502, "The block store of this node does not answer.", { cause: error });
  }
}

async function attribute(
  bearer: string,
  client: Client,
  { cid, bytes }: VerifiedBlock,
  { attribution, keeper, clock, leaseMs }: TakeParts,
): Promise<void> {
  const text = cid.toString();
  const leasedUntilMs = await attribution.attribute(bearer, client, { cid: text, bytes: bytes.byteLength });
  keeper.extend(text, leasedUntilMs ?? clock.nowMs() + leaseMs);
}

/**
 * Takes a block in. What costs least is looked at first: the head, then who sends it, then the body; only whole blocks
 * that hash to their CID get a place where they wait for the store.
 * @throws IngestRefusal
 */
export async function takeBlock(request: IngestRequest, parts: TakeParts): Promise<TakenBlock> {
  const cid = cidOf(request.cid);
  const { bearer, address, contentLength, contentMd5 } = request;
  if (bearer === null) throw new IngestRefusal(401, "There is no credential; send Authorization: Bearer <token>.");
  assertDeclared(contentLength, parts.maxBlockBytes);
  using _address = enter(parts.openByAddress, address, "this address");
  const client = await parts.decisions.decide(bearer, address);
  assertRoom(client, contentLength);
  using _client = enter(parts.openByClient, client.countedAs, "this account");
  const wish = { cid, declaredBytes: contentLength, contentMd5, maxBytes: parts.maxBlockBytes };
  const hash = await createBLAKE3();
  const block = await readBlock(request.openBody(), wish, { hash, clock: parts.clock });
  await store(block, parts);
  await attribute(bearer, client, block, parts);
  return { cid: cid.toString(), sizeBytes: block.bytes.byteLength };
}
