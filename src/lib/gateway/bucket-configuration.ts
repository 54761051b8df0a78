import { requireBucket } from "./bucket-access.ts";
import { type Operation, READS } from "./operation.ts";
import { S3Error, type S3Code } from "./s3-error.ts";
import { element, s3Document } from "./xml.ts";

/** What a bucket can be asked for that nobody can configure here, and what S3 answers where nobody has. */
interface Unconfigured {
  readonly name: string;
  readonly parameter: string;
  /** An error, or a document that says "nothing". */
  readonly answer: { readonly code: S3Code; readonly message: string } | { readonly document: string };
}

const UNCONFIGURED: readonly Unconfigured[] = [
  {
    name: "GetBucketPolicy",
    parameter: "policy",
    answer: { code: "NoSuchBucketPolicy", message: "The bucket policy does not exist." },
  },
  {
    name: "GetBucketPolicyStatus",
    parameter: "policyStatus",
    answer: { code: "NoSuchBucketPolicy", message: "The bucket policy does not exist." },
  },
  {
    name: "GetBucketCors",
    parameter: "cors",
    answer: { code: "NoSuchCORSConfiguration", message: "The CORS configuration does not exist." },
  },
  {
    name: "GetBucketLifecycleConfiguration",
    parameter: "lifecycle",
    answer: { code: "NoSuchLifecycleConfiguration", message: "The lifecycle configuration does not exist." },
  },
  {
    name: "GetBucketEncryption",
    parameter: "encryption",
    answer: {
      code: "ServerSideEncryptionConfigurationNotFoundError",
      message: "The server side encryption configuration was not found.",
    },
  },
  {
    name: "GetObjectLockConfiguration",
    parameter: "object-lock",
    answer: {
      code: "ObjectLockConfigurationNotFoundError",
      message: "Object Lock configuration does not exist for this bucket.",
    },
  },
  {
    name: "GetBucketWebsite",
    parameter: "website",
    answer: {
      code: "NoSuchWebsiteConfiguration",
      message: "The specified bucket does not have a website configuration.",
    },
  },
  {
    name: "GetBucketReplication",
    parameter: "replication",
    answer: { code: "ReplicationConfigurationNotFoundError", message: "The replication configuration was not found." },
  },
  {
    name: "GetPublicAccessBlock",
    parameter: "publicAccessBlock",
    answer: {
      code: "NoSuchPublicAccessBlockConfiguration",
      message: "The public access block configuration was not found.",
    },
  },
  {
    name: "GetBucketOwnershipControls",
    parameter: "ownershipControls",
    answer: { code: "OwnershipControlsNotFoundError", message: "The bucket ownership controls were not found." },
  },
  {
    name: "GetBucketVersioning",
    parameter: "versioning",
    answer: { document: s3Document("VersioningConfiguration") },
  },
  { name: "GetBucketLogging", parameter: "logging", answer: { document: s3Document("BucketLoggingStatus") } },
  {
    name: "GetBucketNotificationConfiguration",
    parameter: "notification",
    answer: { document: s3Document("NotificationConfiguration") },
  },
  {
    name: "GetBucketAccelerateConfiguration",
    parameter: "accelerate",
    answer: { document: s3Document("AccelerateConfiguration") },
  },
  {
    name: "GetBucketRequestPayment",
    parameter: "requestPayment",
    answer: { document: s3Document("RequestPaymentConfiguration", element("Payer", "BucketOwner")) },
  },
];

/** Clients ask for these before they do anything; setting them is not implemented. */
export const CONFIGURATION_OPERATIONS: readonly Operation[] = UNCONFIGURED.map(({ name, parameter, answer }) => ({
  ...READS,
  name,
  target: "bucket",
  method: "GET",
  chosenBy: { query: [parameter] },
  query: [parameter],
  run: async (exchange, { buckets }) => {
    await requireBucket(exchange, buckets);
    if ("code" in answer) {
      throw new S3Error(answer.code, answer.message, { fields: { BucketName: exchange.address.bucket ?? "" } });
    }
    exchange.wire.text(200, "application/xml", answer.document);
  },
}));
