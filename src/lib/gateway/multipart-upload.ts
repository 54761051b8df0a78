import { CID } from "multiformats/cid";
import type { RequestHeaders } from "../identity/raw-request.ts";
import { contentGone, requireCurrentBucket } from "./bucket-access.ts";
import {
  checksumNameOf,
  type ChecksumName,
  isChecksumHeader,
  type RunningChecksum,
  startChecksum,
} from "./checksums.ts";
import type { Exchange } from "./exchange.ts";
import { dagBytesOf } from "./join-content.ts";
import { noSuchUpload, partNumberOf, requireOpenUpload, requireUpload } from "./multipart-access.ts";
import { uploadChecksumOf } from "./multipart-checksums.ts";
import type { PartRecord, UploadRecord } from "./multipart-record.ts";
import { abortUpload, createUpload, openPartBytes, putPart } from "./multipart-table.ts";
import { type ObjectBody, openObjectBody } from "./object-body.ts";
import { DESCRIPTION_HEADERS, describeObject } from "./object-description.ts";
import { receiveContent } from "./object-writes.ts";
import { BODY_HEADERS, type Operation, type OperationParts, WRITES } from "./operation.ts";
import { accountProblem } from "./quota.ts";
import { S3Error } from "./s3-error.ts";
import { element, s3Document } from "./xml.ts";

const XML = "application/xml";
const UPLOAD_ID_BYTES = 20;

/** POST /{bucket}/{key}?uploads. */
async function createMultipartUpload(exchange: Exchange, parts: OperationParts): Promise<void> {
  const { headers } = exchange.raw;
  const { bucket, key } = exchange.address;
  const checksum = uploadChecksumOf(headers);
  const described = describeObject(headers);
  const { state } = await requireCurrentBucket(exchange, parts.buckets);
  const { openMax } = parts.multipart;
  const uploadId = Buffer.from(parts.multipart.random.bytes(UPLOAD_ID_BYTES)).toString("hex");
  const target = { ownerId: state.ownerId, bucket: state.bucket, bucketCreatedMs: state.createdAtMs, key: key ?? "" };
  if (!(await createUpload(parts.multipart.pool, { uploadId, ...target, ...described, checksum }, openMax))) {
    throw new S3Error("SlowDown", `You have ${openMax} multipart uploads open; complete or abort some of them.`);
  }
  const document = s3Document(
    "InitiateMultipartUploadResult",
    element("Bucket", bucket),
    element("Key", key),
    element("UploadId", uploadId),
  );
  const told =
    checksum === null
      ? {}
      : { "x-amz-checksum-algorithm": checksum.name.toUpperCase(), "x-amz-checksum-type": checksum.type };
  exchange.wire.text(200, XML, document, told);
}

/** The algorithm that the headers of a part promise a checksum of; null where they promise none. */
function promisedChecksum(headers: RequestHeaders): ChecksumName | null {
  const trailers = headers.all("x-amz-trailer").map((name) => name.trim().toLowerCase());
  const name = [...headers.names(), ...trailers].find(isChecksumHeader);
  return name === undefined ? null : checksumNameOf(name);
}

/** @throws S3Error InvalidRequest where a part comes with the checksum of another algorithm than its upload's */
function checkAlgorithm(promised: ChecksumName | null, { checksum }: UploadRecord): void {
  if (checksum === null || promised === null || promised === checksum.name) return;
  throw new S3Error(
    "InvalidRequest",
    `Checksum Type mismatch occurred, expected checksum Type: ${checksum.name}, actual checksum Type: ${promised}.`,
  );
}

/** Sums a body up as it passes: a checksum that its upload needs, though nobody has promised it. */
function summed(body: ObjectBody, checksum: RunningChecksum): ObjectBody {
  const passing = async function* (): AsyncGenerator<Uint8Array> {
    for await (const piece of body.bytes) {
      checksum.update(piece);
      yield piece;
    }
  };
  return { ...body, bytes: passing() };
}

/**
 * Keeps a part's content and writes the part down. Until the row is there the content stands on the collector's queue:
 * whatever happens in between, nothing is pinned for ever.
 * @throws S3Error NoSuchUpload where the upload is gone by now
 */
export async function publishPart(
  upload: UploadRecord,
  part: PartRecord,
  parts: Pick<OperationParts, "multipart" | "buckets">,
): Promise<void> {
  const content = CID.parse(part.content);
  const deadlineMs = await parts.buckets
    .keepContent(upload, upload.key, content, part.sizeBytes)
    .catch((error: unknown) => {
      throw contentGone(error, content);
    });
  const outcome = await putPart(parts.multipart.pool, upload.uploadId, part, deadlineMs);
  if (outcome === "gone") throw noSuchUpload(upload.uploadId);
  if (outcome === "late") throw new S3Error("SlowDown", "The part was not written down in time; please try again.");
}

/** Takes the bytes of a part: from the client, or from an object that is copied. */
export async function receivePart(
  body: ObjectBody,
  missing: ChecksumName | null,
  parts: OperationParts,
  mostBytes: number | null,
): Promise<Omit<PartRecord, "partNumber">> {
  const sum = missing === null ? null : await startChecksum(missing);
  const stored = await receiveContent(sum === null ? body : summed(body, sum), parts, mostBytes);
  const dagBytes = await dagBytesOf(stored.root, stored.sizeBytes, parts.blocks);
  const verified = body.verifiedChecksum();
  const own = missing === null || sum === null ? {} : { [missing]: sum.digest() };
  const content = stored.root.toString();
  return {
    content,
    sizeBytes: stored.sizeBytes,
    dagBytes,
    etag: stored.md5 ?? content,
    checksums: verified === null ? own : { [verified.name]: verified.value },
  };
}

/**
 * Asks the account for a part: what its open uploads hold already is not in its usage yet.
 * @param sizeBytes of the part; null where only the end of its body tells
 * @returns how many bytes may be taken at most; null = as many as there are
 * @throws S3Error AccountProblem where the part does not fit beside them
 */
export async function admitPart(
  { ownerId }: UploadRecord,
  userId: string,
  sizeBytes: number | null,
  { quota, multipart }: OperationParts,
): Promise<number | null> {
  const mostBytes = await quota.admit(userId, sizeBytes);
  if (mostBytes === null) return null;
  const leftBytes = Math.max(0, mostBytes - (await openPartBytes(multipart.pool, ownerId)));
  if (sizeBytes !== null && sizeBytes > leftBytes) throw accountProblem();
  return leftBytes;
}

/** PUT /{bucket}/{key}?partNumber&uploadId. */
async function uploadPart(exchange: Exchange, parts: OperationParts): Promise<void> {
  const { raw, auth, wire } = exchange;
  const partNumber = partNumberOf(exchange);
  const upload = await requireOpenUpload(exchange, parts);
  const promised = promisedChecksum(raw.headers);
  checkAlgorithm(promised, upload);
  const body = await openObjectBody(raw.headers, auth, wire.body(), parts.maxObjectBytes);
  const mostBytes = await admitPart(upload, auth.principal.userId, body.sizeBytes, parts);
  const missing = promised === null ? (upload.checksum?.name ?? null) : null;
  const part = await receivePart(body, missing, parts, mostBytes);
  await publishPart(upload, { partNumber, ...part }, parts);
  const sums = Object.entries(part.checksums).map(([name, value]) => [`x-amz-checksum-${name}`, value] as const);
  wire.empty(200, { etag: `"${part.etag}"`, ...Object.fromEntries(sums) });
}

/** DELETE /{bucket}/{key}?uploadId. */
async function abortMultipartUpload(exchange: Exchange, parts: OperationParts): Promise<void> {
  const { uploadId } = await requireUpload(exchange, parts);
  const outcome = await abortUpload(parts.multipart.pool, uploadId);
  if (outcome === "absent") throw noSuchUpload(uploadId);
  if (outcome === "completing") {
    throw new S3Error("OperationAborted", "The upload is being completed at the moment; nothing was aborted.");
  }
  exchange.wire.empty(204);
}

/** Operations that begin, fill and give up an upload. */
export const MULTIPART_UPLOAD_OPERATIONS: readonly Operation[] = [
  {
    ...WRITES,
    name: "CreateMultipartUpload",
    target: "object",
    method: "POST",
    chosenBy: { query: ["uploads"] },
    query: ["uploads"],
    headers: [
      ...DESCRIPTION_HEADERS,
      "x-amz-checksum-algorithm",
      "x-amz-checksum-type",
      "x-amz-sdk-checksum-algorithm",
    ],
    run: createMultipartUpload,
  },
  {
    ...WRITES,
    name: "UploadPart",
    target: "object",
    method: "PUT",
    chosenBy: { query: ["partNumber", "uploadId"] },
    takesBody: true,
    query: ["partNumber", "uploadId"],
    headers: BODY_HEADERS,
    run: uploadPart,
  },
  {
    ...WRITES,
    name: "AbortMultipartUpload",
    target: "object",
    method: "DELETE",
    chosenBy: { query: ["uploadId"] },
    query: ["uploadId"],
    run: abortMultipartUpload,
  },
];
