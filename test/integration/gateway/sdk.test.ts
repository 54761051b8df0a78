import { randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import {
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  GetBucketLocationCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  ListObjectsV2Command,
  paginateListObjectsV2,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { withPinCluster } from "../../../src/lib/stack/pinset.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import type { Pin } from "../../../src/lib/cluster/pins.ts";
import {
  makeKey,
  makeServingBox,
  s3Client,
  type ServingBox,
  startTestServer,
  type TestServer,
} from "../../support/serving.ts";

const HELLO_CID = "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4";

let box: ServingBox;
let serving: TestServer;
let alice: S3Client;
let mallory: S3Client;

beforeAll(async () => {
  box = await makeServingBox();
  serving = await startTestServer(box);
  alice = s3Client(box, await makeKey(box, "alice@example.com"));
  mallory = s3Client(box, await makeKey(box, "mallory@example.com"));
});

afterAll(async () => {
  alice.destroy();
  mallory.destroy();
  await serving[Symbol.asyncDispose]();
  await box[Symbol.asyncDispose]();
});

async function pinOf(cid: string): Promise<Pin | null> {
  return await withPinCluster(await box.load(), { clock: systemClock }, async (pins) => await pins.pin(cid));
}

/** Which of these the collector will look at. */
async function queued(cids: readonly string[]): Promise<readonly string[]> {
  const { rows } = await box.database.pool.query<{ cid: string }>(
    "select cid from bucket_garbage where cid = any($1) order by cid",
    [cids],
  );
  return rows.map(({ cid }) => cid);
}

async function newBucket(name: string): Promise<string> {
  await alice.send(new CreateBucketCommand({ Bucket: name }));
  return name;
}

async function put(Bucket: string, Key: string, Body: string | Uint8Array): Promise<string> {
  const { ETag = "" } = await alice.send(new PutObjectCommand({ Bucket, Key, Body }));
  return ETag.replaceAll('"', "");
}

async function readBack(Bucket: string, Key: string, Range?: string): Promise<Buffer> {
  const { Body } = await alice.send(new GetObjectCommand({ Bucket, Key, Range }));
  return Buffer.from((await Body?.transformToByteArray()) ?? []);
}

function keyNames(contents: readonly { readonly Key?: string | undefined }[] | undefined): readonly string[] {
  return (contents ?? []).map(({ Key = "" }) => Key);
}

describe("buckets", () => {
  test("are created, also twice, found, listed and deleted", async () => {
    await newBucket("bucket-life");
    await newBucket("bucket-life");
    const head = await alice.send(new HeadBucketCommand({ Bucket: "bucket-life" }));
    expect(head.BucketRegion).toBe("us-east-1");
    expect((await alice.send(new GetBucketLocationCommand({ Bucket: "bucket-life" }))).LocationConstraint ?? "").toBe(
      "",
    );
    const { Buckets, Owner } = await alice.send(new ListBucketsCommand({}));
    expect(Buckets?.map(({ Name }) => Name)).toContain("bucket-life");
    expect(Owner?.ID).toMatch(/^[0-9a-f]{32}$/);
    await alice.send(new DeleteBucketCommand({ Bucket: "bucket-life" }));
    await expect(alice.send(new HeadBucketCommand({ Bucket: "bucket-life" }))).rejects.toMatchObject({
      name: "NotFound",
    });
    await expect(alice.send(new DeleteBucketCommand({ Bucket: "bucket-life" }))).rejects.toMatchObject({
      name: "NoSuchBucket",
    });
  });

  test("in another region than this one are refused", async () => {
    const CreateBucketConfiguration = { LocationConstraint: "eu-west-1" as const };
    const creating = alice.send(new CreateBucketCommand({ Bucket: "elsewhere", CreateBucketConfiguration }));
    await expect(creating).rejects.toMatchObject({ name: "IllegalLocationConstraintException" });
  });

  test("that are not empty are not deleted", async () => {
    const bucket = await newBucket("not-empty");
    await put(bucket, "a", "x");
    await expect(alice.send(new DeleteBucketCommand({ Bucket: bucket }))).rejects.toMatchObject({
      name: "BucketNotEmpty",
    });
    await alice.send(new DeleteObjectCommand({ Bucket: bucket, Key: "a" }));
    await alice.send(new DeleteBucketCommand({ Bucket: bucket }));
  });

  test("of one name belong to each owner by themselves", async () => {
    const bucket = await newBucket("everybody");
    await put(bucket, "secret", "alice's");
    await expect(mallory.send(new GetObjectCommand({ Bucket: bucket, Key: "secret" }))).rejects.toMatchObject({
      name: "NoSuchBucket",
    });
    await expect(mallory.send(new PutObjectCommand({ Bucket: bucket, Key: "x", Body: "x" }))).rejects.toMatchObject({
      name: "NoSuchBucket",
    });
    await expect(mallory.send(new ListObjectsV2Command({ Bucket: bucket }))).rejects.toMatchObject({
      name: "NoSuchBucket",
    });
    await expect(mallory.send(new DeleteObjectCommand({ Bucket: bucket, Key: "secret" }))).rejects.toMatchObject({
      name: "NoSuchBucket",
    });
    await expect(mallory.send(new DeleteBucketCommand({ Bucket: bucket }))).rejects.toMatchObject({
      name: "NoSuchBucket",
    });
    await mallory.send(new CreateBucketCommand({ Bucket: bucket }));
    await mallory.send(new PutObjectCommand({ Bucket: bucket, Key: "secret", Body: "mallory's" }));
    expect((await readBack(bucket, "secret")).toString()).toBe("alice's");
  });
});

describe("an object", () => {
  test("comes back with its bytes, type, metadata and checksum, and its ETag is its CID", async () => {
    const bucket = await newBucket("round-trip");
    const sent = await alice.send(
      new PutObjectCommand({
        Bucket: bucket,
        Key: "hello.txt",
        Body: "hello world\n",
        ContentType: "text/plain; charset=utf-8",
        CacheControl: "max-age=60",
        ContentDisposition: 'attachment; filename="h.txt"',
        ContentLanguage: "en",
        ContentEncoding: "identity",
        Metadata: { color: "Blue  green", empty: "", "with-dash": "=?&" },
      }),
    );
    expect(sent.ETag).toBe(`"${HELLO_CID}"`);
    expect(sent.ChecksumCRC32).toBe("rwg7LQ==");
    const got = await alice.send(new GetObjectCommand({ Bucket: bucket, Key: "hello.txt" }));
    expect(await got.Body?.transformToString()).toBe("hello world\n");
    expect(got).toMatchObject({
      ETag: `"${HELLO_CID}"`,
      ContentLength: 12,
      ContentType: "text/plain; charset=utf-8",
      CacheControl: "max-age=60",
      ContentDisposition: 'attachment; filename="h.txt"',
      ContentLanguage: "en",
      ContentEncoding: "identity",
      Metadata: { color: "Blue  green", empty: "", "with-dash": "=?&" },
      ChecksumCRC32: "rwg7LQ==",
      AcceptRanges: "bytes",
    });
    const head = await alice.send(new HeadObjectCommand({ Bucket: bucket, Key: "hello.txt" }));
    expect(head).toMatchObject({ ETag: `"${HELLO_CID}"`, ContentLength: 12, Metadata: got.Metadata });
    expect(head.LastModified?.getTime()).toBe(got.LastModified?.getTime());
  });

  test("is pinned by its CID under its name, with nothing about its owner", async () => {
    const bucket = await newBucket("pinned");
    const cid = await put(bucket, "a/b", "pinned content");
    const pin = await pinOf(cid);
    expect(pin).toMatchObject({ name: "object:pinned/a/b", mode: "recursive", metadata: { source: "gateway" } });
    expect(JSON.stringify(pin)).not.toContain("alice");
  });

  test.each([0, 1, 262_143, 262_144, 262_145, 20 * 1024 * 1024])(
    "of %i bytes comes back, sent as a buffer and as a stream",
    async (size) => {
      const bucket = await newBucket("sizes");
      const bytes = randomBytes(size);
      const buffered = await put(bucket, "buffer", bytes);
      const pieces = Readable.from(
        (function* () {
          for (let offset = 0; offset < size; offset += 65_536) yield bytes.subarray(offset, offset + 65_536);
        })(),
      );
      const sent = await alice.send(
        new PutObjectCommand({ Bucket: bucket, Key: "stream", Body: pieces, ContentLength: size }),
      );
      expect(sent.ETag).toBe(`"${buffered}"`);
      expect((await readBack(bucket, "buffer")).equals(bytes)).toBe(true);
      expect((await readBack(bucket, "stream")).equals(bytes)).toBe(true);
    },
  );

  test.each(["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"] as const)(
    "with a %s is verified on the way in and out, in a header and in a trailer",
    async (ChecksumAlgorithm) => {
      const bucket = await newBucket("checksums");
      const field = `Checksum${ChecksumAlgorithm}` as const;
      const whole = await alice.send(
        new PutObjectCommand({ Bucket: bucket, Key: "whole", Body: "some bytes", ChecksumAlgorithm }),
      );
      const Body = Readable.from([Buffer.from("some bytes")]);
      const streamed = await alice.send(
        new PutObjectCommand({ Bucket: bucket, Key: "streamed", Body, ContentLength: 10, ChecksumAlgorithm }),
      );
      expect(whole[field]).toBeTruthy();
      expect(streamed[field]).toBe(whole[field]);
      const got = await alice.send(new GetObjectCommand({ Bucket: bucket, Key: "streamed" }));
      expect(got[field]).toBe(whole[field]);
      expect(await got.Body?.transformToString()).toBe("some bytes");
    },
  );

  test("gives single ranges", async () => {
    const bucket = await newBucket("ranges");
    const bytes = randomBytes(1_000_000);
    await put(bucket, "a", bytes);
    const part = await alice.send(new GetObjectCommand({ Bucket: bucket, Key: "a", Range: "bytes=262140-262149" }));
    expect(part).toMatchObject({ ContentRange: "bytes 262140-262149/1000000", ContentLength: 10 });
    expect(part.$metadata.httpStatusCode).toBe(206);
    expect((await readBack(bucket, "a", "bytes=262140-262149")).equals(bytes.subarray(262_140, 262_150))).toBe(true);
    expect((await readBack(bucket, "a", "bytes=-5")).equals(bytes.subarray(-5))).toBe(true);
    expect((await readBack(bucket, "a", "bytes=999990-")).equals(bytes.subarray(999_990))).toBe(true);
    await expect(readBack(bucket, "a", "bytes=1000000-")).rejects.toMatchObject({ name: "InvalidRange" });
  });

  test.each([
    "a/../k",
    "../k",
    "/lead",
    "a//b",
    "trail/",
    ".",
    "..",
    "%2e%2e",
    "ü/😀/日本",
    "a b+c&d=e?f#g",
    "line\nbreak",
    "a\\b",
    "'\"<>&",
  ])("keeps the literal key %j", async (key) => {
    const bucket = await newBucket("keys");
    const content = `content of ${key}`;
    await put(bucket, key, content);
    expect((await readBack(bucket, key)).toString()).toBe(content);
    const { Contents } = await alice.send(new ListObjectsV2Command({ Bucket: bucket, EncodingType: "url" }));
    expect(keyNames(Contents).map((name) => decodeURIComponent(name))).toContain(key);
    await alice.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }));
    await expect(readBack(bucket, key)).rejects.toMatchObject({ name: "NoSuchKey" });
  });

  test("that is not there is NoSuchKey, and deleting it is no error", async () => {
    const bucket = await newBucket("absent");
    await expect(readBack(bucket, "a")).rejects.toMatchObject({ name: "NoSuchKey" });
    await expect(alice.send(new HeadObjectCommand({ Bucket: bucket, Key: "a" }))).rejects.toMatchObject({
      name: "NotFound",
    });
    await alice.send(new DeleteObjectCommand({ Bucket: bucket, Key: "a" }));
  });
});

describe("a pin", () => {
  test("is left to the collector when an object with its content is deleted or overwritten, and no other is", async () => {
    const bucket = await newBucket("left-contents");
    const deleted = await put(bucket, "one", "the bytes of a deleted object");
    const replaced = await put(bucket, "two", "first content");
    const again = await put(bucket, "three", "the same bytes again");
    await put(bucket, "three", "the same bytes again");
    expect(await queued([deleted, replaced, again])).toEqual([]);
    await alice.send(new DeleteObjectCommand({ Bucket: bucket, Key: "one" }));
    const second = await put(bucket, "two", "second content");
    expect(await queued([deleted, replaced, again, second])).toEqual([deleted, replaced].toSorted());
    for (const cid of [deleted, replaced, again, second]) expect(await pinOf(cid)).not.toBeNull();
    expect((await readBack(bucket, "two")).toString()).toBe("second content");
  });

  test("that an operator made is kept when the object goes, with every option", async () => {
    const bucket = await newBucket("operators");
    const cid = await put(bucket, "a", "pinned twice");
    const pin = await pinOf(cid);
    if (pin === null) throw new Error("The object is not pinned");
    const theirs: Pin = { ...pin, name: "by hand", metadata: { why: "legal hold" } };
    await withPinCluster(await box.load(), { clock: systemClock }, async (pins) => await pins.put(theirs));
    await put(bucket, "b", "pinned twice");
    await alice.send(new DeleteObjectCommand({ Bucket: bucket, Key: "a" }));
    await alice.send(new DeleteObjectCommand({ Bucket: bucket, Key: "b" }));
    expect(await pinOf(cid)).toEqual(theirs);
  });

  test("that an operator made to end some day, or of one block alone, is made to hold as long as the object does", async () => {
    const bucket = await newBucket("short-lived");
    const cid = await put(bucket, "a", "content of a short-lived pin");
    const pin = await pinOf(cid);
    if (pin === null) throw new Error("The object is not pinned");
    const theirs: Pin = {
      ...pin,
      name: "by hand",
      metadata: {},
      mode: "direct",
      max_depth: 0,
      expire_at: "2027-01-01T00:00:00Z",
    };
    await withPinCluster(await box.load(), { clock: systemClock }, async (pins) => await pins.put(theirs));
    await put(bucket, "b", "content of a short-lived pin");
    expect(await pinOf(cid)).toEqual({ ...theirs, mode: "recursive", max_depth: -1, expire_at: null });
  });

  test("is there after any race of writers and deleters, and known to the collector where no object needs it", async () => {
    const bucket = await newBucket("races");
    const contents = ["red", "green", "blue"].map((color) => `race of ${color}`);
    const cids = await Promise.all(contents.map(async (content, index) => await put(bucket, `seed-${index}`, content)));
    for (const index of contents.keys())
      await alice.send(new DeleteObjectCommand({ Bucket: bucket, Key: `seed-${index}` }));
    const actions = Array.from({ length: 90 }, (_, index) => async () => {
      const key = `key-${index % 4}`;
      if (index % 3 === 2) await alice.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }));
      else await put(bucket, key, contents[(index % 7) % 3] ?? "");
    });
    await Promise.all(actions.map(async (action) => await action()));
    const { Contents = [] } = await alice.send(new ListObjectsV2Command({ Bucket: bucket }));
    const needed = new Set(Contents.map(({ ETag = "" }) => ETag.replaceAll('"', "")));
    const left = new Set(await queued(cids));
    for (const cid of cids) expect([cid, await pinOf(cid)]).not.toEqual([cid, null]);
    for (const cid of cids) expect([cid, left.has(cid) || needed.has(cid)]).toEqual([cid, true]);
  });
});

describe("a listing", () => {
  const names = ["A", "a", "a/1", "a/2", "a/b/3", "b", "b/", "z", "ä", "😀", "\uFFFD"];

  test("is in the order of the keys' UTF-8 bytes, and pages lose and repeat nothing", async () => {
    const bucket = await newBucket("listing");
    for (const name of names) await put(bucket, name, name);
    const byBytes = names.toSorted((x, y) => Buffer.compare(Buffer.from(x), Buffer.from(y)));
    for (const MaxKeys of [1, 2, 3, 100]) {
      const seen: string[] = [];
      for await (const page of paginateListObjectsV2({ client: alice, pageSize: MaxKeys }, { Bucket: bucket })) {
        expect(page.KeyCount).toBeLessThanOrEqual(MaxKeys);
        seen.push(...keyNames(page.Contents));
      }
      expect(seen).toEqual(byBytes);
    }
  });

  test("of a prefix, from a key on, or of nothing", async () => {
    const bucket = "listing";
    const list = async (query: object): Promise<readonly string[]> =>
      keyNames((await alice.send(new ListObjectsV2Command({ Bucket: bucket, ...query }))).Contents);
    expect(await list({ Prefix: "a/" })).toEqual(["a/1", "a/2", "a/b/3"]);
    expect(await list({ Prefix: "a" })).toEqual(["a", "a/1", "a/2", "a/b/3"]);
    expect(await list({ Prefix: "a", StartAfter: "a/1" })).toEqual(["a/2", "a/b/3"]);
    expect(await list({ StartAfter: "z" })).toEqual(["ä", "\uFFFD", "😀"]);
    expect(await list({ Prefix: "nothing" })).toEqual([]);
    expect(await list({ MaxKeys: 0 })).toEqual([]);
    expect(await list({ Prefix: "😀" })).toEqual(["😀"]);
  });

  test("with a delimiter rolls up, and no prefix comes twice however small the pages are", async () => {
    for (const pageSize of [1, 2, 100]) {
      const seen: string[] = [];
      const input = { Bucket: "listing", Delimiter: "/" };
      for await (const page of paginateListObjectsV2({ client: alice, pageSize }, input)) {
        seen.push(...keyNames(page.Contents), ...(page.CommonPrefixes ?? []).map(({ Prefix = "" }) => Prefix));
      }
      expect(seen.toSorted()).toEqual(["A", "a", "a/", "b", "b/", "z", "ä", "😀", "\uFFFD"].toSorted());
    }
    const deeper = await alice.send(new ListObjectsV2Command({ Bucket: "listing", Delimiter: "/", Prefix: "a/" }));
    expect(keyNames(deeper.Contents)).toEqual(["a/1", "a/2"]);
    expect(deeper.CommonPrefixes).toEqual([{ Prefix: "a/b/" }]);
  });

  test("with a made-up continuation token is refused", async () => {
    for (const ContinuationToken of ["x", "a2V5IA", Buffer.from("key \0").toString("base64url"), "a2V5IGE="]) {
      const listing = alice.send(new ListObjectsV2Command({ Bucket: "listing", ContinuationToken }));
      await expect(listing).rejects.toMatchObject({ name: "InvalidArgument" });
    }
  });
});
