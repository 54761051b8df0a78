import { randomBytes } from "node:crypto";
import {
  CompleteMultipartUploadCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  ListPartsCommand,
  type S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { AccessKeyPair } from "../../../src/lib/identity/access-key.ts";
import { formatUtc } from "../../../src/lib/kernel/clock.ts";
import { type Answer, sendHttp } from "../../support/http.ts";
import { makeKey, makeServingBox, s3Client, startTestServer } from "../../support/serving.ts";
import { presign } from "../../support/signing.ts";
import { shareState } from "../../support/two-gateways.ts";

const Bucket = "shared";
const opened = new AsyncDisposableStack();
let ports: readonly [number, number];
let clients: readonly [S3Client, S3Client];
let key: AccessKeyPair;

beforeAll(async () => {
  const one = opened.use(await makeServingBox());
  const other = opened.use(await makeServingBox({}, one));
  await shareState(one, other);
  opened.use(await startTestServer(one));
  opened.use(await startTestServer(other));
  key = await makeKey(one);
  ports = [one.ports.gateway, other.ports.gateway];
  clients = [s3Client(one, key), s3Client(other, key)];
  await clients[0].send(new CreateBucketCommand({ Bucket }));
});

afterAll(async () => {
  for (const client of clients) client.destroy();
  await opened.disposeAsync();
});

/** A URL for a gateway, made by nobody but who has the key. */
async function sendPresigned(port: number, method: string, path: string, body?: Uint8Array): Promise<Answer> {
  const timestamp = formatUtc(Date.now()).replaceAll(/[-:]/g, "");
  const host = `127.0.0.1:${port}`;
  const query = presign({ method, path, host, timestamp, expiresSeconds: 60 }, key, {
    date: timestamp.slice(0, 8),
    region: "us-east-1",
    service: "s3",
  });
  const length = [["content-length", String(body?.byteLength ?? 0)]] as const;
  return await sendHttp(port, {
    method,
    target: `${path}?${query}`,
    headers: [["host", host], ...length],
    ...(body !== undefined && { body }),
  });
}

test("an upload whose parts come by turns to two masters that serve is completed by both at once, and is one object", async () => {
  const [one, other] = clients;
  const Key = "by turns";
  const bodies = Array.from({ length: 4 }, () => randomBytes(300 * 1024));
  const { UploadId } = await one.send(new CreateMultipartUploadCommand({ Bucket, Key }));
  const Parts = await Promise.all(
    bodies.map(async (Body, index) => {
      const PartNumber = index + 1;
      const client = index % 2 === 0 ? one : other;
      const { ETag } = await client.send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber, Body }));
      return { ETag, PartNumber };
    }),
  );
  for (const client of clients) {
    const listed = await client.send(new ListPartsCommand({ Bucket, Key, UploadId }));
    expect(listed.Parts?.map(({ PartNumber, ETag }) => ({ ETag, PartNumber }))).toEqual(Parts);
  }
  const complete = async (client: S3Client): Promise<string | undefined> =>
    (await client.send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts } }))).ETag;
  const [first, second] = await Promise.all([complete(one), complete(other)]);
  expect(first).toBe(second);
  for (const client of clients) {
    const { Body, ETag } = await client.send(new GetObjectCommand({ Bucket, Key }));
    expect(ETag).toBe(first);
    expect(Buffer.compare((await Body?.transformToByteArray()) ?? Buffer.alloc(0), Buffer.concat(bodies))).toBe(0);
  }
});

test("what a presigned URL put at one master, another one gives at once, and takes away for both", async () => {
  const [one, other] = ports;
  const path = `/${Bucket}/by-url`;
  expect((await sendPresigned(one, "PUT", path, Buffer.from("first"))).status).toBe(200);
  expect((await sendPresigned(other, "GET", path)).body.toString()).toBe("first");
  expect((await sendPresigned(other, "PUT", path, Buffer.from("second"))).status).toBe(200);
  expect((await sendPresigned(one, "GET", path)).body.toString()).toBe("second");
  expect((await sendPresigned(one, "DELETE", path)).status).toBe(204);
  expect((await sendPresigned(other, "HEAD", path)).status).toBe(404);
});
