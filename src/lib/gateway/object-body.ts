import { createHash } from "node:crypto";
import type { AuthenticatedRequest } from "../identity/authenticate.ts";
import { decodeAwsChunked } from "../identity/aws-chunked.ts";
import type { RequestHeaders } from "../identity/raw-request.ts";
import {
  assertChecksumValue,
  checksumNameOf,
  checksumOfHeaders,
  type ChecksumName,
  isChecksumHeader,
  type RunningChecksum,
  startChecksum,
} from "./checksums.ts";
import { S3Error } from "./s3-error.ts";

/** The bytes of an object on their way in. */
export interface ObjectBody {
  /**
   * The object's bytes, out of their frame. Ends without an error only where every length, digest, checksum and
   * signature that the request names was right.
   */
  readonly bytes: AsyncIterable<Uint8Array>;
  /** How many bytes it will have; null where only the end of the stream tells. */
  readonly sizeBytes: number | null;
  /** The checksum that was verified, once `bytes` has ended; null where the request names none. */
  verifiedChecksum(): { readonly name: ChecksumName; readonly value: string } | null;
}

interface Promised {
  /** Lower-case hex. */
  readonly sha256: string | null;
  /** Base64. */
  readonly md5: string | null;
  readonly checksum: { readonly name: ChecksumName; readonly value: string | null } | null;
}

function lengthOf(headers: RequestHeaders, name: string): number | null {
  const text = headers.single(name);
  if (text === null) return null;
  if (!/^\d{1,15}$/.test(text)) throw new S3Error("InvalidArgument", `The header ${name} is not a number of bytes.`);
  return Number(text);
}

/** The object's size as the headers announce it. @throws S3Error MissingContentLength, EntityTooLarge, InvalidArgument */
function announcedSize(headers: RequestHeaders, framed: boolean, maxBytes: number): number | null {
  const size = lengthOf(headers, framed ? "x-amz-decoded-content-length" : "content-length");
  if (size === null && (framed || !headers.has("transfer-encoding"))) {
    throw new S3Error("MissingContentLength", "You must provide the Content-Length HTTP header.");
  }
  if (size !== null && size > maxBytes) throw tooLarge(maxBytes);
  return size;
}

function tooLarge(maxBytes: number): S3Error {
  return new S3Error("EntityTooLarge", `An object may have ${maxBytes} bytes at most (gateway.maxObjectBytes).`, {
    fields: { MaxSizeAllowed: String(maxBytes) },
  });
}

function checkEncoding(headers: RequestHeaders, framed: boolean): void {
  if (framed || !contentEncodings(headers).includes("aws-chunked")) return;
  // Storing the frame inside the object is how several servers have damaged files.
  throw new S3Error("InvalidArgument", "An aws-chunked body needs x-amz-content-sha256: STREAMING-….");
}

/** The content codings of a request, in order, `aws-chunked` included. */
export function contentEncodings(headers: RequestHeaders): readonly string[] {
  return headers
    .all("content-encoding")
    .flatMap((value) => value.split(","))
    .map((coding) => coding.trim())
    .filter((coding) => coding !== "");
}

function trailerNames(headers: RequestHeaders): readonly string[] {
  const names = headers
    .all("x-amz-trailer")
    .flatMap((value) => value.split(","))
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== "");
  const other = names.find((name) => !isChecksumHeader(name));
  if (other !== undefined) throw new S3Error("NotImplemented", `The trailing header ${other} is not supported.`);
  if (names.length > 1) throw new S3Error("InvalidRequest", "Expecting a single x-amz-checksum- trailer.");
  return names;
}

function promisedMd5(headers: RequestHeaders): string | null {
  const value = headers.single("content-md5");
  if (value === null) return null;
  const digest = Buffer.from(value, "base64");
  if (digest.byteLength === 16 && digest.toString("base64") === value) return value;
  throw new S3Error("InvalidDigest", "The Content-MD5 you specified is not valid.");
}

function promisesOf(
  headers: RequestHeaders,
  auth: Pick<AuthenticatedRequest, "payload">,
  trailers: readonly string[],
): Promised {
  const inHeader = checksumOfHeaders(headers);
  const [trailer] = trailers;
  if (inHeader !== null && trailer !== undefined) {
    throw new S3Error("InvalidRequest", "Expecting a single x-amz-checksum- header or trailer.");
  }
  const checksum = trailer === undefined ? inHeader : { name: checksumNameOf(trailer), value: null };
  return {
    sha256: auth.payload.kind === "hashed" ? auth.payload.sha256 : null,
    md5: promisedMd5(headers),
    checksum,
  };
}

class BodyVerifier {
  readonly #promised: Promised;
  readonly #checksum: RunningChecksum | null;
  readonly #sha256 = createHash("sha256");
  readonly #md5 = createHash("md5");
  #trailingValue: string | null = null;
  verified: { readonly name: ChecksumName; readonly value: string } | null = null;

  constructor(promised: Promised, checksum: RunningChecksum | null) {
    this.#promised = promised;
    this.#checksum = checksum;
  }

  acceptTrailers(trailers: ReadonlyMap<string, string>): void {
    const { checksum } = this.#promised;
    if (checksum === null) return;
    const value = trailers.get(`x-amz-checksum-${checksum.name}`) ?? null;
    if (value !== null) assertChecksumValue(checksum.name, value);
    this.#trailingValue = value;
  }

  update(bytes: Uint8Array): void {
    if (this.#promised.sha256 !== null) this.#sha256.update(bytes);
    if (this.#promised.md5 !== null) this.#md5.update(bytes);
    this.#checksum?.update(bytes);
  }

  /** @throws S3Error XAmzContentSHA256Mismatch, BadDigest */
  finish(): void {
    const { sha256, md5, checksum } = this.#promised;
    const computed = sha256 === null ? null : this.#sha256.digest("hex");
    if (sha256 !== null && computed !== sha256) {
      throw new S3Error(
        "XAmzContentSHA256Mismatch",
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
        {
          fields: { ClientComputedContentSHA256: sha256, S3ComputedContentSHA256: computed ?? "" },
        },
      );
    }
    if (md5 !== null && this.#md5.digest("base64") !== md5) {
      throw new S3Error("BadDigest", "The Content-MD5 you specified did not match what we received.");
    }
    if (checksum === null) return;
    const value = checksum.value ?? this.#trailingValue;
    if (value === null || this.#checksum?.digest() !== value) {
      throw new S3Error(
        "BadDigest",
        `The ${checksum.name.toUpperCase()} you specified did not match the calculated checksum.`,
      );
    }
    this.verified = { name: checksum.name, value };
  }
}

async function* verify(
  source: AsyncIterable<Uint8Array>,
  verifier: BodyVerifier,
  limits: { readonly sizeBytes: number | null; readonly maxBytes: number },
): AsyncGenerator<Uint8Array> {
  let received = 0;
  for await (const bytes of source) {
    received += bytes.byteLength;
    if (received > limits.maxBytes) throw tooLarge(limits.maxBytes);
    verifier.update(bytes);
    yield bytes;
  }
  if (limits.sizeBytes !== null && received !== limits.sizeBytes) {
    throw new S3Error("IncompleteBody", `The body has ${received} bytes instead of the announced ${limits.sizeBytes}.`);
  }
  verifier.finish();
}

/**
 * Opens the body of a PUT: takes it out of its frame and checks everything that the request says about it. Refuses
 * what can be refused by the headers alone before a byte is read.
 * @throws S3Error MissingContentLength, EntityTooLarge, InvalidArgument, InvalidDigest, InvalidRequest, NotImplemented
 */
export async function openObjectBody(
  headers: RequestHeaders,
  auth: Pick<AuthenticatedRequest, "payload" | "chunkSigner">,
  source: AsyncIterable<Uint8Array>,
  maxBytes: number,
): Promise<ObjectBody> {
  const { payload, chunkSigner } = auth;
  const framed = payload.kind === "chunked";
  checkEncoding(headers, framed);
  const sizeBytes = announcedSize(headers, framed, maxBytes);
  const trailers = trailerNames(headers);
  const mayTrail = framed && payload.trailer;
  if (trailers.length > 0 && !mayTrail) {
    throw new S3Error("InvalidRequest", "x-amz-trailer announces trailing headers, but the body encoding has none.");
  }
  const promised = promisesOf(headers, auth, trailers);
  const verifier = new BodyVerifier(
    promised,
    promised.checksum === null ? null : await startChecksum(promised.checksum.name),
  );
  const decoded = framed
    ? decodeAwsChunked(source, {
        decodedBytes: sizeBytes ?? 0,
        signer: chunkSigner,
        trailerNames: mayTrail ? trailers : null,
        onTrailers: (values) => {
          verifier.acceptTrailers(values);
        },
      })
    : source;
  return {
    bytes: verify(decoded, verifier, { sizeBytes, maxBytes }),
    sizeBytes,
    verifiedChecksum: () => verifier.verified,
  };
}
