import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { resolveUserId } from "../../../src/lib/identity/user-id.ts";
import { findLease } from "../../../src/lib/ingest/lease-table.ts";
import { signToken } from "../../support/api.ts";
import { type KuboProcess, startKubo } from "../../support/kubo-process.ts";
import { makeServingBox, type ServingBox, startTestServer, type TestServer } from "../../support/serving.ts";
import { blake3Cid, nodeOf, type StorageNode, startStorageNode } from "../../support/storage-node.ts";
import { settled, until } from "../../support/until.ts";

const VAULT = `0x${"ab".repeat(20)}`;
const SHA2_CID = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";

/** So many of which all but one have come may take most of a minute. */
const SLOW_BYTES = 700_000;

let kubo: KuboProcess;
let box: ServingBox;
let master: TestServer;
let node: StorageNode;

beforeAll(async () => {
  [kubo, box] = await Promise.all([
    startKubo(),
    makeServingBox({ billing: { vaultAddress: VAULT, freeTierBytes: 4_000_000 } }),
  ]);
  master = await startTestServer(box);
  node = await startStorageNode(nodeOf(box, kubo.api));
});
afterAll(async () => {
  await node[Symbol.asyncDispose]();
  await master[Symbol.asyncDispose]();
  await box[Symbol.asyncDispose]();
  await kubo[Symbol.asyncDispose]();
});

async function bearerOf(
  user: string,
  claims: Readonly<Record<string, unknown>> = {},
): Promise<{ readonly authorization: string }> {
  const secret = box.secrets["JWT_SECRET"] ?? "";
  const all = { sub: resolveUserId(user), scope: "storage:*", ...claims };
  return { authorization: `Bearer ${await signToken(secret, all)}` };
}

function isStored(cid: string): boolean {
  try {
    kubo.ipfs("block", "stat", "--offline", cid);
    return true;
  } catch {
    return false;
  }
}

/** A client that writes its request as it likes. */
async function rawClient(head: readonly string[]): Promise<{ readonly socket: Socket; readonly text: () => string }> {
  const socket = connect({ host: "127.0.0.1", port: node.port });
  let received = "";
  socket.setEncoding("latin1").on("data", (text: string) => {
    received += text;
  });
  socket.on("error", () => {});
  await once(socket, "connect");
  socket.write(`${head.join("\r\n")}\r\n\r\n`);
  return { socket, text: () => received };
}

describe("PUT /v0/block", () => {
  test("takes a block that hashes to its CID, holds it, and leases it to the account", async () => {
    const bytes = randomBytes(300_000);
    const cid = blake3Cid(bytes);
    const answer = await node.send(cid, bytes, await bearerOf("alice@example.com"));
    expect(answer).toMatchObject({ status: 200, json: { cid, size: 300_000 } });
    expect(isStored(cid)).toBe(true);
    expect(kubo.ipfs("pin", "ls", "--type=direct", "--names", cid)).toContain("fula-hold");
    const lease = await findLease(box.database.pool, resolveUserId("alice@example.com"), cid);
    expect(lease).toMatchObject({ bytes: 300_000 });
  });

  test("takes POST, chunked bodies and a right Content-MD5 as well, and the same block twice", async () => {
    const bytes = randomBytes(100_000);
    const cid = blake3Cid(bytes);
    const headers = await bearerOf("alice@example.com");
    const url = `http://127.0.0.1:${node.port}/v0/block?cid=${cid}`;
    const stream = new Blob([bytes]).stream();
    const chunked = await fetch(url, { method: "POST", headers, body: stream, duplex: "half" });
    expect([chunked.status, await chunked.json()]).toEqual([200, { cid, size: 100_000 }]);
    const md5 = createHash("md5").update(bytes).digest("base64");
    expect((await node.send(cid, bytes, { ...headers, "content-md5": md5 })).status).toBe(200);
  });

  test("stores nothing of a body that does not hash to its CID, and says what it hashes to", async () => {
    const bytes = randomBytes(1_000);
    const declared = blake3Cid(randomBytes(10));
    const answer = await node.send(declared, bytes, await bearerOf("alice@example.com"));
    expect(answer).toMatchObject({ status: 422, json: { declared, actual: blake3Cid(bytes) } });
    expect([isStored(declared), isStored(blake3Cid(bytes))]).toEqual([false, false]);
    expect(await findLease(box.database.pool, resolveUserId("alice@example.com"), declared)).toBeNull();
  });

  test.each([
    ["no cid", null, 400],
    ["what is no CID", "bafkr4i", 400],
    ["a CID of SHA2-256", SHA2_CID, 400],
  ])("refuses %s before it asks who sends it", async (_, cid, status) => {
    expect((await node.send(cid, "x")).status).toBe(status);
  });

  test("refuses whoever shows nothing, nothing that is known, or no right to write", async () => {
    const bytes = randomBytes(10);
    const cid = blake3Cid(bytes);
    const none = await node.send(cid, bytes);
    expect([none.status, none.headers.get("www-authenticate")]).toEqual([401, "Bearer"]);
    expect((await node.send(cid, bytes, { authorization: "Basic YTpi" })).status).toBe(401);
    expect((await node.send(cid, bytes, { authorization: "Bearer made-up" })).status).toBe(401);
    const reader = await bearerOf("alice@example.com", { scope: "storage:read" });
    expect((await node.send(cid, bytes, reader)).status).toBe(403);
    const past = await bearerOf("alice@example.com", { exp: Math.trunc(Date.now() / 1_000) - 10 });
    expect((await node.send(cid, bytes, past)).status).toBe(401);
    expect(isStored(cid)).toBe(false);
  });

  test("refuses who is suspended, and what the account has no room for, before a byte is read", async () => {
    const suspended = resolveUserId("suspended@example.com");
    await box.database.pool.query("insert into user_credits (user_id, is_suspended) values ($1, 1)", [suspended]);
    const bytes = randomBytes(10);
    const cid = blake3Cid(bytes);
    expect((await node.send(cid, bytes, await bearerOf("suspended@example.com"))).status).toBe(402);
    const headers = await bearerOf("full@example.com");
    for (const status of [200, 200, 402]) {
      const large = randomBytes(1_999_000);
      expect((await node.send(blake3Cid(large), large, headers)).status).toBe(status);
    }
    expect((await node.send(cid, bytes, headers)).status).toBe(200);
  });

  test("refuses the empty body, the one that is too long, and the wrong Content-MD5", async () => {
    const headers = await bearerOf("alice@example.com");
    const bytes = randomBytes(10);
    const cid = blake3Cid(bytes);
    expect((await node.send(cid, "", headers)).status).toBe(400);
    expect((await node.send(cid, bytes, { ...headers, "content-md5": "AAAAAAAAAAAAAAAAAAAAAA==" })).status).toBe(400);
    const { socket, text } = await rawClient([
      `PUT /v0/block?cid=${cid} HTTP/1.1`,
      "host: x",
      `authorization: ${headers.authorization}`,
      "content-length: 2097153",
      "expect: 100-continue",
    ]);
    await until("it is answered without a body", async () => text().includes("HTTP/1.1 413"));
    expect(text()).not.toContain("100 Continue");
    socket.destroy();
    const url = `http://127.0.0.1:${node.port}/v0/block?cid=${cid}`;
    const stream = new Blob([randomBytes(2_097_153)]).stream();
    const chunked = await fetch(url, { method: "PUT", headers, body: stream, duplex: "half" });
    expect(chunked.status).toBe(413);
    expect(isStored(cid)).toBe(false);
  });

  test("asks a client that waits for it for the body once it is known", async () => {
    const bytes = randomBytes(2_000);
    const cid = blake3Cid(bytes);
    const { authorization } = await bearerOf("alice@example.com");
    const { socket, text } = await rawClient([
      `PUT /v0/block?cid=${cid} HTTP/1.1`,
      "host: x",
      `authorization: ${authorization}`,
      "content-length: 2000",
      "expect: 100-continue",
      "connection: close",
    ]);
    await until("it is asked for", async () => text().includes("100 Continue"));
    socket.write(bytes);
    await until("it is taken", async () => text().includes("HTTP/1.1 200"));
    socket.destroy();
  });

  test("knows no other path and no other method", async () => {
    const base = `http://127.0.0.1:${node.port}`;
    const answers = await Promise.all([
      fetch(`${base}/v0/block?cid=x`),
      fetch(`${base}/v0/block?cid=x`, { method: "DELETE" }),
      fetch(`${base}/api/v0/id`, { method: "POST" }),
      fetch(`${base}//`),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([405, 405, 404, 404]);
    expect(answers[0]?.headers.get("allow")).toBe("PUT, POST");
  });

  test("gives up a body that is cut off, and stores nothing of it", async () => {
    const bytes = randomBytes(50_000);
    const cid = blake3Cid(bytes);
    const { authorization } = await bearerOf("cut@example.com");
    const head = [`PUT /v0/block?cid=${cid} HTTP/1.1`, "host: x", `authorization: ${authorization}`];
    const { socket } = await rawClient([...head, "content-length: 50000"]);
    socket.write(bytes.subarray(0, 20_000));
    await until(
      "it is being read",
      async () => (await metricOf('fula_http_requests_in_flight{listener="ingest"}')) === 1,
    );
    socket.destroy();
    await until("it is over", async () => (await metricOf('fula_http_requests_in_flight{listener="ingest"}')) === 0);
    expect(isStored(cid)).toBe(false);
  });

  test("lets an account have a few blocks open at the same time and refuses one more, while others get through", async () => {
    const { authorization } = await bearerOf("greedy@example.com");
    const bytes = randomBytes(SLOW_BYTES);
    const cid = blake3Cid(bytes);
    const head = [`PUT /v0/block?cid=${cid} HTTP/1.1`, "host: x", `authorization: ${authorization}`];
    const length = `content-length: ${SLOW_BYTES}`;
    const open = await Promise.all([1, 2, 3, 4].map(async () => await rawClient([...head, length])));
    for (const { socket } of open) socket.write(bytes.subarray(0, -1));
    await until("four are open", async () => (await metricOf('fula_http_requests_in_flight{listener="ingest"}')) === 4);
    const fifth = await node.send(cid, bytes, { authorization });
    expect([fifth.status, fifth.headers.get("retry-after")]).toEqual([429, "1"]);
    expect((await node.send(cid, bytes, await bearerOf("alice@example.com"))).status).toBe(200);
    for (const { socket } of open) socket.write(bytes.subarray(-1));
    await until("they are taken", async () => open.every(({ text }) => text().includes("HTTP/1.1 200")));
    for (const { socket } of open) socket.destroy();
  });

  test("32 slow clients do not keep a good one out", async () => {
    const bytes = randomBytes(SLOW_BYTES);
    const cid = blake3Cid(bytes);
    const slow = await Promise.all(
      Array.from({ length: 32 }, async (_, index) => {
        const { authorization } = await bearerOf(`slow-${index % 8}@example.com`);
        const head = [`PUT /v0/block?cid=${cid} HTTP/1.1`, "host: x", `authorization: ${authorization}`];
        return await rawClient([...head, `content-length: ${SLOW_BYTES}`]);
      }),
    );
    for (const { socket } of slow) socket.write(bytes.subarray(0, -1));
    const areOpen = async (): Promise<boolean> =>
      (await metricOf('fula_http_requests_in_flight{listener="ingest"}')) === 32;
    await until("they are open", areOpen);
    expect((await node.send(cid, bytes, await bearerOf("alice@example.com"))).status).toBe(200);
    // The good one may be counted for a moment longer.
    await until("they are still open", areOpen);
    for (const { socket } of slow) socket.destroy();
  });
});

async function metricOf(name: string): Promise<number | null> {
  const text = await (await fetch(`http://127.0.0.1:${node.opsPort}/metrics`)).text();
  const line = text.split("\n").find((each) => each.startsWith(`${name} `));
  return line === undefined ? null : Number(line.slice(name.length + 1));
}

describe("what operators see of it", () => {
  test("/health looks at Kubo and at the masters", async () => {
    const look = async (): Promise<readonly [number, { readonly status: string }]> => {
      const answer = await fetch(`http://127.0.0.1:${node.port}/health`);
      return [answer.status, JSON.parse(await answer.text())];
    };
    // Who takes longer to answer than it waits is said to be away.
    const found = await settled(look, ([, { status }]) => status === "ok");
    expect(found).toEqual([200, { status: "ok", kubo: true, masters: true }]);
  });

  test("answers and bytes are counted, and nothing that was written holds a credential", async () => {
    expect(await metricOf('fula_ingest_answers_total{status="200"}')).toBeGreaterThan(5);
    expect(await metricOf("fula_ingest_taken_bytes_total")).toBeGreaterThan(4_000_000);
    const { authorization } = await bearerOf("alice@example.com");
    const signature = authorization.split(".").at(-1) ?? "";
    const book = readFileSync(join(node.baseDir, "state", "ingest-holds.sqlite"), "latin1");
    for (const text of [node.logText(), master.logText(), book]) expect(text).not.toContain(signature);
  });
});
