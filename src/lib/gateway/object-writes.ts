import { createHash } from "node:crypto";
import type { ObjectEntry } from "../buckets/tree/object-entry.ts";
import { changeObject, refuseEarly, requireCurrentBucket } from "./bucket-access.ts";
import { WRITE_CONDITIONS, writeConditionOf } from "./conditions.ts";
import type { Exchange } from "./exchange.ts";
import { type ObjectBody, openObjectBody } from "./object-body.ts";
import { DESCRIPTION_HEADERS, describeObject } from "./object-description.ts";
import { checksumHeaders, quotedEtagOf } from "./object-headers.ts";
import { BODY_HEADERS, type Operation, type OperationParts, WRITES } from "./operation.ts";
import { cutAt } from "./quota.ts";
import { isRemoteCidPut, putRemoteCid } from "./remote-cid.ts";
import { storeContent, type StoredContent } from "./unixfs.ts";
import { checkVersionId } from "./version-id.ts";

/** What a body became. */
export interface ReceivedContent extends StoredContent {
  /** Hex; null where nobody asked for it. */
  readonly md5: string | null;
}

/**
 * Stores a body; one that fails leaves no block behind.
 * @param mostBytes what the account has left; null = no limit
 */
export async function receiveContent(
  body: ObjectBody,
  parts: Pick<OperationParts, "uploads" | "etag">,
  mostBytes: number | null,
): Promise<ReceivedContent> {
  const md5 = parts.etag === "md5" ? createHash("md5") : null;
  const hashed = async function* (bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const piece of bytes) {
      md5?.update(piece);
      yield piece;
    }
  };
  const upload = parts.uploads.begin();
  try {
    const bytes = mostBytes === null ? body.bytes : cutAt(body.bytes, mostBytes);
    const stored = await storeContent(md5 === null ? bytes : hashed(bytes), upload);
    // From here on a root may come to refer to them, even where the answer to its move is lost.
    upload.keep();
    return { ...stored, md5: md5?.digest("hex") ?? null };
  } catch (error) {
    await upload.discard();
    throw error;
  }
}

/** Body → blocks → pins → root, each only after the one before it. */
async function putObject(exchange: Exchange, parts: OperationParts): Promise<void> {
  const { raw, auth, address, wire } = exchange;
  if (isRemoteCidPut(raw.headers)) return await putRemoteCid(exchange, parts);
  const key = address.key ?? "";
  const condition = writeConditionOf(raw.headers);
  const description = describeObject(raw.headers);
  await refuseEarly(await requireCurrentBucket(exchange, parts.buckets), key, condition);
  const body = await openObjectBody(raw.headers, auth, wire.body(), parts.maxObjectBytes);
  const mostBytes = await parts.quota.admit(auth.principal.userId, body.sizeBytes);
  const stored = await receiveContent(body, parts, mostBytes);
  const checksum = body.verifiedChecksum();
  const entry: ObjectEntry = {
    content: stored.root,
    sizeBytes: stored.sizeBytes,
    modifiedMs: parts.clock.nowMs(),
    etag: stored.md5,
    ...description,
    checksums: checksum === null ? {} : { [checksum.name]: checksum.value },
    partSizes: [],
  };
  await changeObject(exchange, parts.buckets, { key, change: { kind: "put", entry }, condition });
  wire.empty(200, { etag: quotedEtagOf(entry), ...checksumHeaders(entry.checksums) });
}

/** A key that is not there counts as deleted, unless a condition says that it must be there. */
async function deleteObject(exchange: Exchange, { buckets }: OperationParts): Promise<void> {
  checkVersionId(exchange.query.get("versionId"));
  const key = exchange.address.key ?? "";
  const condition = writeConditionOf(exchange.raw.headers);
  await changeObject(exchange, buckets, { key, change: { kind: "delete" }, condition });
  exchange.wire.empty(204);
}

/** Operations that make an object or take it away. */
export const OBJECT_WRITES: readonly Operation[] = [
  {
    ...WRITES,
    name: "PutObject",
    target: "object",
    method: "PUT",
    takesBody: true,
    headers: [...BODY_HEADERS, ...DESCRIPTION_HEADERS],
    conditions: WRITE_CONDITIONS,
    run: putObject,
  },
  {
    ...WRITES,
    name: "DeleteObject",
    target: "object",
    method: "DELETE",
    query: ["versionId"],
    conditions: WRITE_CONDITIONS,
    run: deleteObject,
  },
];
