import { bucketNameOf, noSuchBucket, requireBucket, tellStale } from "./bucket-access.ts";
import type { BucketState } from "../buckets/roots/root-pointer.ts";
import type { Exchange } from "./exchange.ts";
import { BODY_HEADERS, type Operation, type OperationParts, READS, WRITES } from "./operation.ts";
import { childText, malformedXml, readXmlBody, type XmlElement } from "./read-xml.ts";
import type { QueryMap } from "./query.ts";
import { S3Error } from "./s3-error.ts";
import { element, s3Document, type Xml } from "./xml.ts";

const XML = "application/xml";
/** A CreateBucketConfiguration is some hundred bytes. */
const CONFIGURATION_LIMITS = { bytesMax: 64 * 1024, elementsMax: 64 } as const;
/** Where S3 itself writes no region. */
const UNNAMED_REGION = "us-east-1";
/** S3's own limit of one page of buckets. */
const PAGE_BUCKETS_MAX = 10_000;

/**
 * The region that a CreateBucketConfiguration asks for; null where it names none.
 * @param root null where there is no document
 * @throws S3Error MalformedXML, NotImplemented
 */
export function readLocationConstraint(root: XmlElement | null): string | null {
  if (root === null) return null;
  if (root.name !== "CreateBucketConfiguration")
    throw malformedXml(`${root.name} instead of CreateBucketConfiguration`);
  if (root.children.some(({ name }) => name !== "LocationConstraint")) {
    throw new S3Error("NotImplemented", "Only a CreateBucketConfiguration with a LocationConstraint is supported.");
  }
  return childText(root, "LocationConstraint");
}

/** S3's own limit of the buckets of an account; a list of them is one document. */
const BUCKETS_MAX = 10_000;

/** @throws S3Error TooManyBuckets where this would be one too many */
async function refuseTooMany(exchange: Exchange, buckets: OperationParts["buckets"]): Promise<void> {
  const name = bucketNameOf(exchange);
  const all = await buckets.list(name.ownerId);
  if (all.buckets.length < BUCKETS_MAX || all.buckets.some(({ bucket }) => bucket === name.bucket)) return;
  throw new S3Error("TooManyBuckets", `You have attempted to create more than ${BUCKETS_MAX} buckets.`);
}

/** A bucket that the owner has already is no error: clients repeat this call (rclone before every copy). */
async function createBucket(exchange: Exchange, { buckets, region }: OperationParts): Promise<void> {
  const { raw, auth, address, wire } = exchange;
  const hasBody = raw.headers.has("content-length") || raw.headers.has("transfer-encoding");
  const wanted = readLocationConstraint(hasBody ? await readXmlBody(exchange, CONFIGURATION_LIMITS) : null);
  if (wanted !== null && wanted !== "" && wanted !== region) {
    throw new S3Error(
      "IllegalLocationConstraintException",
      `This gateway is region ${region}; '${wanted}' is not here.`,
      { fields: { Region: region } },
    );
  }
  const name = address.bucket ?? "";
  const { ownerId, userId } = auth.principal;
  await refuseTooMany(exchange, buckets);
  await buckets.create({ ownerId, userId }, name);
  wire.empty(200, { location: `/${name}` });
}

async function headBucket(exchange: Exchange, { buckets, region }: OperationParts): Promise<void> {
  await requireBucket(exchange, buckets);
  exchange.wire.headOnly(200, { "content-length": 0, "x-amz-bucket-region": region });
}

async function deleteBucket(exchange: Exchange, { buckets }: OperationParts): Promise<void> {
  const name = bucketNameOf(exchange);
  const outcome = await buckets.remove(name);
  if (outcome === "absent") throw noSuchBucket(name.bucket);
  if (outcome === "not-empty") {
    throw new S3Error("BucketNotEmpty", "The bucket you tried to delete is not empty.", {
      fields: { BucketName: name.bucket },
    });
  }
  exchange.wire.empty(204);
}

function maxBucketsOf(query: QueryMap): number {
  const text = query.get("max-buckets");
  if (text === undefined) return PAGE_BUCKETS_MAX;
  if (/^[1-9]\d{0,4}$/.test(text) && Number(text) <= PAGE_BUCKETS_MAX) return Number(text);
  throw new S3Error("InvalidArgument", `max-buckets must be a number from 1 to ${PAGE_BUCKETS_MAX}.`, {
    fields: { ArgumentName: "max-buckets", ArgumentValue: text },
  });
}

/** The name after which a page of buckets begins. @throws S3Error InvalidArgument for a token that is none of ours */
function afterOf(query: QueryMap): string {
  const token = query.get("continuation-token");
  if (token === undefined) return "";
  const name = Buffer.from(token, "base64url").toString("utf8");
  if (Buffer.from(name, "utf8").toString("base64url") === token) return name;
  throw new S3Error("InvalidArgument", "The continuation token provided is incorrect.", {
    fields: { ArgumentName: "continuation-token", ArgumentValue: token },
  });
}

function renderBucket({ bucket, createdAtMs }: BucketState): Xml {
  return element("Bucket", element("Name", bucket), element("CreationDate", new Date(createdAtMs).toISOString()));
}

async function listBuckets(exchange: Exchange, { buckets, region }: OperationParts): Promise<void> {
  const { query, auth, wire } = exchange;
  const { ownerId } = auth.principal;
  const [prefix, max, after] = [query.get("prefix") ?? "", maxBucketsOf(query), afterOf(query)];
  const isHere = (query.get("bucket-region") ?? region) === region;
  const all = await buckets.list(ownerId);
  tellStale(exchange, all.staleMs);
  // Names are ASCII, so that their order as texts is that of their bytes.
  const matching = isHere ? all.buckets.filter(({ bucket }) => bucket > after && bucket.startsWith(prefix)) : [];
  const page = matching.slice(0, max);
  const last = matching.length > max ? page.at(-1) : undefined;
  const token = last === undefined ? null : Buffer.from(last.bucket, "utf8").toString("base64url");
  const document = s3Document(
    "ListAllMyBucketsResult",
    element("Owner", element("ID", ownerId), element("DisplayName", ownerId)),
    element("Buckets", ...page.map(renderBucket)),
    token === null ? null : element("ContinuationToken", token),
    query.has("prefix") ? element("Prefix", prefix) : null,
  );
  wire.text(200, XML, document);
}

async function bucketLocation(exchange: Exchange, { buckets, region }: OperationParts): Promise<void> {
  await requireBucket(exchange, buckets);
  const text = region === UNNAMED_REGION ? "" : region;
  exchange.wire.text(200, XML, s3Document("LocationConstraint", { xml: text }));
}

/** Clients look in this way whether there is anybody, and whether their key is taken. */
async function headService({ wire }: Exchange): Promise<void> {
  wire.headOnly(200, { "content-length": 0 });
}

/** Operations on buckets themselves. */
export const BUCKET_OPERATIONS: readonly Operation[] = [
  {
    ...READS,
    name: "ListBuckets",
    target: "service",
    method: "GET",
    query: ["prefix", "max-buckets", "continuation-token", "bucket-region"],
    run: listBuckets,
  },
  { ...READS, name: "HeadService", target: "service", method: "HEAD", run: headService },
  { ...READS, name: "HeadBucket", target: "bucket", method: "HEAD", run: headBucket },
  {
    ...WRITES,
    name: "CreateBucket",
    target: "bucket",
    method: "PUT",
    takesBody: true,
    headers: [...BODY_HEADERS, "x-amz-acl"],
    run: createBucket,
  },
  { ...WRITES, name: "DeleteBucket", target: "bucket", method: "DELETE", run: deleteBucket },
  {
    ...READS,
    name: "GetBucketLocation",
    target: "bucket",
    method: "GET",
    chosenBy: { query: ["location"] },
    query: ["location"],
    run: bucketLocation,
  },
];
