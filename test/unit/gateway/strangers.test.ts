import { afterAll, beforeAll, expect, test } from "vitest";
import { OPERATIONS } from "../../../src/lib/gateway/operations.ts";
import type { Operation } from "../../../src/lib/gateway/operation.ts";
import { errorCodeOf, sendSigned } from "../../support/http.ts";
import { type GatewayUser, type MemoryGateway, startMemoryGateway } from "../../support/memory-gateway.ts";

/** What a request of an operation needs beside that which chooses it. */
interface More {
  readonly query?: string;
  readonly headers?: readonly (readonly [string, string])[];
  readonly body?: string;
}

const TAGS = "<Tagging><TagSet><Tag><Key>a</Key><Value>stolen</Value></Tag></TagSet></Tagging>";
const PARTS =
  '<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"a"</ETag></Part></CompleteMultipartUpload>';

/** Every operation about a bucket or an object. Who adds one says here how it is asked for. */
const REQUESTS: Readonly<Record<string, More>> = {
  HeadBucket: {},
  DeleteBucket: {},
  GetBucketLocation: {},
  GetBucketPolicy: {},
  GetBucketPolicyStatus: {},
  GetBucketCors: {},
  GetBucketLifecycleConfiguration: {},
  GetBucketEncryption: {},
  GetObjectLockConfiguration: {},
  GetBucketWebsite: {},
  GetBucketReplication: {},
  GetPublicAccessBlock: {},
  GetBucketOwnershipControls: {},
  GetBucketVersioning: {},
  GetBucketLogging: {},
  GetBucketNotificationConfiguration: {},
  GetBucketAccelerateConfiguration: {},
  GetBucketRequestPayment: {},
  GetBucketAcl: {},
  PutBucketAcl: {},
  GetObjectAcl: {},
  PutObjectAcl: {},
  GetObjectTagging: {},
  PutObjectTagging: { body: TAGS },
  DeleteObjectTagging: {},
  GetBucketTagging: {},
  PutBucketTagging: { body: TAGS },
  DeleteBucketTagging: {},
  ListObjectsV2: { query: "list-type=2" },
  ListObjectVersions: {},
  ListObjects: {},
  ListMultipartUploads: {},
  CreateMultipartUpload: {},
  UploadPart: { query: "partNumber=1&uploadId=0123456789", body: "stolen" },
  UploadPartCopy: { query: "partNumber=1&uploadId=0123456789", headers: [["x-amz-copy-source", "/hers/a"]] },
  ListParts: { query: "uploadId=0123456789" },
  AbortMultipartUpload: { query: "uploadId=0123456789" },
  CompleteMultipartUpload: { query: "uploadId=0123456789", body: PARTS },
  DeleteObjects: { body: "<Delete><Object><Key>a</Key></Object></Delete>" },
  CopyObject: { headers: [["x-amz-copy-source", "/hers/a"]] },
  GetObject: {},
  HeadObject: {},
  PutObject: { body: "stolen" },
  DeleteObject: {},
};

/** These name nobody's bucket: they are about what the sender has, or makes it hers. */
const OF_THE_SENDER = ["CreateBucket", "HeadService", "ListBuckets"];

let gateway: MemoryGateway;
let alice: GatewayUser;
let mallory: GatewayUser;

beforeAll(async () => {
  gateway = await startMemoryGateway({ remoteCidPut: true });
  alice = gateway.user("alice@example.com");
  mallory = gateway.user("mallory@example.com");
  await sendSigned(gateway.port, alice.pair, { method: "PUT", path: "/hers" });
  await sendSigned(gateway.port, alice.pair, { method: "PUT", path: "/hers/a", body: Buffer.from("secret") });
  await sendSigned(gateway.port, mallory.pair, { method: "PUT", path: "/mine" });
  await sendSigned(gateway.port, mallory.pair, { method: "PUT", path: "/mine/a", body: Buffer.from("own") });
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
});

function operationNamed(name: string): Operation {
  const operation = OPERATIONS.find((known) => known.name === name);
  if (operation === undefined) throw new Error(`There is no operation ${name}`);
  return operation;
}

async function ask(
  { pair }: GatewayUser,
  { name, target, method, chosenBy }: Operation,
  bucket: string,
): Promise<readonly [status: number, code: string, text: string]> {
  const { query = chosenBy?.query?.join("&") ?? "", headers = [], body } = REQUESTS[name] ?? {};
  const path = target === "object" ? `/${bucket}/a` : `/${bucket}`;
  const bytes = body === undefined ? {} : { body: Buffer.from(body) };
  const answer = await sendSigned(gateway.port, pair, {
    method,
    path,
    query,
    headers,
    ...bytes,
  });
  return [answer.status, errorCodeOf(answer), answer.body.toString()];
}

test("every operation is asked for by a stranger here, or is about what its sender has", () => {
  const known = [...Object.keys(REQUESTS), ...OF_THE_SENDER].toSorted();
  expect(OPERATIONS.map(({ name }) => name).toSorted()).toEqual(known);
});

test.each(Object.keys(REQUESTS))("%s of another's bucket finds no bucket, and changes nothing", async (name) => {
  const [status, code, text] = await ask(mallory, operationNamed(name), "hers");
  expect([gateway.exchanges.at(-1)?.operation, status, code]).toEqual([name, 404, "NoSuchBucket"]);
  expect(text).not.toContain("secret");
  const read = await sendSigned(gateway.port, alice.pair, { method: "GET", path: "/hers/a" });
  expect([read.status, read.body.toString(), read.headers["x-amz-tagging-count"]]).toEqual([200, "secret", undefined]);
});

test("a copy reads no other's bucket, into one's own neither", async () => {
  const [status, code] = await ask(mallory, operationNamed("CopyObject"), "mine");
  expect([status, code]).toEqual([404, "NoSuchBucket"]);
  expect((await sendSigned(gateway.port, mallory.pair, { method: "GET", path: "/mine/a" })).body.toString()).toBe(
    "own",
  );
});

test("a list of buckets names one's own alone, and another's name can be taken without finding hers", async () => {
  const listed = await sendSigned(gateway.port, mallory.pair, { method: "GET", path: "/" });
  expect(listed.body.toString()).toContain("<Name>mine</Name>");
  expect(listed.body.toString()).not.toContain("hers");
  const carol = gateway.user("carol@example.com");
  expect((await sendSigned(gateway.port, carol.pair, { method: "PUT", path: "/hers" })).status).toBe(200);
  const found = await sendSigned(gateway.port, carol.pair, { method: "GET", path: "/hers/a" });
  expect([found.status, errorCodeOf(found)]).toEqual([404, "NoSuchKey"]);
});
