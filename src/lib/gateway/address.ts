import { isIPv4 } from "node:net";
import { KEY_BYTES_MAX } from "../buckets/tree/key.ts";
import { percentDecode, utf8OrNull } from "../identity/raw-request.ts";
import { S3Error } from "./s3-error.ts";

/** What a request is about: everything, a bucket, or an object in it. */
export interface Address {
  readonly bucket: string | null;
  /** The literal key; null where the request is about the bucket. */
  readonly key: string | null;
}

/**
 * Checks a bucket's name by the rules of S3: 3 to 63 of `[a-z0-9.-]`, no label empty or with a dash at its end, no
 * IPv4 address (https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html).
 */
export function isBucketName(name: string): boolean {
  if (name.length < 3 || name.length > 63 || isIPv4(name)) return false;
  return name.split(".").every((label) => /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(label));
}

/**
 * The key that these bytes are.
 * @throws S3Error KeyTooLongError, InvalidURI, InvalidArgument
 */
export function checkKey(bytes: Uint8Array): string {
  if (bytes.byteLength > KEY_BYTES_MAX) {
    throw new S3Error(
      "KeyTooLongError",
      `The key has ${bytes.byteLength} bytes; at most ${KEY_BYTES_MAX} are allowed.`,
      {
        fields: { Size: String(bytes.byteLength), MaxSizeAllowed: String(KEY_BYTES_MAX) },
      },
    );
  }
  const key = utf8OrNull(bytes);
  if (key === null) throw new S3Error("InvalidURI", "The key is not UTF-8.");
  // PostgreSQL's text cannot hold it, and a key that is cut there would be another key.
  if (key.includes("\0")) throw new S3Error("InvalidArgument", "The key has a NUL character.");
  return key;
}

/**
 * Reads bucket and key from the path as it stood in the request line. Nothing is folded: `a/../k`, `//` and `%2e%2e`
 * are keys like any other, and `%2F` is a slash that was written another way.
 * @throws S3Error InvalidURI, InvalidBucketName, KeyTooLongError, InvalidArgument; Refusal InvalidURI
 */
export function parseAddress(rawPath: string): Address {
  if (!rawPath.startsWith("/")) throw new S3Error("InvalidURI", "The request target must be a path.");
  if (rawPath === "/") return { bucket: null, key: null };
  const slash = rawPath.indexOf("/", 1);
  const bucket = slash === -1 ? rawPath.slice(1) : rawPath.slice(1, slash);
  if (!isBucketName(bucket)) {
    throw new S3Error("InvalidBucketName", "The specified bucket is not valid.", { fields: { BucketName: bucket } });
  }
  const rawKey = slash === -1 ? "" : rawPath.slice(slash + 1);
  return { bucket, key: rawKey === "" ? null : checkKey(percentDecode(rawKey)) };
}
