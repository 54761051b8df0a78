import { FulaError } from "../kernel/errors.ts";
import { Refusal, type RefusalCode } from "../identity/refusal.ts";

/**
 * HTTP status of every S3 error code that the gateway answers with
 * (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html).
 */
export const S3_STATUS = {
  AccessDenied: 403,
  AuthorizationHeaderMalformed: 400,
  BadDigest: 400,
  BucketNotEmpty: 409,
  EntityTooLarge: 400,
  IllegalLocationConstraintException: 400,
  IncompleteBody: 400,
  InternalError: 500,
  InvalidAccessKeyId: 403,
  InvalidArgument: 400,
  InvalidBucketName: 400,
  InvalidDigest: 400,
  InvalidRange: 416,
  InvalidRequest: 400,
  InvalidToken: 403,
  InvalidURI: 400,
  KeyTooLongError: 400,
  MalformedTrailerError: 400,
  MalformedXML: 400,
  MetadataTooLarge: 400,
  MethodNotAllowed: 405,
  MissingContentLength: 411,
  NoSuchBucket: 404,
  NoSuchKey: 404,
  NotImplemented: 501,
  RequestHeaderSectionTooLarge: 431,
  RequestTimeout: 408,
  RequestTimeTooSkewed: 403,
  ServiceUnavailable: 503,
  SignatureDoesNotMatch: 403,
  SlowDown: 503,
  XAmzContentSHA256Mismatch: 400,
} as const satisfies Record<RefusalCode, number> & Record<string, number>;

/** An error code of S3. */
export type S3Code = keyof typeof S3_STATUS;

/** An answer of the gateway that is an error. */
export class S3Error extends Error {
  override readonly name = "S3Error";
  readonly code: S3Code;
  /** Further elements of the error document. */
  readonly fields: Readonly<Record<string, string>>;
  /** Further headers of the answer. */
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    code: S3Code,
    message: string,
    more: {
      readonly fields?: Readonly<Record<string, string>>;
      readonly headers?: Readonly<Record<string, string>>;
      readonly cause?: unknown;
    } = {},
  ) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause });
    this.code = code;
    this.fields = more.fields ?? {};
    this.headers = more.headers ?? {};
  }

  get status(): number {
    return S3_STATUS[this.code];
  }
}

const RETRY_AFTER = { "retry-after": "1" };

/**
 * The S3 error for whatever was thrown. What is no refusal of ours says nothing about our insides: a dependency that
 * does not answer is 503, so that clients try again, and anything else is 500.
 */
export function toS3Error(error: unknown): S3Error {
  if (error instanceof S3Error) return error;
  if (error instanceof Refusal) return new S3Error(error.code, error.message, { fields: error.fields, cause: error });
  if (error instanceof FulaError && error.kind === "unavailable") {
    const message = "A part of this master does not answer at the moment; please try again.";
    return new S3Error("ServiceUnavailable", message, { headers: RETRY_AFTER, cause: error });
  }
  return new S3Error("InternalError", "We encountered an internal error; please try again.", { cause: error });
}
