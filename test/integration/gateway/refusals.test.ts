import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readdir, truncate } from "node:fs/promises";
import { request } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { base32upper } from "multiformats/bases/base32";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type LocalBlockStore, openLocalBlockStore } from "../../../src/lib/blocks/local.ts";
import { parseCid } from "../../../src/lib/blocks/cid.ts";
import { readDagPbLinks } from "../../support/dag-links.ts";
import type { AccessKeyPair } from "../../../src/lib/identity/access-key.ts";
import { readAccessKey, revokeAccessKey } from "../../../src/lib/identity/key-table.ts";
import { deriveSigningKey, renderScope } from "../../../src/lib/identity/signature.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { withPinCluster } from "../../../src/lib/stack/pinset.ts";
import { frameChunks } from "../../support/aws-chunks.ts";
import { type Answer, errorCodeOf, sendBytes, sendHttp, sendSigned, signNow } from "../../support/http.ts";
import { makeKey, makeServingBox, type ServingBox, startTestServer, type TestServer } from "../../support/serving.ts";
import { sha256Of } from "../../support/signing.ts";
import { until } from "../../support/until.ts";

const MAX_OBJECT_BYTES = 24 * 1024 * 1024;

let box: ServingBox;
let serving: TestServer;
let key: AccessKeyPair;
let port: number;
let blocks: LocalBlockStore;

beforeAll(async () => {
  box = await makeServingBox({ gateway: { maxObjectBytes: MAX_OBJECT_BYTES } });
  serving = await startTestServer(box);
  key = await makeKey(box);
  port = box.ports.gateway;
  blocks = await openLocalBlockStore(join(box.baseDir, "state/blocks"));
  expect((await sendSigned(port, key, { method: "PUT", path: "/photos" })).status).toBe(200);
});

afterAll(async () => {
  await serving[Symbol.asyncDispose]();
  await box[Symbol.asyncDispose]();
});

/** Everything that a PUT leaves: blocks, pins and objects. */
async function stored(): Promise<readonly [blocks: number, pins: number | null, objects: number]> {
  const { blocks: blockCount } = await blocks.usage();
  const pins = await withPinCluster(await box.load(), { clock: systemClock }, async (cluster) => await cluster.count());
  const { rows } = await box.database.pool.query<{ objects: string }>(
    "select sum(object_count) as objects from bucket_roots",
  );
  return [blockCount, pins, Number(rows[0]?.objects)];
}

async function put(
  path: string,
  body: Uint8Array,
  more: { readonly payload?: string; readonly headers?: readonly (readonly [string, string])[] } = {},
): Promise<Answer> {
  return await sendSigned(port, key, { method: "PUT", path, body, ...more });
}

describe("a PUT whose body is not what it says stores nothing at all", () => {
  // Large enough that blocks are written before the end of the body is known.
  const body = randomBytes(4_000_000);

  test.each([
    ["another SHA-256 than was signed", { payload: sha256Of("something else") }, "XAmzContentSHA256Mismatch"],
    ["another MD5", { headers: [["content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="]] }, "BadDigest"],
    ["another CRC32", { headers: [["x-amz-checksum-crc32", "AAAAAA=="]] }, "BadDigest"],
  ] as const)("%s", async (_what, more, expected) => {
    const before = await stored();
    const answer = await put("/photos/wrong", body, more);
    expect([answer.status, errorCodeOf(answer)]).toEqual([400, expected]);
    expect(await stored()).toEqual(before);
  });

  test("a body that ends early", async () => {
    const before = await stored();
    const headers = signNow(port, key, { method: "PUT", path: "/photos/short", payload: "UNSIGNED-PAYLOAD" });
    const lines = [...headers, ["content-length", "8000000"]].map(([name, value]) => `${name}: ${value}\r\n`).join("");
    const socket = connect({ host: "127.0.0.1", port });
    await once(socket, "connect");
    socket.write(`PUT /photos/short HTTP/1.1\r\n${lines}\r\n`);
    socket.write(body);
    await until("the first blocks are there", async () => (await blocks.usage()).blocks > before[0]);
    socket.destroy();
    await until("they are gone again", async () => (await blocks.usage()).blocks === before[0]);
    expect(await stored()).toEqual(before);
  });

  test("more bytes than an object may have", async () => {
    const before = await stored();
    const big = Buffer.alloc(MAX_OBJECT_BYTES + 1);
    const answer = await put("/photos/big", big, { payload: "UNSIGNED-PAYLOAD" });
    expect(errorCodeOf(answer)).toBe("EntityTooLarge");
    expect((await put("/photos/just", big.subarray(1))).status).toBe(200);
    expect((await sendSigned(port, key, { method: "DELETE", path: "/photos/just" })).status).toBe(204);
    // What the object was made of is left to the collector, pins and all.
    const [, , objects] = await stored();
    expect(objects).toBe(before[2]);
  });

  test("more bytes than an object may have, its length not announced", async () => {
    const before = await stored();
    const headers = signNow(port, key, { method: "PUT", path: "/photos/big", payload: "UNSIGNED-PAYLOAD" });
    const answer = await sendHttp(port, {
      method: "PUT",
      target: "/photos/big",
      headers: [...headers, ["transfer-encoding", "chunked"]],
      body: randomBytes(MAX_OBJECT_BYTES + 1),
    });
    expect(errorCodeOf(answer)).toBe("EntityTooLarge");
    expect(await stored()).toEqual(before);
  });

  test("into a bucket that is not there", async () => {
    const before = await stored();
    expect(errorCodeOf(await put("/absent-bucket/a", body))).toBe("NoSuchBucket");
    expect(await stored()).toEqual(before);
  });
});

describe("a body of signed chunks", () => {
  function send(
    path: string,
    chunks: readonly Uint8Array[],
    change: (framed: Buffer) => Buffer,
    trailer: boolean,
  ): Promise<Answer> {
    const size = Buffer.concat(chunks).byteLength;
    const headers = signNow(port, key, {
      method: "PUT",
      path,
      payload: trailer ? "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" : "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
      headers: [
        ["content-encoding", "aws-chunked"],
        ["x-amz-decoded-content-length", String(size)],
        ...(trailer ? ([["x-amz-trailer", "x-amz-checksum-crc32"]] as const) : []),
      ],
    });
    const timestamp = headers.find(([name]) => name === "x-amz-date")?.[1] ?? "";
    const seed = /Signature=(.*)$/.exec(headers.find(([name]) => name === "authorization")?.[1] ?? "")?.[1] ?? "";
    const scope = { date: timestamp.slice(0, 8), region: "us-east-1", service: "s3" };
    const framed = change(
      frameChunks(chunks, {
        seed: { signingKey: deriveSigningKey(key.secret.reveal(), scope), timestamp, scope: renderScope(scope), seed },
        trailers: trailer ? [["x-amz-checksum-crc32", "rwg7LQ=="]] : null,
      }),
    );
    const length = [["content-length", String(framed.byteLength)]] as const;
    return sendHttp(port, { method: "PUT", target: path, headers: [...headers, ...length], body: framed });
  }

  const hello = [Buffer.from("hello "), Buffer.from("world\n")];

  test.each([false, true])("is stored without its frame (trailer: %s)", async (trailer) => {
    expect((await send("/photos/chunks", hello, (framed) => framed, trailer)).status).toBe(200);
    const got = await sendSigned(port, key, { method: "GET", path: "/photos/chunks" });
    expect(got.body.toString()).toBe("hello world\n");
    expect(got.headers["content-encoding"]).toBeUndefined();
  });

  test("is refused when a byte of it was changed on the way, and stores nothing", async () => {
    const before = await stored();
    const chunks = [randomBytes(4_000_000), randomBytes(100_000)];
    const answer = await send(
      "/photos/tampered",
      chunks,
      (framed) => {
        framed[4_050_000] = (framed[4_050_000] ?? 0) ^ 1;
        return framed;
      },
      false,
    );
    expect([answer.status, errorCodeOf(answer)]).toEqual([403, "SignatureDoesNotMatch"]);
    expect(await stored()).toEqual(before);
  });
});

describe("who may not get in", () => {
  test("is told so in S3's words, also where there is no body to tell it in", async () => {
    const target = "/photos/a";
    const bare = await sendHttp(port, { method: "GET", target, headers: [["host", "x"]] });
    expect([bare.status, errorCodeOf(bare), bare.headers["content-type"]]).toEqual([
      403,
      "AccessDenied",
      "application/xml",
    ]);
    expect(bare.body.toString()).toContain(`<RequestId>${String(bare.headers["x-amz-request-id"])}</RequestId>`);
    const head = await sendHttp(port, { method: "HEAD", target, headers: [["host", "x"]] });
    expect([head.status, errorCodeOf(head), head.body.byteLength]).toEqual([403, "AccessDenied", 0]);
    const other = { keyId: "FULAAAAAAAAAAAAAAAAA", secret: key.secret };
    expect(errorCodeOf(await sendSigned(port, other, { method: "GET", path: target }))).toBe("InvalidAccessKeyId");
  });

  test("has a key that was revoked a moment ago", async () => {
    const pair = await makeKey(box);
    await revokeAccessKey(box.database.pool, { keyId: pair.keyId, owner: null, actor: "operator@test" });
    expect(errorCodeOf(await sendSigned(port, pair, { method: "GET", path: "/" }))).toBe("InvalidAccessKeyId");
  });

  test("has a key that may only read, or only write", async () => {
    const [reader, writer] = [
      await makeKey(box, undefined, ["storage:read"]),
      await makeKey(box, undefined, ["storage:write"]),
    ];
    const body = Buffer.from("x");
    expect(errorCodeOf(await sendSigned(port, reader, { method: "PUT", path: "/photos/x", body }))).toBe(
      "AccessDenied",
    );
    expect(errorCodeOf(await sendSigned(port, reader, { method: "DELETE", path: "/photos/x" }))).toBe("AccessDenied");
    expect((await sendSigned(port, writer, { method: "PUT", path: "/photos/x", body })).status).toBe(200);
    expect(errorCodeOf(await sendSigned(port, writer, { method: "GET", path: "/photos/x" }))).toBe("AccessDenied");
    expect((await sendSigned(port, reader, { method: "GET", path: "/photos/x" })).status).toBe(200);
  });

  test("signed a path that a proxy then folded", async () => {
    const headers = signNow(port, key, { method: "GET", path: "/photos/a/../x" });
    expect(errorCodeOf(await sendHttp(port, { method: "GET", target: "/photos/x", headers }))).toBe(
      "SignatureDoesNotMatch",
    );
  });

  test("has a bearer token of the wrong secret; the right one works for every call", async () => {
    const call = async (token: string, method: string, body?: Uint8Array): Promise<Answer> =>
      await sendHttp(port, {
        method,
        target: "/photos/bearer",
        headers: [
          ["host", "x"],
          ["authorization", `Bearer ${key.keyId}.${token}`],
          ...(body === undefined ? [] : [["content-length", "5"] as const]),
        ],
        ...(body === undefined ? {} : { body }),
      });
    const secret = key.secret.reveal();
    expect((await call(secret, "PUT", Buffer.from("hello"))).status).toBe(200);
    expect((await call(secret, "GET")).body.toString()).toBe("hello");
    expect((await call(secret, "DELETE")).status).toBe(204);
    expect(errorCodeOf(await call(`${secret}x`, "GET"))).toBe("InvalidToken");
  });
});

describe("a path", () => {
  test("named healthz is a probe when it is not signed and a bucket when it is", async () => {
    expect(
      (await sendHttp(port, { method: "GET", target: "/healthz", headers: [["host", "x"]] })).body.toString(),
    ).toBe("ok\n");
    const bucket = { path: "/healthz", query: "list-type=2" };
    expect(errorCodeOf(await sendSigned(port, key, { method: "GET", ...bucket }))).toBe("NoSuchBucket");
    expect((await sendSigned(port, key, { method: "PUT", path: "/healthz" })).status).toBe(200);
    expect((await sendSigned(port, key, { method: "GET", ...bucket })).status).toBe(200);
    expect((await sendSigned(port, key, { method: "DELETE", path: "/healthz" })).status).toBe(204);
  });

  test.each([
    ["/photos/%zz", "InvalidURI"],
    ["/photos/%FF", "InvalidURI"],
    ["/photos/a%00b", "InvalidArgument"],
    [`/photos/${"k".repeat(1_025)}`, "KeyTooLongError"],
    ["/UPPER/a", "InvalidBucketName"],
    ["//a", "InvalidBucketName"],
    ["/../../etc/passwd", "InvalidBucketName"],
  ])("%s is refused", async (path, expected) => {
    expect(errorCodeOf(await sendSigned(port, key, { method: "GET", path }))).toBe(expected);
  });
});

describe("what is no proper HTTP request is answered in S3's form too", () => {
  test.each([
    ["noise", "\u0016\u0003\u0001\u0002\u0000\r\n\r\n", 400, "InvalidRequest"],
    [
      "a header without end",
      `GET / HTTP/1.1\r\nhost: x\r\nx-long: ${"a".repeat(20_000)}\r\n\r\n`,
      431,
      "RequestHeaderSectionTooLarge",
    ],
    [
      "two lengths",
      "PUT /photos/a HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
      400,
      "InvalidRequest",
    ],
    [
      "a length and a chunked body",
      "PUT /photos/a HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
      400,
      "InvalidRequest",
    ],
  ])("%s", async (_what, bytes, status, code) => {
    const answer = await sendBytes(port, bytes);
    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(answer).toContain(`<Code>${code}</Code>`);
    expect(answer).toContain("x-amz-request-id: ");
  });

  test("a method that nobody knows", async () => {
    const answer = await sendSigned(port, key, { method: "PATCH", path: "/photos/a" });
    expect([answer.status, errorCodeOf(answer)]).toEqual([405, "MethodNotAllowed"]);
  });
});

describe("a client that waits for 100 Continue", () => {
  async function putExpecting(
    path: string,
    size: number,
  ): Promise<{ readonly continued: boolean; readonly status: number }> {
    const body = randomBytes(size);
    const headers = signNow(port, key, { method: "PUT", path, payload: "UNSIGNED-PAYLOAD" });
    const { promise, resolve, reject } = Promise.withResolvers<{ continued: boolean; status: number }>();
    let continued = false;
    const call = request({
      host: "127.0.0.1",
      port,
      method: "PUT",
      path,
      setHost: false,
      agent: false,
      headers: [...headers, ["content-length", String(size)], ["expect", "100-continue"]].flat(),
    });
    call.on("continue", () => {
      continued = true;
      call.end(body);
    });
    call.on("response", (response) => {
      response.resume();
      response.on("end", () => {
        resolve({ continued, status: response.statusCode ?? 0 });
        call.destroy();
      });
    });
    call.on("error", reject);
    call.flushHeaders();
    return await promise;
  }

  test("is told to go on where its request is in order", async () => {
    expect(await putExpecting("/photos/expected", 300_000)).toEqual({ continued: true, status: 200 });
  });

  test("is refused before it has sent a byte of its body", async () => {
    expect(await putExpecting("/absent-bucket/a", 300_000)).toEqual({ continued: false, status: 404 });
    expect(await putExpecting("/photos/huge", MAX_OBJECT_BYTES + 1)).toEqual({ continued: false, status: 400 });
  });
});

describe("content that the disk lost", () => {
  async function putLarge(name: string): Promise<{ readonly cid: string; readonly bytes: Buffer }> {
    const bytes = randomBytes(3 * 1024 * 1024);
    const answer = await put(`/photos/${name}`, bytes);
    return { cid: String(answer.headers["etag"]).replaceAll('"', ""), bytes };
  }

  async function fileOf(cid: string): Promise<string> {
    const name = `${base32upper.encode(parseCid(cid).multihash.bytes).slice(1)}.data`;
    const found = (await readdir(blocks.dir, { recursive: true })).find((path) => path.endsWith(name));
    if (found === undefined) throw new Error(`No file of ${cid}`);
    return join(blocks.dir, found);
  }

  test("in the middle cuts the connection, so that no client takes the part for the whole", async () => {
    const { cid } = await putLarge("cut");
    const links = readDagPbLinks(await blocks.get(parseCid(cid)));
    await truncate(await fileOf(links.at(-1) ?? ""), 100);
    await expect(sendSigned(port, key, { method: "GET", path: "/photos/cut" })).rejects.toMatchObject({
      code: "ECONNRESET",
    });
    const logged = await until("the request is logged", async () =>
      serving.logged.findLast(({ event, cutBy }) => event === "http.request" && cutBy === "server"),
    );
    expect(logged).toMatchObject({ level: "error", error: { code: "FULA_BLOCK_CORRUPT" } });
  });

  test("at the beginning is an error document that names it, and a line of the log", async () => {
    const { cid } = await putLarge("headless");
    await blocks.delete(parseCid(cid));
    const answer = await sendSigned(port, key, { method: "GET", path: "/photos/headless" });
    expect([answer.status, errorCodeOf(answer)]).toEqual([404, "NoSuchKey"]);
    expect(answer.headers).toMatchObject({ "x-fula-cid": cid, "x-fula-error": "FULA_BLOCK_MISSING" });
    const logged = await until("the request is logged", async () =>
      serving.logged.findLast(({ event, code }) => event === "http.request" && code === "NoSuchKey"),
    );
    expect(logged).toMatchObject({ level: "error", status: 404, error: { code: "FULA_BLOCK_MISSING" } });
    const metrics = await fetch(`http://127.0.0.1:${box.ports.server}/metrics`);
    expect(await metrics.text()).toMatch(/^fula_gateway_missed_blocks_total [1-9]/m);
  });
});

test("a client that leaves in the middle of a download is no failure of ours", async () => {
  const path = "/photos/left";
  await put(path, randomBytes(MAX_OBJECT_BYTES));
  const call = request({
    host: "127.0.0.1",
    port,
    path,
    agent: false,
    headers: signNow(port, key, { method: "GET", path }).flat(),
    setHost: false,
  });
  call.end();
  const [response] = await once(call, "response");
  await once(response, "readable");
  call.destroy();
  const logged = await until("the request is logged", async () =>
    serving.logged.findLast(({ operation, cutBy }) => operation === "GetObject" && cutBy === "client"),
  );
  expect(logged).toMatchObject({ event: "http.request", level: "info", code: null });
});

test("the use of a key is noted", async () => {
  const pair = await makeKey(box);
  await sendSigned(port, pair, { method: "GET", path: "/" });
  await until("it is written", async () => (await readAccessKey(box.database.pool, pair.keyId)).lastUsedAt);
});

test("two hundred uploads at once all arrive", async () => {
  const answers = await Promise.all(
    Array.from(
      { length: 200 },
      async (_, index) => await put(`/photos/many-${index}`, Buffer.from(`content ${index}`)),
    ),
  );
  expect(answers.filter(({ status }) => status !== 200)).toEqual([]);
});
