import { once } from "node:events";
import { request } from "node:http";
import { connect, type Socket } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { AccessKeyPair } from "../../../src/lib/identity/access-key.ts";
import { type Answer, errorCodeOf, sendHttp, sendSigned, signNow } from "../../support/http.ts";
import { makeKey, makeServingBox, type ServingBox, startTestServer, type TestServer } from "../../support/serving.ts";
import { presign } from "../../support/signing.ts";
import { until } from "../../support/until.ts";

const MIB = 1024 * 1024;
const BODY = Buffer.from("0123456789");

let box: ServingBox;
let serving: TestServer;
let key: AccessKeyPair;
let port: number;
let uploadId: string;

beforeAll(async () => {
  box = await makeServingBox();
  serving = await startTestServer(box);
  key = await makeKey(box);
  port = box.ports.gateway;
  await sendSigned(port, key, { method: "PUT", path: "/photos" });
  await sendSigned(port, key, { method: "PUT", path: "/photos/ten", body: BODY });
  const begun = await sendSigned(port, key, { method: "POST", path: "/photos/parts", query: "uploads" });
  uploadId = /<UploadId>([0-9a-f]+)</.exec(begun.body.toString())?.[1] ?? "";
});

afterAll(async () => {
  await serving[Symbol.asyncDispose]();
  await box[Symbol.asyncDispose]();
});

async function post(path: string, query: string, body: Uint8Array): Promise<Answer> {
  const length = [["content-length", String(body.byteLength)]] as const;
  const method = query === "tagging" ? "PUT" : "POST";
  const headers = [...signNow(port, key, { method, path, query, payload: "UNSIGNED-PAYLOAD" }), ...length];
  return await sendHttp(port, { method, target: `${path}?${query}`, headers, body });
}

describe("a document that is no proper XML is MalformedXML, whatever operation takes it", () => {
  const bombs: readonly (readonly [string, Buffer])[] = [
    ["entities that expand", Buffer.from('<!DOCTYPE d [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><d>&b;</d>')],
    ["a million elements", Buffer.from(`<d>${"<e/>".repeat(1_000_000)}</d>`)],
    ["nesting without end", Buffer.from("<d>".repeat(50_000))],
    ["bytes that are no UTF-8", Buffer.from([0x3c, 0x64, 0x3e, 0xff, 0xfe, 0x3c, 0x2f, 0x64, 0x3e])],
    ["half of it", Buffer.from("<Delete><Object><Key>a</Ke")],
    ["nothing", Buffer.alloc(0)],
  ];
  test.each(bombs)("%s", async (_what, body) => {
    const answers = await Promise.all([
      post("/photos", "delete", body),
      post("/photos/parts", `uploadId=${uploadId}`, body),
      post("/photos/ten", "tagging", body),
    ]);
    expect(answers.map((answer) => [answer.status, errorCodeOf(answer)])).toEqual(
      answers.map(() => [400, "MalformedXML"]),
    );
  });
});

test("a request to delete a million keys is refused after a few megabytes of it", async () => {
  const object = Buffer.from("<Object><Key>a key of some length, as they are</Key></Object>");
  const total = object.byteLength * 1_000_000;
  const call = request({
    host: "127.0.0.1",
    port,
    method: "POST",
    path: "/photos?delete",
    agent: false,
    setHost: false,
    headers: [
      ...signNow(port, key, { method: "POST", path: "/photos", query: "delete", payload: "UNSIGNED-PAYLOAD" }),
      ["transfer-encoding", "chunked"],
    ].flat(),
  });
  let sent = 0;
  const pieces = function* (): Generator<Buffer> {
    yield Buffer.from("<Delete>");
    const piece = Buffer.concat(Array.from({ length: 1_000 }, () => object));
    for (; sent < total; sent += piece.byteLength) yield piece;
  };
  const answered = once(call, "response");
  pipeline(Readable.from(pieces()), call).catch(() => {});
  const [response] = await answered;
  expect(response.headers["x-amz-error-code"]).toBe("MalformedXML");
  response.resume();
  // Eight of it, and what buffers on the way hold.
  expect(sent).toBeLessThan(32 * MIB);
  call.destroy();
});

describe("a range", () => {
  test.each([
    ["bytes=-0", 416, "InvalidRange"],
    ["bytes=10-", 416, "InvalidRange"],
    ["bytes=10-20", 416, "InvalidRange"],
    ["bytes=99999999999999-", 416, "InvalidRange"],
    ["bytes=5-2", 400, "InvalidArgument"],
    ["bytes=-5-2", 400, "InvalidArgument"],
    ["bytes=-", 400, "InvalidArgument"],
    ["bytes=9999999999999999999999-", 416, "InvalidRange"],
    ["bytes=0-1,2-3", 501, "NotImplemented"],
  ])("%s of ten bytes is %i %s", async (range, status, code) => {
    const answer = await sendSigned(port, key, { method: "GET", path: "/photos/ten", headers: [["range", range]] });
    expect([answer.status, errorCodeOf(answer)]).toEqual([status, code]);
  });

  test("that ends behind the object ends with it", async () => {
    const headers = [["range", "bytes=8-99999999999999"]] as const;
    const answer = await sendSigned(port, key, { method: "GET", path: "/photos/ten", headers });
    expect([answer.status, answer.body.toString()]).toEqual([206, "89"]);
  });
});

describe("a name", () => {
  test("of 1,024 bytes is taken as it is, one of 1,025 is not, by any operation", async () => {
    const longest = `/photos/${"k".repeat(1_024)}`;
    expect((await sendSigned(port, key, { method: "PUT", path: longest, body: BODY })).status).toBe(200);
    expect((await sendSigned(port, key, { method: "GET", path: longest })).body.toString()).toBe("0123456789");
    for (const method of ["PUT", "GET", "HEAD", "DELETE"]) {
      const answer = await sendSigned(port, key, { method, path: `${longest}k` });
      expect([method, errorCodeOf(answer)]).toEqual([method, "KeyTooLongError"]);
    }
    const document = Buffer.from(`<Delete><Object><Key>${"k".repeat(1_025)}</Key></Object></Delete>`);
    expect((await post("/photos", "delete", document)).body.toString()).toContain("<Code>KeyTooLongError</Code>");
    const copy = [["x-amz-copy-source", `/photos/${"k".repeat(1_025)}`]] as const;
    const copied = await sendSigned(port, key, { method: "PUT", path: "/photos/copy", headers: copy });
    expect(errorCodeOf(copied)).toBe("KeyTooLongError");
  });

  test("with dots, slashes and escapes is a key like any other and leads nowhere else", async () => {
    const names = ["a/../b", "../../etc/passwd", "./.", "/", "//", "a//b", "%2e%2e/%2e%2e", "%25", "\\..\\a", "~"];
    const outcomes = await Promise.all(
      names.map(async (name) => {
        const path = `/photos/tricks/${name}`;
        const put = await sendSigned(port, key, { method: "PUT", path, body: Buffer.from(name) });
        const got = await sendSigned(port, key, { method: "GET", path });
        const removed = await sendSigned(port, key, { method: "DELETE", path });
        return [put.status, got.body.toString(), removed.status];
      }),
    );
    expect(outcomes).toEqual(names.map((name) => [200, name, 204]));
  });

  test.each(["prefix=%FF", "prefix=a%00", "delimiter=%C3", "max-keys=-1", "max-keys=1e3", "continuation-token=x"])(
    "in a listing is refused: %s",
    async (query) => {
      const answer = await sendSigned(port, key, { method: "GET", path: "/photos", query: `list-type=2&${query}` });
      expect(answer.status).toBe(400);
      expect(["InvalidURI", "InvalidArgument"]).toContain(errorCodeOf(answer));
    },
  );
});

describe("a body that comes in drops", () => {
  async function drip(path: string): Promise<Socket> {
    const headers = signNow(port, key, { method: "PUT", path, payload: "UNSIGNED-PAYLOAD" });
    const lines = [...headers, ["content-length", "1000000"]].map(([name, value]) => `${name}: ${value}\r\n`).join("");
    const socket = connect({ host: "127.0.0.1", port });
    await once(socket, "connect");
    socket.write(`PUT ${path} HTTP/1.1\r\n${lines}\r\nx`);
    return socket;
  }

  test("keeps nobody else from being served, and leaves nothing when its sender goes", async () => {
    const slow = await Promise.all(Array.from({ length: 64 }, async (_, index) => await drip(`/photos/slow-${index}`)));
    expect((await sendSigned(port, key, { method: "PUT", path: "/photos/fast", body: BODY })).status).toBe(200);
    for (const socket of slow) socket.destroy();
    await until("all are given up", async () => {
      const cut = serving.logged.filter(({ event, cutBy }) => event === "http.request" && cutBy === "client");
      return cut.length >= slow.length;
    });
    const listed = await sendSigned(port, key, { method: "GET", path: "/photos", query: "list-type=2&prefix=slow" });
    expect(listed.body.toString()).toContain("<KeyCount>0</KeyCount>");
  });

  test("and is longer than it says is taken up to there at most, and the rest is no request", async () => {
    const headers = signNow(port, key, { method: "PUT", path: "/photos/said", payload: "UNSIGNED-PAYLOAD" });
    const lines = [...headers, ["content-length", "3"]].map(([name, value]) => `${name}: ${value}\r\n`).join("");
    const socket = connect({ host: "127.0.0.1", port });
    socket.setEncoding("latin1");
    let received = "";
    socket.on("data", (text: string) => {
      received += text;
    });
    socket.write(`PUT /photos/said HTTP/1.1\r\n${lines}\r\n0123456789`);
    await once(socket, "close");
    expect(received).toContain("<Code>InvalidRequest</Code>");
    const got = await sendSigned(port, key, { method: "GET", path: "/photos/said" });
    expect(got.status === 404 ? "012" : got.body.toString()).toBe("012");
  });
});

describe("a presigned URL", () => {
  function presigned(method: string, path: string, query = "", secondsAgo = 0): string {
    const timestamp = new Date(Date.now() - secondsAgo * 1_000).toISOString().replaceAll(/[-:]|\.\d{3}/g, "");
    const scope = { date: timestamp.slice(0, 8), region: "us-east-1", service: "s3" };
    const access = { ...key, userId: "", scopes: [], revoked: false };
    const host = `127.0.0.1:${port}`;
    return `${path}?${presign({ method, path, query, host, timestamp, expiresSeconds: 60 }, access, scope)}`;
  }
  const host = (): readonly (readonly [string, string])[] => [["host", `127.0.0.1:${port}`]];

  test("puts, gets, lists and deletes for whoever has it, parts of an upload too, until it expires", async () => {
    const body = Buffer.from("by a browser");
    const sized = [...host(), ["content-length", String(body.byteLength)]] as const;
    const path = "/photos/presigned";
    expect((await sendHttp(port, { method: "PUT", target: presigned("PUT", path), headers: sized, body })).status).toBe(
      200,
    );
    const got = await sendHttp(port, { method: "GET", target: presigned("GET", path), headers: host() });
    expect(got.body.toString()).toBe("by a browser");
    const list = presigned("GET", "/photos", "list-type=2&prefix=presigned");
    expect((await sendHttp(port, { method: "GET", target: list, headers: host() })).body.toString()).toContain(
      "<KeyCount>1<",
    );
    const part = presigned("PUT", "/photos/parts", `partNumber=1&uploadId=${uploadId}`);
    expect((await sendHttp(port, { method: "PUT", target: part, headers: sized, body })).status).toBe(200);
    const removal = presigned("DELETE", path);
    expect((await sendHttp(port, { method: "DELETE", target: removal, headers: host() })).status).toBe(204);
    const late = await sendHttp(port, { method: "GET", target: presigned("GET", path, "", 61), headers: host() });
    expect([late.status, errorCodeOf(late)]).toEqual([403, "AccessDenied"]);
  });

  test("is good for its method and path alone, and takes no header that changes what it means", async () => {
    const target = presigned("GET", "/photos/ten");
    expect(errorCodeOf(await sendHttp(port, { method: "DELETE", target, headers: host() }))).toBe(
      "SignatureDoesNotMatch",
    );
    const copy = [...host(), ["x-amz-copy-source", "/photos/ten"]] as const;
    const changed = await sendHttp(port, { method: "PUT", target: presigned("PUT", "/photos/x"), headers: copy });
    expect(errorCodeOf(changed)).toBe("AccessDenied");
  });
});

test("nothing of all this was an error of ours", () => {
  expect(serving.logged.filter(({ level }) => level === "error")).toEqual([]);
});
