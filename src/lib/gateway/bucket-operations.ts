import { XMLParser, XMLValidator } from "fast-xml-parser";
import { z } from "zod";
import type { Pool } from "../postgres/pool.ts";
import { type Bucket, createBucket, deleteBucket, findBucket, listBuckets } from "./bucket-table.ts";
import type { Exchange } from "./exchange.ts";
import { openObjectBody } from "./object-body.ts";
import { S3Error } from "./s3-error.ts";
import { element, s3Document } from "./xml.ts";

/** What operations on buckets need. */
export interface BucketParts {
  readonly pool: Pool;
  readonly region: string;
}

const XML = "application/xml";
/** A CreateBucketConfiguration is some hundred bytes. */
const CONFIGURATION_BYTES_MAX = 64 * 1024;
/** Where S3 itself writes no region. */
const UNNAMED_REGION = "us-east-1";

/** The bucket of an exchange. @throws S3Error NoSuchBucket, also where another owner has one of this name */
export async function requireBucket(exchange: Exchange, pool: Pool): Promise<Bucket> {
  const name = exchange.address.bucket ?? "";
  const bucket = await findBucket(pool, exchange.auth.principal.ownerId, name);
  if (bucket === null) throw noSuchBucket(name);
  return bucket;
}

/** The error for a bucket that is not there. */
export function noSuchBucket(name: string): S3Error {
  return new S3Error("NoSuchBucket", "The specified bucket does not exist.", { fields: { BucketName: name } });
}

const configurationSchema = z.object({
  CreateBucketConfiguration: z.union([z.literal(""), z.strictObject({ LocationConstraint: z.string().optional() })]),
});

/** The region that a CreateBucketConfiguration asks for; null where it names none. @throws S3Error MalformedXML, NotImplemented */
export function readLocationConstraint(document: string): string | null {
  if (document.trim() === "") return null;
  if (XMLValidator.validate(document) !== true) {
    throw new S3Error("MalformedXML", "The XML you provided was not well-formed.");
  }
  const parsed: unknown = new XMLParser({
    parseTagValue: false,
    ignoreDeclaration: true,
    processEntities: false,
  }).parse(document);
  const configuration = configurationSchema.safeParse(parsed);
  if (!configuration.success) {
    throw new S3Error("NotImplemented", "Only a CreateBucketConfiguration with a LocationConstraint is supported.");
  }
  const { CreateBucketConfiguration: inner } = configuration.data;
  return inner === "" ? null : (inner.LocationConstraint ?? null);
}

async function readConfiguration(exchange: Exchange): Promise<string> {
  const { headers } = exchange.raw;
  if (!headers.has("content-length") && !headers.has("transfer-encoding")) return "";
  const body = await openObjectBody(headers, exchange.auth, exchange.wire.body(), CONFIGURATION_BYTES_MAX);
  const pieces: Uint8Array[] = [];
  for await (const piece of body.bytes) pieces.push(piece);
  return Buffer.concat(pieces).toString("utf8");
}

/** PUT /{bucket}. A bucket that the owner has already is no error: clients repeat this call (rclone before every copy). */
export async function createBucketOperation(exchange: Exchange, { pool, region }: BucketParts): Promise<void> {
  const wanted = readLocationConstraint(await readConfiguration(exchange));
  if (wanted !== null && wanted !== region) {
    throw new S3Error(
      "IllegalLocationConstraintException",
      `This gateway is region ${region}; '${wanted}' is not here.`,
      {
        fields: { Region: region },
      },
    );
  }
  const name = exchange.address.bucket ?? "";
  await createBucket(pool, exchange.auth.principal.ownerId, name);
  exchange.wire.empty(200, { location: `/${name}` });
}

/** HEAD /{bucket}. */
export async function headBucketOperation(exchange: Exchange, { pool, region }: BucketParts): Promise<void> {
  await requireBucket(exchange, pool);
  exchange.wire.headOnly(200, { "content-length": 0, "x-amz-bucket-region": region });
}

/** DELETE /{bucket}. */
export async function deleteBucketOperation(exchange: Exchange, { pool }: BucketParts): Promise<void> {
  const name = exchange.address.bucket ?? "";
  const outcome = await deleteBucket(pool, exchange.auth.principal.ownerId, name);
  if (outcome === "absent") throw noSuchBucket(name);
  if (outcome === "not-empty") {
    throw new S3Error("BucketNotEmpty", "The bucket you tried to delete is not empty.", {
      fields: { BucketName: name },
    });
  }
  exchange.wire.empty(204);
}

/** GET /. */
export async function listBucketsOperation(exchange: Exchange, { pool }: BucketParts): Promise<void> {
  const { ownerId } = exchange.auth.principal;
  const buckets = await listBuckets(pool, ownerId);
  const rows = buckets.map(({ name, createdAtMs }) =>
    element("Bucket", element("Name", name), element("CreationDate", new Date(createdAtMs).toISOString())),
  );
  const owner = element("Owner", element("ID", ownerId), element("DisplayName", ownerId));
  exchange.wire.text(200, XML, s3Document("ListAllMyBucketsResult", owner, element("Buckets", ...rows)));
}

/** GET /{bucket}?location. */
export async function bucketLocationOperation(exchange: Exchange, { pool, region }: BucketParts): Promise<void> {
  await requireBucket(exchange, pool);
  const text = region === UNNAMED_REGION ? "" : region;
  exchange.wire.text(200, XML, s3Document("LocationConstraint", { xml: text }));
}
