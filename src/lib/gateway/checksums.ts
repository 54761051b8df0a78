import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import { createCRC32, createCRC64 } from "hash-wasm";
import type { RequestHeaders } from "../identity/raw-request.ts";
import { S3Error } from "./s3-error.ts";

/** Checksums of S3 that are verified here; the byte lengths are of the digest. */
const DIGEST_BYTES = { crc32: 4, crc32c: 4, crc64nvme: 8, sha1: 20, sha256: 32 } as const;

/** A checksum algorithm of S3 (https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html). */
export type ChecksumName = keyof typeof DIGEST_BYTES;

/** Takes bytes as they pass. */
export interface RunningChecksum {
  update(bytes: Uint8Array): void;
  /** Base64, as S3's headers have it; ends the use. */
  digest(): string;
}

const HEADER_PREFIX = "x-amz-checksum-";
// Reversed polynomials: CRC-32C (Castagnoli) and CRC-64/NVME, both as in the CRC RevEng catalogue.
const CRC32C_POLYNOMIAL = 0x82f63b78;
const CRC64_NVME_POLYNOMIAL = "9a6c9329ac4bc9b5";

function zlibCrc32(): RunningChecksum {
  let value = 0;
  return {
    update: (bytes) => {
      value = crc32(bytes, value);
    },
    digest: () => {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32BE(value);
      return bytes.toString("base64");
    },
  };
}

function nodeHash(algorithm: "sha1" | "sha256"): RunningChecksum {
  const hash = createHash(algorithm);
  return {
    update: (bytes) => {
      hash.update(bytes);
    },
    digest: () => hash.digest("base64"),
  };
}

/** Starts a checksum. */
export async function startChecksum(name: ChecksumName): Promise<RunningChecksum> {
  if (name === "crc32") return zlibCrc32();
  if (name === "sha1" || name === "sha256") return nodeHash(name);
  const hasher = await (name === "crc32c" ? createCRC32(CRC32C_POLYNOMIAL) : createCRC64(CRC64_NVME_POLYNOMIAL));
  hasher.init();
  return {
    update: (bytes) => {
      hasher.update(bytes);
    },
    digest: () => Buffer.from(hasher.digest("hex"), "hex").toString("base64"),
  };
}

function isChecksumName(name: string): name is ChecksumName {
  return Object.hasOwn(DIGEST_BYTES, name);
}

/** The algorithm that a header or trailer such as `x-amz-checksum-crc32` names. @throws S3Error NotImplemented */
export function checksumNameOf(header: string): ChecksumName {
  const name = header.slice(HEADER_PREFIX.length);
  if (header.startsWith(HEADER_PREFIX) && isChecksumName(name)) return name;
  throw new S3Error("NotImplemented", `The checksum ${header} cannot be verified here, so it is not taken.`, {
    fields: { Header: header },
  });
}

/** @throws S3Error InvalidRequest for a value that cannot be a digest of this algorithm */
export function assertChecksumValue(name: ChecksumName, value: string): void {
  const bytes = Buffer.from(value, "base64");
  if (bytes.byteLength === DIGEST_BYTES[name] && bytes.toString("base64") === value) return;
  throw new S3Error("InvalidRequest", `Value for ${HEADER_PREFIX}${name} header is invalid.`);
}

/** True for a header that carries a digest of the body, not a wish about checksums. */
export function isChecksumHeader(header: string): boolean {
  return header.startsWith(HEADER_PREFIX) && !CHECKSUM_WISHES.has(header);
}

/** Headers about checksums that carry none. */
const CHECKSUM_WISHES: ReadonlySet<string> = new Set([
  "x-amz-checksum-mode",
  "x-amz-checksum-algorithm",
  "x-amz-checksum-type",
]);

/**
 * The checksum that the headers of a PUT promise for its body; null where they promise none.
 * @throws S3Error InvalidRequest, NotImplemented
 */
export function checksumOfHeaders(
  headers: RequestHeaders,
): { readonly name: ChecksumName; readonly value: string } | null {
  const found = headers.names().filter(isChecksumHeader);
  const [header] = found;
  if (header === undefined) return null;
  if (found.length > 1) throw new S3Error("InvalidRequest", "Expecting a single x-amz-checksum- header.");
  const name = checksumNameOf(header);
  const value = headers.single(header) ?? "";
  assertChecksumValue(name, value);
  return { name, value };
}
