import { afterAll, beforeAll, expect, test } from "vitest";
import { resolveUserId } from "../../../src/lib/identity/user-id.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import type { Random } from "../../../src/lib/kernel/random.ts";
import { signToken } from "../../support/api.ts";
import { pick } from "../../support/http-fuzz.ts";
import { fuzzHttp, fuzzPatienceMs } from "../../support/http-fuzz-run.ts";
import { drawServiceRequest, findServiceFault, type ServiceWords } from "../../support/http-fuzz-services.ts";
import { type KuboProcess, startKubo } from "../../support/kubo-process.ts";
import { makeServingBox, type ServingBox, startTestServer, type TestServer } from "../../support/serving.ts";
import { blake3Cid, nodeOf, startStorageNode, type StorageNode, TEST_CLUSTER_ID } from "../../support/storage-node.ts";
import { TestWallet } from "../../support/wallet-tokens.ts";

const SEEDS = 25;
const SEEDS_AT_ONCE = 4;

const BLOCKS = [Buffer.from("Hello, World!"), Buffer.alloc(100_000, 7), Buffer.alloc(0), Buffer.from("{}")];

let kubo: KuboProcess;
let box: ServingBox;
let master: TestServer;
let node: StorageNode;
let token: string;
let words: ServiceWords;

beforeAll(async () => {
  [kubo, box] = await Promise.all([startKubo(), makeServingBox({ server: { logLevel: "warn" } })]);
  master = await startTestServer(box);
  const identity = { eip712: "all", eip712ChainIds: [1] };
  node = await startStorageNode(nodeOf(box, kubo.api, { more: { identity } }));
  const secret = box.secrets["JWT_SECRET"] ?? "";
  token = await signToken(secret, { sub: resolveUserId("alice@example.com"), scope: "storage:*" });
  const wallet = new TestWallet(7);
  const nowMs = systemClock.nowMs();
  const audience = `federation:${TEST_CLUSTER_ID}`;
  const good = [token, token, token, wallet.second(nowMs, { audience })];
  const bad = [wallet.second(nowMs, { audience: "master:x/y" }), "", "x", "a.b.c", "fula-eip712v2.e30.AA", "\u00ff"];
  const cids = BLOCKS.map(blake3Cid);
  words = {
    port: node.port,
    credentials: [...good, ...bad].map((credential) => `Bearer ${credential}`).concat("Basic YTpi", "Bearer"),
    methods: ["PUT", "PUT", "PUT", "POST", "POST", "GET", "HEAD", "DELETE", "PATCH", "OPTIONS"],
    paths: [
      "/v0/block",
      "/v0/block",
      "/v0/block",
      "/v0/block",
      "/v0/block/",
      "/v0//block",
      "/health",
      "/",
      "*",
      "/%zz",
    ],
    parameters: [
      ...[...cids, ...cids].map((cid) => `cid=${cid}`),
      "cid=QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn",
      "cid",
      "cid=",
      "__proto__=1",
    ],
    headers: [
      ["content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="],
      ["content-md5", "no"],
      ["expect", "100-continue"],
      ["expect", "200-ok"],
      ["content-encoding", "gzip"],
      ["content-type", "multipart/form-data"],
      ["x-forwarded-for", "1.2.3.4"],
    ],
    drawBody: (random) => pick(random, [...BLOCKS, Buffer.from(random.bytes(random.int(2_000)))]),
  };
});
afterAll(async () => {
  await node[Symbol.asyncDispose]();
  await master[Symbol.asyncDispose]();
  await box[Symbol.asyncDispose]();
  await kubo[Symbol.asyncDispose]();
});

test(
  "whatever is sent to a storage node, it answers or ends, says what is wrong, and takes a good block afterwards",
  async () => {
    const draw = (random: Random): Buffer => drawServiceRequest(random, words);
    await fuzzHttp({ port: words.port, draw, findFault: findServiceFault }, { seeds: SEEDS, atOnce: SEEDS_AT_ONCE });
    expect(node.logged.filter(({ level }) => level === "error")).toEqual([]);
    const bytes = Buffer.from("still here");
    const answer = await node.send(blake3Cid(bytes), bytes, { authorization: `Bearer ${token}` });
    expect(answer.status).toBe(200);
  },
  fuzzPatienceMs(120_000),
);
