import { requireBucket, requireCurrentBucket } from "./bucket-access.ts";
import type { Exchange } from "./exchange.ts";
import { requireObject } from "./object-reads.ts";
import { BODY_HEADERS, type Operation, type OperationParts, READS, WRITES } from "./operation.ts";
import { childrenOf, childText, expectElement, readXmlBody, type XmlElement } from "./read-xml.ts";
import { S3Error } from "./s3-error.ts";
import { element, type Xml } from "./xml.ts";

/** An access control list has a hundred grants at most. */
const LIST_LIMITS = { bytesMax: 64 * 1024, elementsMax: 1_000 } as const;
const NAMESPACES =
  'xmlns="http://s3.amazonaws.com/doc/2006-03-01/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"';

/** The one access control list that there is: everything belongs to its owner, and nobody else may do anything. */
function renderPrivate(ownerId: string): string {
  const owner = [element("ID", ownerId), element("DisplayName", ownerId)];
  const grantee: Xml = {
    xml: `<Grantee xsi:type="CanonicalUser" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">${owner.map(({ xml }) => xml).join("")}</Grantee>`,
  };
  const grants = element("AccessControlList", element("Grant", grantee, element("Permission", "FULL_CONTROL")));
  const body = `${element("Owner", ...owner).xml}${grants.xml}`;
  return `<?xml version="1.0" encoding="UTF-8"?>\n<AccessControlPolicy ${NAMESPACES}>${body}</AccessControlPolicy>`;
}

function descendants(root: XmlElement, name: string): readonly XmlElement[] {
  return [...childrenOf(root, name), ...root.children.flatMap((child) => descendants(child, name))];
}

/** Takes a list that changes nothing, as s3cmd sends it after each upload, and no other. @throws S3Error NotImplemented, MalformedXML */
async function refuseOtherGrants(exchange: Exchange): Promise<void> {
  const root = await readXmlBody(exchange, LIST_LIMITS);
  if (root === null) return;
  expectElement(root, "AccessControlPolicy", ["Owner", "AccessControlList"]);
  const { ownerId } = exchange.auth.principal;
  const grants = descendants(root, "Grant");
  const isPrivate = grants.every((grant) => {
    const [grantee] = childrenOf(grant, "Grantee");
    return grantee !== undefined && childText(grantee, "ID") === ownerId;
  });
  if (isPrivate) return;
  throw new S3Error("NotImplemented", "Only the owner of a bucket may do anything in it: grants are not supported.");
}

async function getBucketAcl(exchange: Exchange, { buckets }: OperationParts): Promise<void> {
  await requireBucket(exchange, buckets);
  exchange.wire.text(200, "application/xml", renderPrivate(exchange.auth.principal.ownerId));
}

async function putBucketAcl(exchange: Exchange, { buckets }: OperationParts): Promise<void> {
  await requireCurrentBucket(exchange, buckets);
  await refuseOtherGrants(exchange);
  exchange.wire.empty(200);
}

async function getObjectAcl(exchange: Exchange, { buckets }: OperationParts): Promise<void> {
  await requireObject(exchange, buckets);
  exchange.wire.text(200, "application/xml", renderPrivate(exchange.auth.principal.ownerId));
}

async function putObjectAcl(exchange: Exchange, { buckets }: OperationParts): Promise<void> {
  await requireObject(exchange, buckets);
  await refuseOtherGrants(exchange);
  exchange.wire.empty(200);
}

const OF_BUCKET = { target: "bucket", chosenBy: { query: ["acl"] }, query: ["acl"] } as const;
const OF_OBJECT = { target: "object", chosenBy: { query: ["acl"] }, query: ["acl", "versionId"] } as const;
const WITH_BODY = { takesBody: true, headers: [...BODY_HEADERS, "x-amz-acl"] } as const;

/** Operations on access control lists. */
export const ACL_OPERATIONS: readonly Operation[] = [
  { ...READS, ...OF_BUCKET, name: "GetBucketAcl", method: "GET", run: getBucketAcl },
  { ...WRITES, ...OF_BUCKET, ...WITH_BODY, name: "PutBucketAcl", method: "PUT", run: putBucketAcl },
  { ...READS, ...OF_OBJECT, name: "GetObjectAcl", method: "GET", run: getObjectAcl },
  { ...WRITES, ...OF_OBJECT, ...WITH_BODY, name: "PutObjectAcl", method: "PUT", run: putObjectAcl },
];
