import { createHash } from "node:crypto";
import { blake3 } from "@noble/hashes/blake3.js";
import type { RequestHeaders } from "../identity/raw-request.ts";
import { type ChecksumName, startChecksum } from "./checksums.ts";
import { combineCrcs, CRCS } from "./crc-combine.ts";
import { S3Error } from "./s3-error.ts";

/** How the checksum of a joined object comes from its parts. */
export type ChecksumType = "COMPOSITE" | "FULL_OBJECT";

/** The checksum that an upload was begun with. */
export interface UploadChecksum {
  readonly name: ChecksumName;
  readonly type: ChecksumType;
}

const NAMES: ReadonlyMap<string, ChecksumName> = new Map([
  ["CRC32", "crc32"],
  ["CRC32C", "crc32c"],
  ["CRC64NVME", "crc64nvme"],
  ["SHA1", "sha1"],
  ["SHA256", "sha256"],
]);
const COMPOSITE_ONLY: ReadonlySet<ChecksumName> = new Set(["sha1", "sha256"]);
const FULL_OBJECT_ONLY: ReadonlySet<ChecksumName> = new Set(["crc64nvme"]);

/** Reads `x-amz-checksum-algorithm` and `x-amz-checksum-type`; null where neither is there. @throws S3Error InvalidRequest */
export function uploadChecksumOf(headers: RequestHeaders): UploadChecksum | null {
  const algorithm = headers.single("x-amz-checksum-algorithm");
  const type = headers.single("x-amz-checksum-type")?.toUpperCase() ?? null;
  if (algorithm === null) {
    if (type === null) return null;
    throw new S3Error("InvalidRequest", "x-amz-checksum-type needs x-amz-checksum-algorithm.");
  }
  const name = NAMES.get(algorithm.toUpperCase());
  if (name === undefined) {
    throw new S3Error("InvalidRequest", "Checksum algorithm provided is unsupported.", {
      fields: { Header: "x-amz-checksum-algorithm" },
    });
  }
  const usual = FULL_OBJECT_ONLY.has(name) ? "FULL_OBJECT" : "COMPOSITE";
  if (type !== null && type !== "COMPOSITE" && type !== "FULL_OBJECT") {
    throw new S3Error("InvalidRequest", "Value for x-amz-checksum-type header is invalid.");
  }
  const wanted = type ?? usual;
  if (wanted !== usual && (COMPOSITE_ONLY.has(name) || FULL_OBJECT_ONLY.has(name))) {
    throw new S3Error("InvalidRequest", `The ${wanted} checksum type cannot be used with ${algorithm}.`);
  }
  return { name, type: wanted };
}

/** A part as the checksum and ETag of the whole see it. */
export interface SummedPart {
  readonly sizeBytes: number;
  /** Without quotes. */
  readonly etag: string;
  /** CID of its content. */
  readonly content: string;
  readonly checksums: Readonly<Record<string, string>>;
}

function bigintOf(base64: string): bigint {
  return BigInt(`0x${Buffer.from(base64, "base64").toString("hex")}`);
}

function fullObject(
  name: keyof typeof CRCS,
  values: readonly { readonly value: bigint; readonly sizeBytes: number }[],
): string {
  const crc = CRCS[name];
  const hex = combineCrcs(values, crc)
    .toString(16)
    .padStart(crc.bits / 4, "0");
  return Buffer.from(hex, "hex").toString("base64");
}

/**
 * The checksum of the joined object, as S3 writes it: of the whole (`base64`), or of the parts' checksums (`base64-N`).
 * @throws S3Error InvalidPart where a part has none
 */
export async function joinedChecksum({ name, type }: UploadChecksum, parts: readonly SummedPart[]): Promise<string> {
  const values = parts.map(({ checksums, sizeBytes }) => {
    const text = checksums[name];
    if (text === undefined) throw new S3Error("InvalidPart", `A part has no ${name.toUpperCase()}; upload it again.`);
    return { text, sizeBytes };
  });
  if (type === "FULL_OBJECT" && name in CRCS) {
    const crc = name === "crc32" || name === "crc32c" ? name : "crc64nvme";
    return fullObject(
      crc,
      values.map(({ text, sizeBytes }) => ({ value: bigintOf(text), sizeBytes })),
    );
  }
  const checksum = await startChecksum(name);
  for (const { text } of values) checksum.update(Buffer.from(text, "base64"));
  return `${checksum.digest()}-${values.length}`;
}

const MD5_HEX = /^[0-9a-f]{32}$/;

/**
 * The ETag of a joined object: the first 16 bytes of the BLAKE3 of the parts' CIDs as the fleet has it, or where the
 * parts' ETags are MD5s, S3's own: the MD5 of those. Either in hex, with the number of parts behind it.
 */
export function joinedEtag(parts: readonly SummedPart[], form: "cid" | "md5"): string {
  const digest =
    form === "md5" && parts.every(({ etag }) => MD5_HEX.test(etag))
      ? createHash("md5")
          .update(Buffer.from(parts.map(({ etag }) => etag).join(""), "hex"))
          .digest()
      : blake3(Buffer.from(parts.map(({ content }) => content).join(""), "utf8")).subarray(0, 16);
  return `${Buffer.from(digest).toString("hex")}-${parts.length}`;
}
