import { CID } from "multiformats/cid";
import type { MutationOutcome } from "../buckets/buckets.ts";
import type { ObjectEntry } from "../buckets/tree/object-entry.ts";
import { type RawRequest, RequestHeaders, uriEncode } from "../identity/raw-request.ts";
import { noSuchBucket, noSuchKey } from "./bucket-access.ts";
import { isChecksumHeader } from "./checksums.ts";
import { preconditionFailed, WRITE_CONDITIONS, writeConditionOf } from "./conditions.ts";
import type { Exchange } from "./exchange.ts";
import { keepFetched } from "./fetch-content.ts";
import { joinContents } from "./join-content.ts";
import { PART_NUMBER_MAX, requireUpload } from "./multipart-access.ts";
import { joinedChecksum, joinedEtag } from "./multipart-checksums.ts";
import { type NamedPart, partsOfDocument, PARTS_LIMITS, selectParts } from "./multipart-parts.ts";
import type { CompletionPlan, PartRecord, UploadRecord } from "./multipart-record.ts";
import { dropPlan, finishUpload, listParts, planCompletion } from "./multipart-table.ts";
import { type Operation, type OperationParts, WRITES } from "./operation.ts";
import { malformedXml, readXmlBody } from "./read-xml.ts";
import { S3Error } from "./s3-error.ts";
import { element, s3Document } from "./xml.ts";

/** S3's limit of an object that was joined; a body of one request is bounded by `gateway.maxObjectBytes`. */
const JOINED_BYTES_MAX = 5 * 1024 ** 4;

/** The request without its checksum headers: in this operation they are about the object, not about the document. */
function withoutChecksums(raw: RawRequest): RawRequest {
  const { headers } = raw;
  const kept = headers.names().filter((name) => !isChecksumHeader(name));
  return {
    ...raw,
    headers: new RequestHeaders(kept.flatMap((name) => headers.all(name).flatMap((value) => [name, value]))),
  };
}

async function readParts(exchange: Exchange): Promise<readonly NamedPart[]> {
  const root = await readXmlBody({ ...exchange, raw: withoutChecksums(exchange.raw) }, PARTS_LIMITS);
  if (root === null) throw malformedXml("no CompleteMultipartUpload");
  return partsOfDocument(root);
}

function checkSize(headers: RequestHeaders, sizeBytes: number): void {
  const announced = headers.single("x-amz-mp-object-size");
  if (announced !== null && announced !== String(sizeBytes)) {
    throw new S3Error(
      "InvalidRequest",
      `The provided 'x-amz-mp-object-size' header value ${announced.slice(0, 32)} does not match what was computed: ${sizeBytes}.`,
    );
  }
  if (sizeBytes <= JOINED_BYTES_MAX) return;
  throw new S3Error("EntityTooLarge", "Your proposed upload exceeds the maximum allowed object size.", {
    fields: { ProposedSize: String(sizeBytes), MaxSizeAllowed: String(JOINED_BYTES_MAX) },
  });
}

/** The checksums of the joined object, checked against what the client says they are. */
async function joinedChecksums(
  headers: RequestHeaders,
  { checksum }: UploadRecord,
  selected: readonly PartRecord[],
): Promise<Readonly<Record<string, string>>> {
  const type = headers.single("x-amz-checksum-type")?.toUpperCase() ?? null;
  if (type !== null && type !== checksum?.type) {
    throw new S3Error("InvalidRequest", `The upload has the checksum type ${checksum?.type ?? "null"}, not ${type}.`);
  }
  const said = headers.names().filter(isChecksumHeader);
  if (checksum === null) {
    if (said.length === 0) return {};
    throw new S3Error("InvalidRequest", "The upload was begun without a checksum algorithm, so it has no checksum.");
  }
  const value = await joinedChecksum(checksum, selected);
  const name = `x-amz-checksum-${checksum.name}`;
  const other = said.find((header) => header !== name);
  if (other !== undefined)
    throw new S3Error("InvalidRequest", `The upload has a checksum of ${checksum.name}: ${other}.`);
  const expected = headers.single(name);
  // Of a composite checksum clients may leave the number of parts away.
  if (expected !== null && expected !== value && `${expected}-${selected.length}` !== value) {
    throw new S3Error(
      "BadDigest",
      `The ${checksum.name.toUpperCase()} you specified did not match the calculated checksum.`,
    );
  }
  return { [checksum.name]: value };
}

/** Joins what the client names, and writes down what becomes of it. Null where the upload is done or gone by now. */
async function plan(
  exchange: Exchange,
  upload: UploadRecord,
  named: readonly NamedPart[],
  parts: OperationParts,
): Promise<CompletionPlan | null> {
  const held = await listParts(parts.multipart.pool, upload.uploadId, { after: 0, limit: PART_NUMBER_MAX });
  const selected = selectParts(named, held, parts.multipart.partBytesMin);
  const sizeBytes = selected.reduce((sum, part) => sum + part.sizeBytes, 0);
  checkSize(exchange.raw.headers, sizeBytes);
  const checksums = await joinedChecksums(exchange.raw.headers, upload, selected);
  const blocks = parts.uploads.begin();
  const joined = await joinContents(
    selected.map(({ content, ...sizes }) => ({ ...sizes, root: CID.parse(content) })),
    blocks,
  );
  blocks.keep();
  return await planCompletion(parts.multipart.pool, upload.uploadId, {
    content: joined.root.toString(),
    sizeBytes,
    etag: joinedEtag(selected, parts.etag),
    modifiedMs: parts.clock.nowMs(),
    checksums,
    partSizes: selected.map((part) => part.sizeBytes),
  });
}

function entryOf(upload: UploadRecord, planned: CompletionPlan): ObjectEntry {
  const { content, ...rest } = planned;
  const { headers, metadata, tags } = upload;
  return { ...rest, content: CID.parse(content), headers, metadata, tags };
}

/** True where the object that stands in the way of a condition is the one that this very upload has become. */
function isOwnObject(outcome: MutationOutcome, planned: CompletionPlan): boolean {
  if (outcome.kind !== "condition-failed" || outcome.present === null) return false;
  const { content, etag, modifiedMs } = outcome.present;
  return content.toString() === planned.content && etag === planned.etag && modifiedMs === planned.modifiedMs;
}

/** Makes the object. Made again, after an answer was lost or by another master, it is the same object. */
async function makeObject(
  exchange: Exchange,
  upload: UploadRecord,
  planned: CompletionPlan,
  parts: OperationParts,
): Promise<void> {
  const { ownerId, bucket, key, uploadId } = upload;
  const condition = writeConditionOf(exchange.raw.headers);
  const entry = entryOf(upload, planned);
  const mutation = { key, condition, change: { kind: "put", entry } } as const;
  const outcomes = await keepFetched(
    entry,
    parts.blocks,
    async () => await parts.buckets.write({ ownerId, bucket }, [mutation]),
  );
  const outcome = outcomes?.[0];
  if (outcome !== undefined && (outcome.kind === "done" || isOwnObject(outcome, planned))) return;
  await dropPlan(parts.multipart.pool, uploadId, planned);
  if (outcome === undefined) throw noSuchBucket(bucket);
  if (outcome.kind === "no-such-key") throw noSuchKey(key);
  throw preconditionFailed(condition?.ifMatch === null ? "If-None-Match" : "If-Match");
}

function answer(exchange: Exchange, { bucket, key, checksum }: UploadRecord, planned: CompletionPlan): void {
  const sums = Object.entries(planned.checksums).map(([name, value]) =>
    element(`Checksum${name.toUpperCase()}`, value),
  );
  const document = s3Document(
    "CompleteMultipartUploadResult",
    element("Location", `/${bucket}/${uriEncode(Buffer.from(key, "utf8")).replaceAll("%2F", "/")}`),
    element("Bucket", bucket),
    element("Key", key),
    element("ETag", `"${planned.etag}"`),
    ...sums,
    checksum === null ? null : element("ChecksumType", checksum.type),
  );
  exchange.wire.text(200, "application/xml", document);
}

/**
 * POST /{bucket}/{key}?uploadId. What is to become of the upload is written down first, then the object is made, then
 * the parts are given up: whatever ends in between, the same request comes to the same object.
 */
async function completeMultipartUpload(exchange: Exchange, parts: OperationParts): Promise<void> {
  const upload = await requireUpload(exchange, parts);
  const named = await readParts(exchange);
  if (upload.isCompleted && upload.plan !== null) {
    answer(exchange, upload, upload.plan);
    return;
  }
  const planned = await plan(exchange, upload, named, parts);
  if (planned === null) {
    // Another request has completed or aborted it since.
    const now = await requireUpload(exchange, parts);
    if (now.plan === null) throw new S3Error("OperationAborted", "The upload was changed meanwhile; please try again.");
    answer(exchange, now, now.plan);
    return;
  }
  await makeObject(exchange, upload, planned, parts);
  await finishUpload(parts.multipart.pool, upload.uploadId, planned);
  answer(exchange, upload, planned);
}

/** Completing an upload. */
export const MULTIPART_COMPLETE_OPERATIONS: readonly Operation[] = [
  {
    ...WRITES,
    name: "CompleteMultipartUpload",
    target: "object",
    method: "POST",
    chosenBy: { query: ["uploadId"] },
    takesBody: true,
    query: ["uploadId"],
    headers: [
      "x-amz-mp-object-size",
      "x-amz-checksum-type",
      "x-amz-checksum-crc32",
      "x-amz-checksum-crc32c",
      "x-amz-checksum-crc64nvme",
      "x-amz-checksum-sha1",
      "x-amz-checksum-sha256",
      "x-amz-decoded-content-length",
    ],
    conditions: WRITE_CONDITIONS,
    run: completeMultipartUpload,
  },
];
