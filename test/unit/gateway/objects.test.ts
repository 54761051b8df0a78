import { createHash } from "node:crypto";
import {
  CopyObjectCommand,
  CreateBucketCommand,
  DeleteObjectCommand,
  DeleteObjectTaggingCommand,
  GetObjectCommand,
  GetObjectTaggingCommand,
  HeadObjectCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
  type PutObjectCommandInput,
  type S3Client,
  S3ServiceException,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createCid, RAW_CODEC } from "../../../src/lib/blocks/cid.ts";
import { errorCodeOf, sendSigned } from "../../support/http.ts";
import { type GatewayUser, type MemoryGateway, startMemoryGateway } from "../../support/memory-gateway.ts";

const Bucket = "photos";

let gateway: MemoryGateway;
let alice: GatewayUser;
let client: S3Client;

beforeAll(async () => {
  gateway = await startMemoryGateway();
  alice = gateway.user("alice@example.com");
  ({ client } = alice);
  await client.send(new CreateBucketCommand({ Bucket }));
  await client.send(new CreateBucketCommand({ Bucket: "archive" }));
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
});

async function put(Key: string, Body: string, more: Partial<PutObjectCommandInput> = {}): Promise<string> {
  const { ETag = "" } = await client.send(new PutObjectCommand({ Bucket, Key, Body, ...more }));
  return ETag;
}

async function textOf(Key: string, bucket = Bucket): Promise<string> {
  const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key }));
  return (await Body?.transformToString()) ?? "";
}

/** The code of an answer that is an error; its status where it has no document. */
async function codeOf(answer: Promise<unknown>): Promise<string> {
  return await answer.then(
    () => "accepted",
    (error: unknown) => {
      if (!(error instanceof S3ServiceException)) throw error;
      const { httpStatusCode = 0 } = error.$metadata;
      return httpStatusCode === 304 ? "304" : error.name;
    },
  );
}

describe("a conditional change", () => {
  test("is made where its condition holds, and only there", async () => {
    const first = await put("a", "1", { IfNoneMatch: "*" });
    expect(await codeOf(put("a", "2", { IfNoneMatch: "*" }))).toBe("PreconditionFailed");
    expect(await codeOf(put("a", "2", { IfMatch: '"other"' }))).toBe("PreconditionFailed");
    const second = await put("a", "2", { IfMatch: first });
    expect(await codeOf(put("a", "3", { IfMatch: first }))).toBe("PreconditionFailed");
    expect(await codeOf(put("absent", "3", { IfMatch: first }))).toBe("NoSuchKey");
    const remove = async (IfMatch: string): Promise<string> =>
      await codeOf(client.send(new DeleteObjectCommand({ Bucket, Key: "a", IfMatch })));
    expect([await remove(first), await textOf("a")]).toEqual(["PreconditionFailed", "2"]);
    expect([await remove(second), await remove(second)]).toEqual(["accepted", "NoSuchKey"]);
  });

  test("is refused before its body is taken where the condition fails already", async () => {
    await put("early", "1");
    const blocks = gateway.blocks.blocks.size;
    expect(await codeOf(put("early", "never stored", { IfNoneMatch: "*" }))).toBe("PreconditionFailed");
    expect(gateway.blocks.blocks.size).toBe(blocks);
  });

  test("of 32 at once is made exactly once", async () => {
    const outcomes = await Promise.all(
      Array.from({ length: 32 }, async (_, index) => await codeOf(put("raced", `${index}`, { IfNoneMatch: "*" }))),
    );
    expect(outcomes.toSorted()).toEqual([...Array.from({ length: 31 }, () => "PreconditionFailed"), "accepted"]);
  });
});

describe("a conditional read", () => {
  test("is answered with 304 or 412 by ETag and date, HEAD and GET alike", async () => {
    const ETag = await put("read", "content");
    const { LastModified = new Date() } = await client.send(new HeadObjectCommand({ Bucket, Key: "read" }));
    const before = new Date(LastModified.getTime() - 1_000);
    for (const [condition, expected] of [
      [{ IfNoneMatch: ETag }, "304"],
      [{ IfModifiedSince: LastModified }, "304"],
      [{ IfMatch: '"other"' }, "PreconditionFailed"],
      [{ IfUnmodifiedSince: before }, "PreconditionFailed"],
      [{ IfMatch: ETag, IfUnmodifiedSince: before }, "accepted"],
      [{ IfNoneMatch: '"other"', IfModifiedSince: LastModified }, "accepted"],
    ] as const) {
      expect([
        condition,
        await codeOf(client.send(new GetObjectCommand({ Bucket, Key: "read", ...condition }))),
      ]).toEqual([condition, expected]);
    }
    const head = client.send(new HeadObjectCommand({ Bucket, Key: "read", IfNoneMatch: ETag }));
    expect(await codeOf(head)).toBe("304");
  });

  test("gets the whole object where If-Range says that its part is of another one", async () => {
    const etag = await put("ranged", "0123456789");
    const get = async (value: string): Promise<readonly [number, string]> => {
      const headers = [
        ["range", "bytes=2-4"],
        ["if-range", value],
      ] as const;
      const answer = await sendSigned(gateway.port, alice.pair, { method: "GET", path: `/${Bucket}/ranged`, headers });
      return [answer.status, answer.body.toString()];
    };
    expect(await get(etag)).toEqual([206, "234"]);
    expect(await get('"other"')).toEqual([200, "0123456789"]);
  });
});

describe("metadata", () => {
  test("comes back byte by byte, in whatever encoding, also where there is none of it", async () => {
    const headers = [
      ["x-amz-meta-utf8", Buffer.from("voilà").toString("latin1")],
      ["x-amz-meta-mime", "=?UTF-8?Q?voil=C3=A0?="],
      ["x-amz-meta-empty", ""],
      ["x-amz-meta-__proto__", "x"],
    ] as const;
    const path = `/${Bucket}/described`;
    await sendSigned(gateway.port, alice.pair, { method: "PUT", path, headers, body: Buffer.from("x") });
    for (const method of ["GET", "HEAD"]) {
      const answer = await sendSigned(gateway.port, alice.pair, { method, path });
      expect(headers.map(([name]) => answer.headers[name])).toEqual(headers.map(([, value]) => value));
    }
  });
});

describe("a copy", () => {
  test("has the content, metadata and tags of its source, and moves no byte", async () => {
    const ETag = await put("source/ü 1+2", "copied bytes", {
      ContentType: "text/plain",
      Metadata: { color: "blue" },
      Tagging: "kind=photo",
    });
    const blocks = new Set(gateway.blocks.blocks.keys());
    const CopySource = encodeURIComponent(`${Bucket}/source/ü 1+2`);
    const copied = await client.send(new CopyObjectCommand({ Bucket: "archive", Key: "copy", CopySource }));
    expect(copied.CopyObjectResult?.ETag).toBe(ETag);
    expect(copied.CopyObjectResult?.LastModified).toBeInstanceOf(Date);
    const head = await client.send(new HeadObjectCommand({ Bucket: "archive", Key: "copy" }));
    expect(head).toMatchObject({ ETag, ContentType: "text/plain", Metadata: { color: "blue" } });
    expect(await textOf("copy", "archive")).toBe("copied bytes");
    // One block of the index, and not the content again.
    expect([...gateway.blocks.blocks.keys()].filter((key) => !blocks.has(key))).toHaveLength(1);
    const tags = await client.send(new GetObjectTaggingCommand({ Bucket: "archive", Key: "copy" }));
    expect(tags.TagSet).toEqual([{ Key: "kind", Value: "photo" }]);
  });

  test("onto itself may name a storage class, which is not kept, and then leaves the rest as it was", async () => {
    await put("tiered", "x", { Metadata: { a: "b" }, Tagging: "c=d" });
    const CopySource = `${Bucket}/tiered`;
    const copy = { Bucket, Key: "tiered", CopySource };
    expect(await codeOf(client.send(new CopyObjectCommand(copy)))).toBe("InvalidRequest");
    expect(await codeOf(client.send(new CopyObjectCommand({ ...copy, StorageClass: "STANDARD_IA" })))).toBe("accepted");
    const head = await client.send(new HeadObjectCommand({ Bucket, Key: "tiered" }));
    expect(head).toMatchObject({ Metadata: { a: "b" }, TagCount: 1 });
  });

  test("takes new metadata and tags by its directives", async () => {
    await put("directed", "x", { ContentType: "text/plain", Metadata: { a: "1" }, Tagging: "old=1" });
    const CopySource = `/${Bucket}/directed`;
    await client.send(
      new CopyObjectCommand({
        Bucket,
        Key: "redirected",
        CopySource,
        MetadataDirective: "REPLACE",
        ContentType: "image/png",
        Metadata: { b: "2" },
        TaggingDirective: "REPLACE",
        Tagging: "new=2",
      }),
    );
    const head = await client.send(new HeadObjectCommand({ Bucket, Key: "redirected" }));
    expect(head).toMatchObject({ ContentType: "image/png", Metadata: { b: "2" } });
    const { TagSet } = await client.send(new GetObjectTaggingCommand({ Bucket, Key: "redirected" }));
    expect(TagSet).toEqual([{ Key: "new", Value: "2" }]);
  });

  test("onto itself must change something, and changes what is there", async () => {
    await put("self", "x", { Metadata: { a: "1" } });
    const CopySource = `${Bucket}/self`;
    expect(await codeOf(client.send(new CopyObjectCommand({ Bucket, Key: "self", CopySource })))).toBe(
      "InvalidRequest",
    );
    const replace = { MetadataDirective: "REPLACE", Metadata: { b: "2" } } as const;
    await client.send(new CopyObjectCommand({ Bucket, Key: "self", CopySource, ...replace }));
    expect((await client.send(new HeadObjectCommand({ Bucket, Key: "self" }))).Metadata).toEqual({ b: "2" });
    expect(await textOf("self")).toBe("x");
  });

  test.each([
    [{ CopySource: `${Bucket}/absent` }, "NoSuchKey"],
    [{ CopySource: "absent-bucket/a" }, "NoSuchBucket"],
    [{ CopySource: Bucket }, "InvalidArgument"],
    [{ CopySource: `${Bucket}/judged?versionId=null` }, "accepted"],
    [{ CopySource: `${Bucket}/judged?versionId=1` }, "NoSuchVersion"],
    [{ CopySource: `${Bucket}/judged`, CopySourceIfMatch: '"other"' }, "PreconditionFailed"],
    [{ CopySource: `${Bucket}/judged`, CopySourceIfNoneMatch: "*" }, "PreconditionFailed"],
    [{ CopySource: `${Bucket}/judged`, CopySourceIfModifiedSince: new Date("2100-01-01") }, "PreconditionFailed"],
    [{ CopySource: `${Bucket}/judged`, CopySourceIfUnmodifiedSince: new Date("2100-01-01") }, "accepted"],
    [{ CopySource: `${Bucket}/judged`, IfNoneMatch: "*" }, "PreconditionFailed"],
  ])("with %j: %s", async (input, expected) => {
    await put("judged", "x");
    await put("there", "y");
    expect(await codeOf(client.send(new CopyObjectCommand({ Bucket, Key: "there", ...input })))).toBe(expected);
  });
});

describe("tags of an object", () => {
  test("are set with it, read, counted, replaced and taken away", async () => {
    await put("tagged", "x", { Tagging: "a=1&b=two%20words" });
    const read = async (): Promise<unknown> =>
      (await client.send(new GetObjectTaggingCommand({ Bucket, Key: "tagged" }))).TagSet;
    expect(await read()).toEqual([
      { Key: "a", Value: "1" },
      { Key: "b", Value: "two words" },
    ]);
    expect((await client.send(new GetObjectCommand({ Bucket, Key: "tagged" }))).TagCount).toBe(2);
    const Tagging = { TagSet: [{ Key: "ü", Value: "=+" }] };
    await client.send(new PutObjectTaggingCommand({ Bucket, Key: "tagged", Tagging }));
    expect(await read()).toEqual(Tagging.TagSet);
    await client.send(new DeleteObjectTaggingCommand({ Bucket, Key: "tagged" }));
    expect(await read()).toEqual([]);
    expect(await textOf("tagged")).toBe("x");
  });

  test("need an object, and rules of S3", async () => {
    const Tagging = { TagSet: [{ Key: "a", Value: "1" }] };
    const set = async (Key: string, tagging: typeof Tagging): Promise<string> =>
      await codeOf(client.send(new PutObjectTaggingCommand({ Bucket, Key, Tagging: tagging })));
    expect(await set("absent", Tagging)).toBe("NoSuchKey");
    expect(await codeOf(client.send(new GetObjectTaggingCommand({ Bucket, Key: "absent" })))).toBe("NoSuchKey");
    expect(await codeOf(client.send(new DeleteObjectTaggingCommand({ Bucket, Key: "absent" })))).toBe("NoSuchKey");
    await put("tagged", "x");
    const many = Array.from({ length: 11 }, (_, index) => ({ Key: `${index}`, Value: "" }));
    expect(await set("tagged", { TagSet: many })).toBe("BadRequest");
    expect(await codeOf(put("tagged", "x", { Tagging: "a=1&a=2" }))).toBe("InvalidTag");
  });
});

describe("a GET", () => {
  test("may ask for other headers than were stored, if they can stand in an answer", async () => {
    await put("named", "x", { ContentType: "text/plain" });
    const asked = await client.send(
      new GetObjectCommand({
        Bucket,
        Key: "named",
        ResponseContentType: "application/pdf",
        ResponseContentDisposition: 'attachment; filename="a.pdf"',
      }),
    );
    expect(asked).toMatchObject({ ContentType: "application/pdf", ContentDisposition: 'attachment; filename="a.pdf"' });
    const split = sendSigned(gateway.port, alice.pair, {
      method: "GET",
      path: `/${Bucket}/named`,
      query: "response-content-type=a%0D%0Ax-evil%3A1",
    });
    expect(errorCodeOf(await split)).toBe("InvalidArgument");
  });

  test("knows one version, and one part of what came in one piece", async () => {
    await put("versioned", "0123456789");
    const get = async (more: object): Promise<unknown> =>
      await codeOf(client.send(new GetObjectCommand({ Bucket, Key: "versioned", ...more })));
    expect(await get({ VersionId: "null" })).toBe("accepted");
    expect(await get({ VersionId: "1" })).toBe("NoSuchVersion");
    expect(await get({ PartNumber: 1 })).toBe("accepted");
    expect(await get({ PartNumber: 2 })).toBe("InvalidPartNumber");
    expect(await get({ PartNumber: 1, Range: "bytes=0-1" })).toBe("InvalidRequest");
  });
});

describe("ETags", () => {
  test("are the content's MD5 where that is asked for", async () => {
    await using md5 = await startMemoryGateway({ etag: "md5" });
    const user = md5.user("alice@example.com");
    await user.client.send(new CreateBucketCommand({ Bucket }));
    const sent = await user.client.send(new PutObjectCommand({ Bucket, Key: "a", Body: "content" }));
    const expected = `"${createHash("md5").update("content").digest("hex")}"`;
    expect(sent.ETag).toBe(expected);
    expect((await user.client.send(new HeadObjectCommand({ Bucket, Key: "a" }))).ETag).toBe(expected);
    const matching = new GetObjectCommand({ Bucket, Key: "a", IfMatch: expected });
    expect(await (await user.client.send(matching)).Body?.transformToString()).toBe("content");
  });

  test("are the content's CID where it is not", async () => {
    expect(await put("a", "content")).toBe(`"${createCid(RAW_CODEC, Buffer.from("content")).toString()}"`);
  });
});
