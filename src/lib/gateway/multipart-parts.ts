import type { ListedPart } from "./multipart-record.ts";
import { childrenOf, childText, expectElement, malformedXml, requiredText, type XmlElement } from "./read-xml.ts";
import { S3Error } from "./s3-error.ts";

/** A part as the client names it. */
export interface NamedPart {
  readonly partNumber: number;
  /** Without quotes. */
  readonly etag: string;
  /** `crc32` → base64. */
  readonly checksums: Readonly<Record<string, string>>;
}

/** Ten thousand parts, each with number, ETag and a checksum. */
export const PARTS_LIMITS = { bytesMax: 8 * 1024 * 1024, elementsMax: 50_100 } as const;

const CHECKSUM_ELEMENTS: ReadonlyMap<string, string> = new Map([
  ["ChecksumCRC32", "crc32"],
  ["ChecksumCRC32C", "crc32c"],
  ["ChecksumCRC64NVME", "crc64nvme"],
  ["ChecksumSHA1", "sha1"],
  ["ChecksumSHA256", "sha256"],
]);

function namedPartOf(part: XmlElement): NamedPart {
  expectElement(part, "Part", ["PartNumber", "ETag", ...CHECKSUM_ELEMENTS.keys()]);
  const number = requiredText(part, "PartNumber").trim();
  if (!/^\d{1,9}$/.test(number)) throw malformedXml("a PartNumber that is no number");
  const checksums: Record<string, string> = {};
  for (const [elementName, name] of CHECKSUM_ELEMENTS) {
    const value = childText(part, elementName);
    if (value !== null) checksums[name] = value.trim();
  }
  const etag = requiredText(part, "ETag").trim();
  return { partNumber: Number(number), etag: etag.replace(/^"(.*)"$/, "$1"), checksums };
}

/** The parts of a `CompleteMultipartUpload` document, as they stand there. @throws S3Error MalformedXML */
export function partsOfDocument(root: XmlElement): readonly NamedPart[] {
  expectElement(root, "CompleteMultipartUpload", ["Part"]);
  const parts = childrenOf(root, "Part").map(namedPartOf);
  if (parts.length === 0) throw malformedXml("no Part");
  return parts;
}

function invalidPart({ partNumber, etag }: NamedPart): S3Error {
  return new S3Error(
    "InvalidPart",
    "One or more of the specified parts could not be found: it may not have been uploaded, or its ETag or checksum is another.",
    { fields: { PartNumber: String(partNumber), ETag: etag } },
  );
}

function isSame(named: NamedPart, held: ListedPart): boolean {
  if (named.etag !== held.etag) return false;
  return Object.entries(named.checksums).every(([name, value]) => held.checksums[name] === value);
}

/**
 * The parts that the object is to consist of: those that the client names, in ascending order, with the ETags that they
 * were given. Others that were uploaded are left out.
 * @param bytesMin of every part but the last
 * @throws S3Error InvalidPart, InvalidPartOrder, EntityTooSmall
 */
export function selectParts(
  named: readonly NamedPart[],
  held: readonly ListedPart[],
  bytesMin: number,
): readonly ListedPart[] {
  if (named.some(({ partNumber }, index) => partNumber <= (named[index - 1]?.partNumber ?? 0))) {
    throw new S3Error("InvalidPartOrder", "The list of parts was not in ascending order by part number.");
  }
  const byNumber = new Map(held.map((part) => [part.partNumber, part]));
  const selected = named.map((part) => {
    const found = byNumber.get(part.partNumber);
    if (found === undefined || !isSame(part, found)) throw invalidPart(part);
    return found;
  });
  const small = selected.slice(0, -1).find(({ sizeBytes }) => sizeBytes < bytesMin);
  if (small === undefined) return selected;
  throw new S3Error("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size.", {
    fields: {
      ProposedSize: String(small.sizeBytes),
      MinSizeAllowed: String(bytesMin),
      PartNumber: String(small.partNumber),
      ETag: small.etag,
    },
  });
}
