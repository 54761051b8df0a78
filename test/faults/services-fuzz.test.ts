import { afterAll, beforeAll, expect, test } from "vitest";
import { resolveUserId } from "../../src/lib/identity/user-id.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import type { Random } from "../../src/lib/kernel/random.ts";
import { signToken } from "../support/api.ts";
import { pick } from "../support/http-fuzz.ts";
import { fuzzHttp, fuzzPatienceMs } from "../support/http-fuzz-run.ts";
import { drawServiceRequest, findServiceFault, type ServiceWords } from "../support/http-fuzz-services.ts";
import { makeKey, makeServingBox, type ServingBox, startTestServer, type TestServer } from "../support/serving.ts";
import { TEST_CLUSTER_ID } from "../support/storage-node.ts";
import { TestWallet } from "../support/wallet-tokens.ts";

const SEEDS = 40;
const SEEDS_AT_ONCE = 8;

const CIDS = [
  "bafkr4ifpcne3t5pzugtkaqcn5i3nzskjtpfslsnnyejlpte2spfoihzsmi",
  "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn",
  "bafkqaaa",
  "bafk",
  "",
  "'; drop table pins; --",
  "b".repeat(600),
];
const NAMES = ["holiday", "", "\u0000", "\ud800", "n".repeat(256), "%", "_", "\\", "é", "__proto__"];
const ORIGINS = ["/ip4/127.0.0.1/tcp/4001", "/dns4/x", "http://x", "", "/ip4/999.1.1.1/tcp/1/p2p/Qm"];
const NUMBERS = [0, 1, -1, 1.5, 1e300, 2 ** 53, null, "1"];

let box: ServingBox;
let serving: TestServer;
let words: ServiceWords;

function drawDocument(random: Random): unknown {
  const cid = pick(random, CIDS);
  const name = pick(random, NAMES);
  return pick<unknown>(random, [
    { cid, name },
    { cid, name, origins: [pick(random, ORIGINS), pick(random, ORIGINS)], meta: { [name]: name } },
    { cid, origins: Array.from({ length: 21 }, () => "/ip4/1.1.1.1/tcp/1") },
    { cid, meta: { a: { b: "c" } }, more: true },
    { cid: [cid], name: 1 },
    { node: name, blocks: [{ cid, bytes: pick(random, NUMBERS) }] },
    { node: "node-1", blocks: [] },
    { label: name, scopes: [pick(random, ["storage:read", "admin", "", name])], expiresAt: pick(random, NAMES) },
    { scopes: ["storage:read"], lifetimeSeconds: pick(random, NUMBERS) },
    { kind: pick(random, ["wallet", "digest", name]), subject: cid, reason: name },
    null,
    [],
    name,
    pick(random, NUMBERS),
    { a: "x".repeat(200_000) },
  ]);
}

function drawBody(random: Random): Buffer {
  const kind = random.int(5);
  if (kind === 0) return Buffer.from(random.bytes(random.int(300)));
  const text = JSON.stringify(drawDocument(random));
  return Buffer.from(kind === 1 ? text.slice(0, random.int(text.length + 1)) : text);
}

beforeAll(async () => {
  box = await makeServingBox({ server: { logLevel: "warn" }, identity: { eip712: "all", eip712ChainIds: [1] } });
  serving = await startTestServer(box);
  const secret = box.secrets["JWT_SECRET"] ?? "";
  const sub = resolveUserId("alice@example.com");
  const key = await makeKey(box);
  const wallet = new TestWallet(7);
  const nowMs = systemClock.nowMs();
  const audience = `federation:${TEST_CLUSTER_ID}`;
  const good = [
    await signToken(secret, { sub, scope: "storage:* admin" }),
    await signToken(secret, { sub, scope: "storage:read" }),
    `${key.keyId}.${key.secret.reveal()}`,
    wallet.first(nowMs),
    wallet.second(nowMs, { audience }),
  ];
  const bad = ["", "x", "a.b.c", `${key.keyId}.`, "fula-eip712.e30.AA", "fula-eip712v2..", "\u00ff", "x".repeat(9_000)];
  words = {
    port: box.ports.api,
    credentials: [...good, ...good, ...good, ...bad].map((token) => `Bearer ${token}`).concat("Basic YTpi", "Bearer"),
    methods: ["GET", "POST", "DELETE", "GET", "POST", "HEAD", "PUT", "PATCH", "OPTIONS", "TRACE"],
    paths: [
      "/pins",
      "/pins",
      "/pins/",
      "/pins/2f1c3f5e-0000-4000-8000-000000000001",
      "/pins/%2e%2e",
      "/pins/%00",
      "/pins/%zz",
      `/pins/${"x".repeat(3_000)}`,
      "/api/v1/keys",
      "/api/v1/keys/FULAABCDEFGHIJKLMNOP",
      "/api/v1/sessions",
      "/api/v1/me",
      "/api/v1/storage",
      "/api/v1/ingest/leases",
      "/api/v1/admin/denials",
      "/api/v1/admin/denials/wallet/0x",
      "//pins",
      "*",
      "http://x/pins",
    ],
    parameters: [
      "cid",
      "name",
      "match=exact",
      "match=ipartial",
      "match",
      "status=queued,pinned",
      "status=,",
      "status",
      "before=2026-11-21T20:00:00Z",
      "before",
      "after",
      "limit=1000",
      "limit",
      'meta={"a":"b"}',
      'meta={"a":{}}',
      "meta",
      "__proto__=1",
      `cid=${CIDS.join(",")}`,
    ],
    headers: [
      ["content-type", "application/json"],
      ["content-type", "application/json"],
      ["content-type", "application/json; charset=utf-16"],
      ["content-type", "text/plain"],
      ["content-encoding", "gzip"],
      ["expect", "100-continue"],
      ["origin", "https://app.example.org"],
      ["x-fula-service-auth", "v1.x.1.y"],
      ["x-fula-node-proof", "x"],
      ["x-system-key", "x"],
      ["x-forwarded-for", "1.2.3.4"],
    ],
    drawBody,
  };
});

afterAll(async () => {
  await serving[Symbol.asyncDispose]();
  await box[Symbol.asyncDispose]();
});

test(
  "whatever is sent to the API and the pinning service, they answer or end, say what is wrong, and go on serving",
  async () => {
    const draw = (random: Random): Buffer => drawServiceRequest(random, words);
    await fuzzHttp({ port: words.port, draw, findFault: findServiceFault }, { seeds: SEEDS, atOnce: SEEDS_AT_ONCE });
    expect(serving.logged.filter(({ level }) => level === "error")).toEqual([]);
    const authorization = words.credentials[0] ?? "";
    const answer = await fetch(`http://127.0.0.1:${words.port}/pins`, { headers: { authorization } });
    expect(answer.status).toBe(200);
  },
  fuzzPatienceMs(300_000),
);
