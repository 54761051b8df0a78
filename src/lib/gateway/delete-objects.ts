import type { Mutation, MutationOutcome } from "../buckets/buckets.ts";
import { checkKey } from "./address.ts";
import { bucketNameOf, noSuchBucket, requireCurrentBucket } from "./bucket-access.ts";
import type { Exchange } from "./exchange.ts";
import { BODY_HEADERS, type Operation, type OperationParts, WRITES } from "./operation.ts";
import {
  childrenOf,
  childText,
  expectElement,
  malformedXml,
  readXmlBody,
  requiredText,
  type XmlElement,
} from "./read-xml.ts";
import { S3Error } from "./s3-error.ts";
import { checkVersionId } from "./version-id.ts";
import { element, s3Document, type Xml } from "./xml.ts";

const KEYS_MAX = 1_000;
/** A thousand keys of 1,024 bytes, each byte written as an entity; the elements of one that S3 knows are six. */
const LIMITS = { bytesMax: 8 * 1024 * 1024, elementsMax: 6 * KEYS_MAX + 2 } as const;

/** One key of the request. */
interface Wanted {
  readonly key: string;
  readonly versionId: string | null;
  /** Without quotes; null where any will do. */
  readonly etag: string | null;
}

function wantedOf(object: XmlElement): Wanted {
  expectElement(object, "Object", ["Key", "VersionId", "ETag", "LastModifiedTime", "Size"]);
  const special = ["LastModifiedTime", "Size"].find((name) => childText(object, name) !== null);
  if (special !== undefined) {
    throw new S3Error("NotImplemented", `A condition on ${special} implies functionality that is not implemented.`);
  }
  const key = requiredText(object, "Key");
  if (key === "") throw malformedXml("a Key that is empty");
  const etag = childText(object, "ETag");
  return {
    key,
    versionId: childText(object, "VersionId"),
    etag: etag === null ? null : etag.replace(/^"(.*)"$/, "$1"),
  };
}

/** The keys of a `Delete` document, and whether only failures are to be told. @throws S3Error MalformedXML, NotImplemented */
export function readDelete(root: XmlElement): { readonly wanted: readonly Wanted[]; readonly isQuiet: boolean } {
  expectElement(root, "Delete", ["Object", "Quiet"]);
  const objects = childrenOf(root, "Object");
  if (objects.length === 0 || objects.length > KEYS_MAX) throw malformedXml(`not from 1 to ${KEYS_MAX} objects`);
  const quiet = (childText(root, "Quiet") ?? "false").trim().toLowerCase();
  if (quiet !== "true" && quiet !== "false") throw malformedXml("a Quiet that is neither true nor false");
  return { wanted: objects.map(wantedOf), isQuiet: quiet === "true" };
}

/** Why a key cannot be deleted whatever stands in the bucket; null where it can be tried. */
function refusalOf({ key, versionId }: Wanted): S3Error | null {
  try {
    checkKey(Buffer.from(key, "utf8"));
    checkVersionId(versionId ?? undefined);
    return null;
  } catch (error) {
    if (error instanceof S3Error) return error;
    throw error;
  }
}

function mutationOf({ key, etag }: Wanted): Mutation {
  const condition = etag === null ? null : ({ ifMatch: etag === "*" ? "*" : [etag], ifNoneMatch: null } as const);
  return { key, change: { kind: "delete" }, condition };
}

function errorElement({ key, versionId }: Wanted, code: string, message: string): Xml {
  return element(
    "Error",
    element("Key", key),
    versionId === null ? null : element("VersionId", versionId),
    element("Code", code),
    element("Message", message),
  );
}

function resultOf(wanted: Wanted, outcome: MutationOutcome | undefined, isQuiet: boolean): Xml | null {
  if (outcome === undefined) throw new Error("A deletion had no outcome");
  if (outcome.kind === "condition-failed") {
    return errorElement(wanted, "PreconditionFailed", "The object has another ETag.");
  }
  if (outcome.kind === "no-such-key") return errorElement(wanted, "NoSuchKey", "The specified key does not exist.");
  if (isQuiet) return null;
  const { key, versionId } = wanted;
  return element("Deleted", element("Key", key), versionId === null ? null : element("VersionId", versionId));
}

/** POST /{bucket}?delete: all keys go in one move of the bucket's root. One that is not there counts as deleted. */
async function deleteObjects(exchange: Exchange, { buckets }: OperationParts): Promise<void> {
  await requireCurrentBucket(exchange, buckets);
  const root = await readXmlBody(exchange, LIMITS);
  if (root === null) throw malformedXml("no Delete");
  const { wanted, isQuiet } = readDelete(root);
  const judged = wanted.map((one) => ({ one, refusal: refusalOf(one) }));
  const tried = judged.filter(({ refusal }) => refusal === null).map(({ one }) => one);
  const name = bucketNameOf(exchange);
  const outcomes = tried.length === 0 ? [] : await buckets.write(name, tried.map(mutationOf));
  if (outcomes === null) throw noSuchBucket(name.bucket);
  const byWanted = new Map(tried.map((one, index) => [one, outcomes[index]]));
  const results = judged.map(({ one, refusal }) =>
    refusal === null ? resultOf(one, byWanted.get(one), isQuiet) : errorElement(one, refusal.code, refusal.message),
  );
  exchange.wire.text(200, "application/xml", s3Document("DeleteResult", ...results));
}

/** Deleting many objects at once. */
export const DELETE_OBJECTS_OPERATIONS: readonly Operation[] = [
  {
    ...WRITES,
    name: "DeleteObjects",
    target: "bucket",
    method: "POST",
    chosenBy: { query: ["delete"] },
    takesBody: true,
    query: ["delete"],
    headers: BODY_HEADERS,
    run: deleteObjects,
  },
];
