import { CID } from "multiformats/cid";
import type { ObjectEntry } from "../buckets/tree/object-entry.ts";
import { COPY_SOURCE_HEADER, COPY_SOURCE_HEADERS, readCopySource } from "./copy-object.ts";
import type { Exchange } from "./exchange.ts";
import { keepFetched } from "./fetch-content.ts";
import { dagBytesOf } from "./join-content.ts";
import { partNumberOf, requireOpenUpload } from "./multipart-access.ts";
import type { PartRecord, UploadRecord } from "./multipart-record.ts";
import { admitPart, publishPart, receivePart } from "./multipart-upload.ts";
import type { ObjectBody } from "./object-body.ts";
import { type Operation, type OperationParts, WRITES } from "./operation.ts";
import { S3Error } from "./s3-error.ts";
import { type ByteRange, readContent } from "./unixfs.ts";
import { element, s3Document } from "./xml.ts";

const RANGE_HEADER = "x-amz-copy-source-range";
const MD5_HEX = /^[0-9a-f]{32}$/;

/** Reads `bytes=first-last`, both of which must be in the source; null where there is none. @throws S3Error InvalidArgument, InvalidRange */
export function copyRangeOf(header: string | null, sizeBytes: number): ByteRange | null {
  if (header === null) return null;
  const match = /^bytes=(\d{1,15})-(\d{1,15})$/.exec(header);
  const [start, end] = [Number(match?.[1]), Number(match?.[2])];
  if (match === null || end < start) {
    throw new S3Error(
      "InvalidArgument",
      "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy.",
      { fields: { ArgumentName: RANGE_HEADER, ArgumentValue: header } },
    );
  }
  if (end < sizeBytes) return { start, end };
  throw new S3Error("InvalidRange", "The range is not satisfiable for a source of this size.", {
    fields: { RangeRequested: header, ActualObjectSize: String(sizeBytes) },
  });
}

/** What a part becomes that is the whole of an object: the same content, of which no byte is moved. */
async function wholePart(
  { content, sizeBytes, etag, checksums }: ObjectEntry,
  { checksum }: UploadRecord,
  parts: OperationParts,
): Promise<Omit<PartRecord, "partNumber"> | null> {
  // What nobody has summed up yet can only be summed up by reading it.
  const sum = checksum === null ? null : (checksums[checksum.name] ?? "");
  if (sum !== null && (sum === "" || sum.includes("-"))) return null;
  const isMd5 = etag !== null && MD5_HEX.test(etag);
  if (parts.etag === "md5" && !isMd5) return null;
  return {
    content: content.toString(),
    sizeBytes,
    dagBytes: await dagBytesOf(content, sizeBytes, parts.blocks),
    etag: parts.etag === "md5" && etag !== null ? etag : content.toString(),
    checksums: checksum === null || sum === null ? {} : { [checksum.name]: sum },
  };
}

/** Bytes of an object as if a client sent them. */
function bodyOf({ content, sizeBytes }: ObjectEntry, range: ByteRange | null, parts: OperationParts): ObjectBody {
  const { start, end } = range ?? { start: 0, end: sizeBytes - 1 };
  const bytes = async function* (): AsyncGenerator<Uint8Array> {
    if (end >= start) yield* readContent(content, { start, end }, parts.blocks);
  };
  return { bytes: bytes(), sizeBytes: end - start + 1, verifiedChecksum: () => null };
}

/** PUT /{bucket}/{key}?partNumber&uploadId with x-amz-copy-source. */
async function uploadPartCopy(exchange: Exchange, parts: OperationParts): Promise<void> {
  const { raw, auth, wire } = exchange;
  const partNumber = partNumberOf(exchange);
  const upload = await requireOpenUpload(exchange, parts);
  const { entry } = await readCopySource(exchange, parts.buckets);
  const range = copyRangeOf(raw.headers.single(RANGE_HEADER), entry.sizeBytes);
  const isWhole = range === null || (range.start === 0 && range.end === entry.sizeBytes - 1);
  const body = bodyOf(entry, range, parts);
  await admitPart(upload, auth.principal.userId, body.sizeBytes, parts);
  const part =
    (isWhole ? await wholePart(entry, upload, parts) : null) ??
    (await receivePart(body, upload.checksum?.name ?? null, parts, null));
  // The source's blocks may lie on another master's node as yet.
  await keepFetched({ content: CID.parse(part.content), sizeBytes: part.sizeBytes }, parts.blocks, async () => {
    await publishPart(upload, { partNumber, ...part }, parts);
  });
  const document = s3Document(
    "CopyPartResult",
    element("LastModified", new Date(parts.clock.nowMs()).toISOString()),
    element("ETag", `"${part.etag}"`),
    ...Object.entries(part.checksums).map(([name, value]) => element(`Checksum${name.toUpperCase()}`, value)),
  );
  wire.text(200, "application/xml", document);
}

/** Copying an object, or a part of one, into an upload. */
export const MULTIPART_COPY_OPERATIONS: readonly Operation[] = [
  {
    ...WRITES,
    name: "UploadPartCopy",
    target: "object",
    method: "PUT",
    chosenBy: { query: ["partNumber", "uploadId"], header: COPY_SOURCE_HEADER },
    query: ["partNumber", "uploadId"],
    headers: [...COPY_SOURCE_HEADERS, RANGE_HEADER],
    run: uploadPartCopy,
  },
];
