import { FulaError } from "../kernel/errors.ts";
import { Refusal, type RefusalCode } from "../identity/refusal.ts";

/**
 * HTTP status of every error code that the gateway answers with: those of S3
 * (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html), and `Gone`, `NoSuchContent` and `NotAcceptable`
 * of requests about contents.
 */
export const S3_STATUS = {
  AccessDenied: 403,
  AccessForbidden: 403,
  AccountProblem: 403,
  AuthorizationHeaderMalformed: 400,
  AuthorizationQueryParametersError: 400,
  BadDigest: 400,
  BadRequest: 400,
  BucketNotEmpty: 409,
  EntityTooLarge: 400,
  EntityTooSmall: 400,
  ExpiredToken: 400,
  Gone: 410,
  IllegalLocationConstraintException: 400,
  IncompleteBody: 400,
  InternalError: 500,
  InvalidAccessKeyId: 403,
  InvalidArgument: 400,
  InvalidBucketName: 400,
  InvalidDigest: 400,
  InvalidPart: 400,
  InvalidPartNumber: 416,
  InvalidPartOrder: 400,
  InvalidRange: 416,
  InvalidRequest: 400,
  InvalidStorageClass: 400,
  InvalidTag: 400,
  InvalidToken: 403,
  InvalidURI: 400,
  KeyTooLongError: 400,
  MalformedTrailerError: 400,
  MalformedXML: 400,
  MetadataTooLarge: 400,
  MethodNotAllowed: 405,
  MissingContentLength: 411,
  NoSuchBucket: 404,
  NoSuchBucketPolicy: 404,
  NoSuchContent: 404,
  NoSuchCORSConfiguration: 404,
  NoSuchKey: 404,
  NoSuchLifecycleConfiguration: 404,
  NoSuchPublicAccessBlockConfiguration: 404,
  NoSuchTagSet: 404,
  NoSuchUpload: 404,
  NoSuchVersion: 404,
  NoSuchWebsiteConfiguration: 404,
  NotAcceptable: 406,
  NotImplemented: 501,
  ObjectLockConfigurationNotFoundError: 404,
  OperationAborted: 409,
  OwnershipControlsNotFoundError: 404,
  PreconditionFailed: 412,
  ReplicationConfigurationNotFoundError: 404,
  RequestHeaderSectionTooLarge: 431,
  RequestTimeout: 408,
  RequestTimeTooSkewed: 403,
  ServerSideEncryptionConfigurationNotFoundError: 404,
  ServiceUnavailable: 503,
  SignatureDoesNotMatch: 403,
  SlowDown: 503,
  TooManyBuckets: 400,
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
  readonly status: number;
  /** True where something of ours is to be mended, whatever the status says to the client. */
  readonly isFault: boolean;

  constructor(
    code: S3Code,
    message: string,
    more: {
      readonly fields?: Readonly<Record<string, string>>;
      readonly headers?: Readonly<Record<string, string>>;
      readonly cause?: unknown;
      /** Another one than S3 has for the code. */
      readonly status?: number;
      readonly isFault?: boolean;
    } = {},
  ) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause });
    this.code = code;
    this.fields = more.fields ?? {};
    this.headers = more.headers ?? {};
    this.status = more.status ?? S3_STATUS[code];
    this.isFault = more.isFault ?? this.status >= 500;
  }
}

const RETRY_AFTER = { "retry-after": "1" };

/** What clients are told that lost every race for a bucket: the fleet's clients try again after a 412, others after a 503. */
export type CasExhausted = 412 | 503;

/** What an index takes of no object is the client's to change. */
function explainEntry(error: FulaError): S3Error | null {
  switch (error.code) {
    case "FULA_ENTRY_TOO_LARGE":
      return new S3Error("MetadataTooLarge", "Headers, metadata and tags of the object are larger than is taken.");
    case "FULA_ENTRY_TEXT":
      return new S3Error("InvalidArgument", "A header, metadata or tag of the object is no text that can be kept.");
    case "FULA_INDEX_KEY":
      return new S3Error("KeyTooLongError", "The key is longer than is taken, or no text.");
    default:
      return null;
  }
}

/** Too few peers for any pin, as while Kubo of one starts, is an outage, though the cluster has answered. */
function isOutage({ code, kind, details }: FulaError): boolean {
  return kind === "unavailable" || (code === "FULA_PIN_REFUSED" && Number(details?.["status"] ?? 0) >= 500);
}

function explain(error: FulaError, casExhausted: CasExhausted): S3Error | null {
  const ofEntry = explainEntry(error);
  if (ofEntry !== null) return ofEntry;
  if (error.code === "FULA_KEY_LOOKUPS_FULL") {
    const message = "Too many unknown credentials are being looked up; please try again.";
    return new S3Error("SlowDown", message, { headers: RETRY_AFTER });
  }
  if (error.code === "FULA_CAS_EXHAUSTED" && casExhausted === 412) {
    const fields = { Condition: "bucket-root" };
    return new S3Error("PreconditionFailed", "The bucket has changed meanwhile; please try again.", { fields });
  }
  if (error.code === "FULA_CAS_EXHAUSTED" || error.code === "FULA_BUCKET_BUSY") {
    return new S3Error("SlowDown", "The bucket is being changed by many; please reduce your request rate.", {
      headers: RETRY_AFTER,
      cause: error,
    });
  }
  const mustWait = error.code === "FULA_BUCKET_NOT_IMPORTED" || error.code === "FULA_BUCKET_MODE";
  if (!mustWait && !isOutage(error)) return null;
  const message = mustWait
    ? "The bucket cannot be used until an operator has done something; please try again later."
    : "A part of this master does not answer at the moment; please try again.";
  return new S3Error("ServiceUnavailable", message, { headers: RETRY_AFTER, cause: error });
}

/**
 * The S3 error for whatever was thrown. What is no refusal of ours says nothing about our insides: a dependency that
 * does not answer is 503, so that clients try again, and anything else is 500.
 */
export function toS3Error(error: unknown, casExhausted: CasExhausted): S3Error {
  if (error instanceof S3Error) return error;
  // No cause: what the client did wrong is no failure of ours, whatever the status.
  if (error instanceof Refusal) return new S3Error(error.code, error.message, { fields: error.fields });
  const explained = error instanceof FulaError ? explain(error, casExhausted) : null;
  return (
    explained ?? new S3Error("InternalError", "We encountered an internal error; please try again.", { cause: error })
  );
}
