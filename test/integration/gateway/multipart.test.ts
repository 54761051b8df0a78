import { createHash, randomBytes } from "node:crypto";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  type CompletedPart,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { AccessKeyPair } from "../../../src/lib/identity/access-key.ts";
import { createCid, RAW_CODEC } from "../../../src/lib/blocks/cid.ts";
import { expireUploads, openPartBytes, putPart } from "../../../src/lib/gateway/multipart-table.ts";
import { ownerIdOf, resolveUserId } from "../../../src/lib/identity/user-id.ts";
import { errorCodeOf, sendSigned } from "../../support/http.ts";
import {
  makeKey,
  makeServingBox,
  s3Client,
  type ServingBox,
  startTestServer,
  type TestServer,
} from "../../support/serving.ts";

const KIB = 1024;
const BUCKET = "parts";

let box: ServingBox;
let serving: TestServer;
let key: AccessKeyPair;
let client: S3Client;

beforeAll(async () => {
  box = await makeServingBox();
  serving = await startTestServer(box);
  key = await makeKey(box);
  client = s3Client(box, key);
  await client.send(new CreateBucketCommand({ Bucket: BUCKET }));
});

afterAll(async () => {
  client.destroy();
  await serving[Symbol.asyncDispose]();
  await box[Symbol.asyncDispose]();
});

async function begin(name: string, more: object = {}): Promise<string> {
  const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket: BUCKET, Key: name, ...more }));
  return UploadId ?? "";
}

async function part(name: string, uploadId: string, number: number, body: Uint8Array): Promise<CompletedPart> {
  const { ETag } = await client.send(
    new UploadPartCommand({ Bucket: BUCKET, Key: name, UploadId: uploadId, PartNumber: number, Body: body }),
  );
  return { ETag, PartNumber: number };
}

async function complete(name: string, uploadId: string, parts: CompletedPart[], more: object = {}): Promise<string> {
  const { ETag } = await client.send(
    new CompleteMultipartUploadCommand({
      Bucket: BUCKET,
      Key: name,
      UploadId: uploadId,
      MultipartUpload: { Parts: parts },
      ...more,
    }),
  );
  return ETag ?? "";
}

async function read(name: string, range?: string): Promise<Buffer> {
  const { Body } = await client.send(
    new GetObjectCommand({ Bucket: BUCKET, Key: name, ...(range !== undefined && { Range: range }) }),
  );
  return Buffer.from((await Body?.transformToByteArray()) ?? []);
}

async function codeOf(sending: Promise<unknown>): Promise<string> {
  try {
    await sending;
  } catch (error) {
    return error instanceof Error ? error.name : String(error);
  }
  return "accepted";
}

async function garbage(): Promise<readonly string[]> {
  const { rows } = await box.database.pool.query<{ cid: string }>("select cid from bucket_garbage");
  return rows.map(({ cid }) => cid);
}

describe("an upload in parts", () => {
  test("becomes one object of their bytes, with what its creation said", async () => {
    const bytes = [randomBytes(700 * KIB), randomBytes(300 * KIB), randomBytes(1)];
    const id = await begin("whole", { ContentType: "video/mp4", Metadata: { color: "blue" }, Tagging: "a=b" });
    const parts = await Promise.all(bytes.map(async (body, index) => await part("whole", id, index + 1, body)));
    const etag = await complete("whole", id, parts);
    expect(etag).toMatch(/^"[0-9a-f]{32}-3"$/);
    expect(Buffer.compare(await read("whole"), Buffer.concat(bytes))).toBe(0);
    const head = await client.send(new HeadObjectCommand({ Bucket: BUCKET, Key: "whole" }));
    expect(head).toMatchObject({ ContentType: "video/mp4", Metadata: { color: "blue" }, ETag: etag });
    const border = 700 * KIB;
    const across = await read("whole", `bytes=${border - 10}-${border + 9}`);
    expect(Buffer.compare(across, Buffer.concat(bytes).subarray(border - 10, border + 10))).toBe(0);
  });

  test("takes no part whose content was kept too long ago to be referred to: the collector may have it soon", async () => {
    const id = await begin("late");
    const content = createCid(RAW_CODEC, Buffer.from("late part")).toString();
    const record = { partNumber: 1, content, sizeBytes: 9, dagBytes: 9, etag: content, checksums: {} };
    await box.database.pool.query("insert into bucket_garbage (cid) values ($1)", [content]);
    expect(await putPart(box.database.pool, id, record, 0)).toBe("late");
    expect(await garbage()).toContain(content);
    expect(await putPart(box.database.pool, id, record, Date.now() + 60_000)).toBe("put");
    expect(await garbage()).not.toContain(content);
    await client.send(new AbortMultipartUploadCommand({ Bucket: BUCKET, Key: "late", UploadId: id }));
  });

  test("by lib-storage arrives, with a checksum of the whole", async () => {
    const body = randomBytes(11 * KIB * KIB);
    const upload = new Upload({
      client,
      partSize: 5 * KIB * KIB,
      params: { Bucket: BUCKET, Key: "library", Body: body, ChecksumAlgorithm: "CRC64NVME" },
    });
    const done = await upload.done();
    expect(done.ChecksumCRC64NVME).toMatch(/^[A-Za-z0-9+/]{11}=$/);
    expect(Buffer.compare(await read("library"), body)).toBe(0);
  });

  test("goes on after a restart, at another master, and is listed there", async () => {
    const id = await begin("moved");
    const first = await part("moved", id, 1, Buffer.from("one "));
    await serving[Symbol.asyncDispose]();
    serving = await startTestServer(box);
    const second = await part("moved", id, 2, Buffer.from("two"));
    const listed = await client.send(new ListPartsCommand({ Bucket: BUCKET, Key: "moved", UploadId: id }));
    expect(listed.Parts?.map(({ PartNumber, ETag, Size }) => [PartNumber, ETag, Size])).toEqual([
      [1, first.ETag, 4],
      [2, second.ETag, 3],
    ]);
    await complete("moved", id, [first, second]);
    expect((await read("moved")).toString()).toBe("one two");
  });

  test("takes only the parts that the client names, and gives the others up", async () => {
    const id = await begin("some");
    await part("some", id, 1, Buffer.from("never"));
    const one = await part("some", id, 1, Buffer.from("one"));
    const two = await part("some", id, 2, Buffer.from("two"));
    const nine = await part("some", id, 9, Buffer.from("nine"));
    const ownerId = ownerIdOf(resolveUserId("alice@example.com"));
    const heldBytes = await openPartBytes(box.database.pool, ownerId);
    await complete("some", id, [one, nine]);
    expect(heldBytes - (await openPartBytes(box.database.pool, ownerId))).toBe("onetwonine".length);
    expect((await read("some")).toString()).toBe("onenine");
    expect(await garbage()).toEqual(
      expect.arrayContaining([one, two, nine].map(({ ETag }) => (ETag ?? "").replaceAll('"', ""))),
    );
  });

  test("is completed again, after a lost answer or by two at once, with the same answer and one object", async () => {
    const id = await begin("again");
    const parts = [await part("again", id, 1, Buffer.from("a")), await part("again", id, 2, Buffer.from("b"))];
    const condition = { IfNoneMatch: "*" };
    const etags = await Promise.all([1, 2, 3].map(async () => await complete("again", id, parts, condition)));
    expect(new Set(etags).size).toBe(1);
    expect(await complete("again", id, parts, condition)).toBe(etags[0]);
    expect((await read("again")).toString()).toBe("ab");
  });

  test("is refused by a condition, stays open, and can be completed without it", async () => {
    await client.send(new PutObjectCommand({ Bucket: BUCKET, Key: "taken", Body: "here" }));
    const id = await begin("taken");
    const parts = [await part("taken", id, 1, Buffer.from("late"))];
    expect(await codeOf(complete("taken", id, parts, { IfNoneMatch: "*" }))).toBe("PreconditionFailed");
    expect((await read("taken")).toString()).toBe("here");
    await complete("taken", id, parts);
    expect((await read("taken")).toString()).toBe("late");
  });

  test("is aborted with its parts, and gone for everybody", async () => {
    const id = await begin("gone");
    const one = await part("gone", id, 1, Buffer.from("gone for ever"));
    await client.send(new AbortMultipartUploadCommand({ Bucket: BUCKET, Key: "gone", UploadId: id }));
    expect(await garbage()).toContain((one.ETag ?? "").replaceAll('"', ""));
    expect(await codeOf(part("gone", id, 2, Buffer.from("x")))).toBe("NoSuchUpload");
    expect(await codeOf(complete("gone", id, [one]))).toBe("NoSuchUpload");
  });

  test("that is aborted while it is completed is either an object or nothing", async () => {
    for (let round = 0; round < 8; round += 1) {
      const name = `race-${round}`;
      const id = await begin(name);
      const parts = [await part(name, id, 1, Buffer.from(name))];
      const abort = client.send(new AbortMultipartUploadCommand({ Bucket: BUCKET, Key: name, UploadId: id }));
      const [completed, aborted] = await Promise.all([codeOf(complete(name, id, parts)), codeOf(abort)]);
      const exists = (await codeOf(client.send(new HeadObjectCommand({ Bucket: BUCKET, Key: name })))) === "accepted";
      expect([round, exists]).toEqual([round, completed === "accepted"]);
      expect([completed, aborted].filter((code) => code === "accepted")).toHaveLength(1);
    }
  });

  test("with which nobody does anything is given up", async () => {
    const id = await begin("idle");
    await part("idle", id, 1, Buffer.from("idle"));
    await box.database.pool.query(
      "update multipart_uploads set active_at = active_at - interval '25 hours' where upload_id = $1",
      [id],
    );
    expect(await expireUploads(box.database.pool, { idleMs: 86_400_000, limit: 16 })).toBe(1);
    expect(await codeOf(part("idle", id, 2, Buffer.from("x")))).toBe("NoSuchUpload");
  });
});

describe("a list of parts", () => {
  test.each([
    [
      "a part that was never uploaded",
      (parts: CompletedPart[]) => [...parts, { PartNumber: 7, ETag: "x" }],
      "InvalidPart",
    ],
    ["another ETag", ([one]: CompletedPart[]) => [{ ...one, ETag: "x" }], "InvalidPart"],
    ["another order", (parts: CompletedPart[]) => parts.toReversed(), "InvalidPartOrder"],
    ["a part twice", ([one]: CompletedPart[]) => [one ?? {}, one ?? {}], "InvalidPartOrder"],
    ["nothing", () => [], "MalformedXML"],
  ] as const)("with %s is refused, and the upload is as it was", async (_what, change, expected) => {
    const id = await begin("list");
    const parts = [await part("list", id, 1, Buffer.from("1")), await part("list", id, 2, Buffer.from("2"))];
    expect(await codeOf(complete("list", id, change(parts)))).toBe(expected);
    expect(await codeOf(complete("list", id, parts))).toBe("accepted");
  });
});

describe("a part", () => {
  test("can be an object, or a piece of one, that is there already", async () => {
    await client.send(new PutObjectCommand({ Bucket: BUCKET, Key: "source", Body: "0123456789" }));
    const id = await begin("copied");
    const copy = async (number: number, more: object = {}): Promise<CompletedPart> => {
      const { CopyPartResult } = await client.send(
        new UploadPartCopyCommand({
          Bucket: BUCKET,
          Key: "copied",
          UploadId: id,
          PartNumber: number,
          CopySource: `${BUCKET}/source`,
          ...more,
        }),
      );
      return { PartNumber: number, ETag: CopyPartResult?.ETag };
    };
    const parts = [await copy(1), await copy(2, { CopySourceRange: "bytes=2-5" })];
    await complete("copied", id, parts);
    expect((await read("copied")).toString()).toBe("01234567892345");
    expect(await codeOf(copy(3, { CopySourceRange: "bytes=5-10" }))).toBe("NoSuchUpload");
    const other = await begin("other");
    const outside = new UploadPartCopyCommand({
      Bucket: BUCKET,
      Key: "other",
      UploadId: other,
      PartNumber: 1,
      CopySource: `${BUCKET}/source`,
      CopySourceRange: "bytes=5-10",
    });
    expect(await codeOf(client.send(outside))).toBe("InvalidRange");
  });

  test("of another algorithm than its upload's is refused, and one without is summed up here", async () => {
    const id = await begin("sums", { ChecksumAlgorithm: "SHA256" });
    const target = { method: "PUT", path: `/${BUCKET}/sums`, body: Buffer.from("hello world\n") };
    const query = `partNumber=1&uploadId=${id}`;
    const wrong = await sendSigned(box.ports.gateway, key, {
      ...target,
      query,
      headers: [["x-amz-checksum-crc32", "rwg7LQ=="]],
    });
    expect(errorCodeOf(wrong)).toBe("InvalidRequest");
    const answer = await sendSigned(box.ports.gateway, key, { ...target, query });
    const sha256 = createHash("sha256").update(target.body).digest("base64");
    expect(answer.headers["x-amz-checksum-sha256"]).toBe(sha256);
  });

  test.each(["0", "10001", "-1", "1.5", "abc", ""])("has no number %j", async (number) => {
    const answer = await sendSigned(box.ports.gateway, key, {
      method: "PUT",
      path: `/${BUCKET}/numbers`,
      query: `partNumber=${number}&uploadId=x`,
      body: Buffer.from("x"),
    });
    expect([answer.status, errorCodeOf(answer)]).toEqual([400, "InvalidArgument"]);
  });
});

describe("who did not begin an upload", () => {
  test("finds it by no route, and changes nothing", async () => {
    const id = await begin("mine");
    const one = await part("mine", id, 1, Buffer.from("mine"));
    const stranger = s3Client(box, await makeKey(box, "mallory@example.com"));
    await stranger.send(new CreateBucketCommand({ Bucket: BUCKET }));
    const target = { Bucket: BUCKET, Key: "mine", UploadId: id };
    const codes = await Promise.all([
      codeOf(stranger.send(new UploadPartCommand({ ...target, PartNumber: 1, Body: "theirs" }))),
      codeOf(stranger.send(new ListPartsCommand(target))),
      codeOf(stranger.send(new CompleteMultipartUploadCommand({ ...target, MultipartUpload: { Parts: [one] } }))),
      codeOf(stranger.send(new AbortMultipartUploadCommand(target))),
    ]);
    expect(new Set(codes)).toEqual(new Set(["NoSuchUpload"]));
    const { Uploads } = await stranger.send(new ListMultipartUploadsCommand({ Bucket: BUCKET }));
    expect(Uploads ?? []).toEqual([]);
    stranger.destroy();
    const elsewhere = { ...target, Key: "other-key" };
    expect(await codeOf(client.send(new AbortMultipartUploadCommand(elsewhere)))).toBe("NoSuchUpload");
    await complete("mine", id, [one]);
    expect((await read("mine")).toString()).toBe("mine");
  });
});

test("open uploads are listed page by page, folders once", async () => {
  await client.send(new CreateBucketCommand({ Bucket: "listing" }));
  const names = ["a/1", "a/2", "b", "b", "c/1", "d"];
  for (const name of names) {
    await client.send(new CreateMultipartUploadCommand({ Bucket: "listing", Key: name }));
  }
  for (const size of [1, 2, 3, 10]) {
    const found: string[] = [];
    let marker: { KeyMarker?: string | undefined; UploadIdMarker?: string | undefined } = {};
    for (;;) {
      const page = await client.send(
        new ListMultipartUploadsCommand({ Bucket: "listing", Delimiter: "/", MaxUploads: size, ...marker }),
      );
      const prefixes = (page.CommonPrefixes ?? []).map(({ Prefix }) => Prefix ?? "");
      found.push(...[...(page.Uploads ?? []).map((upload) => upload.Key ?? ""), ...prefixes].toSorted());
      if (page.IsTruncated !== true) break;
      marker = { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker };
    }
    expect([size, found.toSorted()]).toEqual([size, ["a/", "b", "b", "c/", "d"]]);
  }
});

describe("DeleteObjects", () => {
  test("deletes every key, whatever characters it has, and tells of each; Quiet tells of failures alone", async () => {
    const keys = ["plain", `&<>"'`, "é/ü", "tab\tline\nreturn\r", "\u0001\u001f", "a+b c%2F", " "];
    for (const name of keys) await client.send(new PutObjectCommand({ Bucket: BUCKET, Key: `del/${name}`, Body: "x" }));
    const document = (names: readonly string[], more = ""): Buffer =>
      Buffer.from(
        `<Delete>${names
          .map(
            (name) =>
              `<Object><Key>${Array.from(name, (char) => `&#${char.codePointAt(0) ?? 0};`).join("")}</Key>${more}</Object>`,
          )
          .join("")}<Quiet>${more === "" ? "false" : "true"}</Quiet></Delete>`,
      );
    const send = async (body: Buffer): Promise<string> => {
      const answer = await sendSigned(box.ports.gateway, key, {
        method: "POST",
        path: `/${BUCKET}`,
        query: "delete",
        body,
      });
      return answer.body.toString();
    };
    const told = await send(document([...keys.map((name) => `del/${name}`), "del/absent"]));
    expect(told.match(/<Deleted>/g)).toHaveLength(keys.length + 1);
    expect(told).toContain("<Key>del/&#x1;&#x1f;</Key>");
    for (const name of keys) {
      expect(await codeOf(client.send(new HeadObjectCommand({ Bucket: BUCKET, Key: `del/${name}` })))).toBe("NotFound");
    }
    await client.send(new PutObjectCommand({ Bucket: BUCKET, Key: "del/kept", Body: "x" }));
    const quiet = await send(document(["del/kept", "del/absent"], "<ETag>other</ETag>"));
    expect(quiet.match(/<Code>[^<]*/g)).toEqual(["<Code>PreconditionFailed", "<Code>NoSuchKey"]);
  });

  test("of the SDK takes a thousand keys in one flush, and refuses more", async () => {
    const Objects = Array.from({ length: 1_000 }, (_, index) => ({ Key: `many/${index}` }));
    const { Deleted } = await client.send(new DeleteObjectsCommand({ Bucket: BUCKET, Delete: { Objects } }));
    expect(Deleted).toHaveLength(1_000);
    const more = new DeleteObjectsCommand({ Bucket: BUCKET, Delete: { Objects: [...Objects, { Key: "one" }] } });
    expect(await codeOf(client.send(more))).toBe("MalformedXML");
  });
});
