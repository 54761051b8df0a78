import type { CID } from "multiformats/cid";
import { BLAKE3, parseCid, RAW_CODEC } from "../blocks/cid.ts";
import type { ObjectEntry } from "../buckets/tree/object-entry.ts";
import type { RequestHeaders } from "../identity/raw-request.ts";
import { answerWithin } from "../kernel/deadline.ts";
import { changeObject, refuseEarly, requireCurrentBucket } from "./bucket-access.ts";
import { writeConditionOf } from "./conditions.ts";
import type { Exchange } from "./exchange.ts";
import { openObjectBody } from "./object-body.ts";
import { describeObject } from "./object-description.ts";
import { CONTROL_PREFIX, quotedEtagOf } from "./object-headers.ts";
import type { OperationParts } from "./operation.ts";
import { type Possession, provesBlock } from "./possession.ts";
import { S3Error } from "./s3-error.ts";

const CID_HEADER = `x-amz-meta-${CONTROL_PREFIX}cid`;
const SIZE_HEADER = `x-amz-meta-${CONTROL_PREFIX}size`;
const PROOF_HEADER = `x-amz-meta-${CONTROL_PREFIX}proof`;
const CHALLENGE_META_HEADER = `x-amz-meta-${CONTROL_PREFIX}challenge`;
/** Where the answer has the challenge that a proof is to be made with. */
const CHALLENGE_HEADER = "x-fula-remote-challenge";
/** A client that has the bytes at hand is not to wait longer for being spared to send them. */
const PRESENCE_MS = 5_000;

/** True for a PUT that maps a block instead of sending bytes. */
export function isRemoteCidPut(headers: RequestHeaders): boolean {
  return headers.has(CID_HEADER);
}

function invalid(why: string): S3Error {
  return new S3Error("InvalidRequest", why);
}

function mappedCid(headers: RequestHeaders): CID {
  let cid: CID;
  try {
    cid = parseCid(headers.single(CID_HEADER) ?? "");
  } catch (error) {
    throw new S3Error("InvalidRequest", `${CID_HEADER} is no CID.`, { cause: error });
  }
  if (cid.version === 1 && cid.code === RAW_CODEC && cid.multihash.code === BLAKE3) return cid;
  throw invalid(`${CID_HEADER} must be a CIDv1 of codec raw and hash blake3.`);
}

function declaredSize(headers: RequestHeaders, maxObjectBytes: number): number {
  const text = headers.single(SIZE_HEADER) ?? "";
  const size = /^\d{1,15}$/.test(text) ? Number(text) : 0;
  if (size >= 1 && size <= maxObjectBytes) return size;
  throw invalid(`${SIZE_HEADER} must be a number of bytes from 1 to ${maxObjectBytes}.`);
}

async function refuseBytes({ raw, auth, wire }: Exchange): Promise<void> {
  const body = await openObjectBody(raw.headers, auth, wire.body(), Number.MAX_SAFE_INTEGER);
  if ((body.sizeBytes ?? 0) > 0) throw invalid(`A PUT with ${CID_HEADER} has no body.`);
  for await (const piece of body.bytes) {
    if (piece.byteLength > 0) throw invalid(`A PUT with ${CID_HEADER} has no body.`);
  }
}

async function readInTime(cid: CID, { blocks, clock }: OperationParts): Promise<Uint8Array | null> {
  const enough = new AbortController();
  const reading = blocks.get(cid, enough.signal).catch(() => null);
  const answer = await answerWithin(clock, PRESENCE_MS, reading);
  enough.abort();
  return answer?.value ?? null;
}

/** A block that its sender may make an object of. */
interface MappableBlock {
  readonly bytes: Uint8Array;
  /** True where its bytes count against the sender's quota already. */
  readonly isCounted: boolean;
}

/**
 * The block, where the sender has given it to a storage node, or has proved that he has it. One that is not there, or not
 * in time, and one that was not proved get the same answer: nobody finds out by it what others have stored, and clients
 * send the bytes then.
 */
async function mappableBlock(
  { raw: { headers }, auth }: Exchange,
  cid: CID,
  possession: Possession,
  parts: OperationParts,
): Promise<MappableBlock> {
  const { userId } = auth.principal;
  const lease = await parts.leases.find(userId, cid);
  const challenge = headers.single(CHALLENGE_META_HEADER) ?? "";
  if (lease !== null || possession.holds(challenge, userId, cid)) {
    const bytes = await readInTime(cid, parts);
    const isProved = (block: Uint8Array): boolean => provesBlock(headers.single(PROOF_HEADER) ?? "", challenge, block);
    if (bytes !== null && (lease !== null || isProved(bytes))) return { bytes, isCounted: lease?.isMapped === false };
  }
  throw new S3Error("OperationAborted", "The block is not there, or not proved to be yours; send its bytes.", {
    headers: { [CHALLENGE_HEADER]: possession.challenge(userId, cid) },
  });
}

/** Makes an object of a block that is there already, without sending it. @throws S3Error InvalidRequest, OperationAborted */
export async function putRemoteCid(exchange: Exchange, parts: OperationParts): Promise<void> {
  const { raw, auth, address, wire } = exchange;
  const { possession, leases } = parts;
  const { userId } = auth.principal;
  if (possession === null) throw invalid("Mapping of blocks is off (gateway.remoteCidPut).");
  await refuseBytes(exchange);
  const cid = mappedCid(raw.headers);
  const sizeBytes = declaredSize(raw.headers, parts.maxObjectBytes);
  const key = address.key ?? "";
  const condition = writeConditionOf(raw.headers);
  const description = describeObject(raw.headers);
  await refuseEarly(await requireCurrentBucket(exchange, parts.buckets), key, condition);
  const { bytes, isCounted } = await mappableBlock(exchange, cid, possession, parts);
  if (bytes.byteLength !== sizeBytes) {
    throw invalid(`${SIZE_HEADER} says ${sizeBytes} bytes; the block has ${bytes.byteLength}.`);
  }
  await parts.quota.admit(userId, isCounted ? 0 : sizeBytes);
  const modifiedMs = parts.clock.nowMs();
  const entry: ObjectEntry = {
    content: cid,
    sizeBytes,
    modifiedMs,
    etag: null,
    ...description,
    checksums: {},
    partSizes: [],
  };
  await changeObject(exchange, parts.buckets, { key, change: { kind: "put", entry }, condition });
  await leases.release(userId, cid);
  wire.empty(200, { etag: quotedEtagOf(entry) });
}
