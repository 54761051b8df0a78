import type { Texts } from "../buckets/tree/object-entry.ts";
import { changeObject, noSuchKey, requireBucket, requireCurrentBucket } from "./bucket-access.ts";
import type { Exchange } from "./exchange.ts";
import { requireObject } from "./object-reads.ts";
import { BODY_HEADERS, type Operation, type OperationParts, READS, WRITES } from "./operation.ts";
import { malformedXml, readXmlBody } from "./read-xml.ts";
import { S3Error } from "./s3-error.ts";
import { BUCKET_TAGS_MAX, OBJECT_TAGS_MAX, renderTags, TAGGING_LIMITS, tagsOfDocument } from "./tags.ts";
import { checkVersionId } from "./version-id.ts";
import { bucketNameOf, noSuchBucket } from "./bucket-access.ts";

const XML = "application/xml";

async function readTags(exchange: Exchange, max: number): Promise<Texts> {
  const root = await readXmlBody(exchange, TAGGING_LIMITS);
  if (root === null) throw malformedXml("there is none");
  return tagsOfDocument(root, max);
}

async function setObjectTags(exchange: Exchange, { buckets }: OperationParts, tags: Texts): Promise<void> {
  const key = exchange.address.key ?? "";
  await changeObject(exchange, buckets, {
    key,
    change: { kind: "update", update: (present) => ({ ...present, tags }) },
    condition: null,
  });
}

async function getObjectTagging(exchange: Exchange, { buckets }: OperationParts): Promise<void> {
  const { tags } = await requireObject(exchange, buckets);
  exchange.wire.text(200, XML, renderTags(tags));
}

async function putObjectTagging(exchange: Exchange, parts: OperationParts): Promise<void> {
  checkVersionId(exchange.query.get("versionId"));
  const { index } = await requireCurrentBucket(exchange, parts.buckets);
  const key = exchange.address.key ?? "";
  if ((await index.findRef(key)) === null) throw noSuchKey(key);
  await setObjectTags(exchange, parts, await readTags(exchange, OBJECT_TAGS_MAX));
  exchange.wire.empty(200);
}

async function deleteObjectTagging(exchange: Exchange, parts: OperationParts): Promise<void> {
  checkVersionId(exchange.query.get("versionId"));
  await setObjectTags(exchange, parts, {});
  exchange.wire.empty(204);
}

async function setBucketTags(exchange: Exchange, { buckets }: OperationParts, tags: Texts): Promise<void> {
  const name = bucketNameOf(exchange);
  if (!(await buckets.setMetadata(name, (present) => ({ ...present, tags })))) throw noSuchBucket(name.bucket);
}

async function getBucketTagging(exchange: Exchange, { buckets }: OperationParts): Promise<void> {
  const { tags } = (await requireBucket(exchange, buckets)).state.metadata;
  if (Object.keys(tags).length === 0) throw new S3Error("NoSuchTagSet", "The TagSet does not exist.");
  exchange.wire.text(200, XML, renderTags(tags));
}

async function putBucketTagging(exchange: Exchange, parts: OperationParts): Promise<void> {
  await requireCurrentBucket(exchange, parts.buckets);
  await setBucketTags(exchange, parts, await readTags(exchange, BUCKET_TAGS_MAX));
  exchange.wire.empty(204);
}

async function deleteBucketTagging(exchange: Exchange, parts: OperationParts): Promise<void> {
  await setBucketTags(exchange, parts, {});
  exchange.wire.empty(204);
}

const CHOSEN = { chosenBy: { query: ["tagging"] } } as const;
const OF_OBJECT = { ...CHOSEN, target: "object", query: ["tagging", "versionId"] } as const;
const OF_BUCKET = { ...CHOSEN, target: "bucket", query: ["tagging"] } as const;
const WITH_BODY = { takesBody: true, headers: BODY_HEADERS } as const;

/** Operations on tags. */
export const TAGGING_OPERATIONS: readonly Operation[] = [
  { ...READS, ...OF_OBJECT, name: "GetObjectTagging", method: "GET", run: getObjectTagging },
  { ...WRITES, ...OF_OBJECT, ...WITH_BODY, name: "PutObjectTagging", method: "PUT", run: putObjectTagging },
  { ...WRITES, ...OF_OBJECT, name: "DeleteObjectTagging", method: "DELETE", run: deleteObjectTagging },
  { ...READS, ...OF_BUCKET, name: "GetBucketTagging", method: "GET", run: getBucketTagging },
  { ...WRITES, ...OF_BUCKET, ...WITH_BODY, name: "PutBucketTagging", method: "PUT", run: putBucketTagging },
  { ...WRITES, ...OF_BUCKET, name: "DeleteBucketTagging", method: "DELETE", run: deleteBucketTagging },
];
