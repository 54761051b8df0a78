import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openKuboHolds } from "../../../src/lib/blocks/kubo-holds.ts";
import { openKuboBlockStore } from "../../../src/lib/blocks/kubo.ts";
import { parseCid } from "../../../src/lib/blocks/cid.ts";
import { resolveUserId } from "../../../src/lib/identity/user-id.ts";
import { createBlockKeeper } from "../../../src/lib/ingest/block-keeper.ts";
import { openHoldBook } from "../../../src/lib/ingest/hold-book.ts";
import { leasedBytes } from "../../../src/lib/ingest/lease-table.ts";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { readLocalStatus } from "../../../src/lib/stack/storage-view.ts";
import { signToken } from "../../support/api.ts";
import { startCluster, type TestCluster } from "../../support/cluster-processes.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { makeServingBox, type ServingBox, startTestServer, type TestServer } from "../../support/serving.ts";
import { blake3Cid, nodeOf, type StorageNode, startStorageNode } from "../../support/storage-node.ts";
import { until } from "../../support/until.ts";

let cluster: TestCluster;
let box: ServingBox;
let master: TestServer;
const baseDir = mkdtempSync(join(tmpdir(), "fula-node-"));

beforeAll(async () => {
  cluster = await startCluster([{ name: "master" }, { name: "node", follower: true }]);
  const { api, kubo } = cluster.peer("master");
  box = await makeServingBox({
    blocks: { mode: "kubo", kuboApi: kubo.api },
    cluster: { mode: "rest", api, replicationMin: 2, replicationMax: 2 },
    gateway: { remoteCidPut: true },
  });
  master = await startTestServer(box);
});
afterAll(async () => {
  await master?.[Symbol.asyncDispose]();
  await box?.[Symbol.asyncDispose]();
  await cluster?.[Symbol.asyncDispose]();
  rmSync(baseDir, { recursive: true, force: true });
});

async function startNode(): Promise<StorageNode> {
  const { kubo, api } = cluster.peer("node");
  return await startStorageNode(nodeOf(box, kubo.api, { cluster: api, baseDir }));
}

async function bearerOf(user: string): Promise<{ readonly authorization: string }> {
  const secret = box.secrets["JWT_SECRET"] ?? "";
  return { authorization: `Bearer ${await signToken(secret, { sub: resolveUserId(user), scope: "storage:*" })}` };
}

async function gateway(method: string, path: string, headers: Readonly<Record<string, string>>): Promise<Response> {
  return await fetch(`http://127.0.0.1:${box.ports.gateway}${path}`, { method, headers });
}

function mapping(cid: string, sizeBytes: number): Readonly<Record<string, string>> {
  return { "x-amz-meta-fula-remote-cid": cid, "x-amz-meta-fula-remote-size": String(sizeBytes) };
}

test("what a storage node took becomes an object without being sent again, and the node lets go when the cluster has it", async () => {
  const alice = await bearerOf("alice@example.com");
  const bytes = randomBytes(200_000);
  const cid = blake3Cid(bytes);
  {
    await using node = await startNode();
    expect(await node.send(cid, bytes, alice)).toMatchObject({ status: 200, json: { cid, size: 200_000 } });
    expect(await leasedBytes(box.database.pool, resolveUserId("alice@example.com"))).toBe(200_000n);
    expect((await gateway("PUT", "/photos", alice)).status).toBe(200);
    const mapped = await gateway("PUT", "/photos/a.jpg", { ...alice, ...mapping(cid, 200_000) });
    expect([mapped.status, mapped.headers.get("etag")]).toEqual([200, `"${cid}"`]);
    expect(await leasedBytes(box.database.pool, resolveUserId("alice@example.com"))).toBe(0n);
    const read = await gateway("GET", "/photos/a.jpg", alice);
    expect(Buffer.compare(Buffer.from(await read.arrayBuffer()), bytes)).toBe(0);
    const absent = await gateway("PUT", "/photos/b.jpg", { ...alice, ...mapping(blake3Cid(randomBytes(9)), 9) });
    expect(absent.status).toBe(409);
    // Nobody else can make it his own by naming it.
    const mallory = await bearerOf("mallory@example.com");
    expect((await gateway("PUT", "/stolen", mallory)).status).toBe(200);
    expect((await gateway("PUT", "/stolen/a.jpg", { ...mallory, ...mapping(cid, 200_000) })).status).toBe(409);
  }
  const seen = (): string => cluster.peer("master").ctl("status", cid);
  await until("both peers have it", async () => (seen().match(/: PINNED/g) ?? []).length === 2);
  await using again = await startNode();
  const held = async (): Promise<string> =>
    (await (await fetch(`http://127.0.0.1:${again.opsPort}/metrics`)).text()).match(
      /^fula_ingest_held_blocks (\d+)/m,
    )?.[1] ?? "";
  await until("the node has let go", async () => (await held()) === "0");
  const { kubo } = cluster.peer("node");
  expect(kubo.ipfs("pin", "ls", "--type=recursive", cid)).toContain("recursive");
  kubo.ipfs("repo", "gc");
  expect(kubo.ipfs("block", "stat", "--offline", cid)).toContain("Size: 200000");
});

test("a block that nobody maps goes with the node's next garbage collection once its lease is over", async () => {
  const { kubo, api } = cluster.peer("node");
  const clock = new ManualClock(Date.now());
  using book = openHoldBook(join(baseDir, "other.sqlite"));
  const standingOf = async (cid: string): Promise<string> =>
    (await readLocalStatus(api, cid, AbortSignal.timeout(60_000))).status;
  const holds = openKuboHolds(kubo.api);
  const parts = {
    blocks: openKuboBlockStore(kubo.api),
    holds,
    book,
    standingOf,
    leaseMs: 60_000,
    clock,
    log: silentLog,
  };
  const keeper = createBlockKeeper(parts);
  const bytes = randomBytes(1_000);
  const cid = blake3Cid(bytes);
  await keeper.store({ cid: parseCid(cid), bytes });
  keeper.extend(cid, clock.nowMs() + 300_000);
  await clock.step(299_999);
  expect(await keeper.release()).toBe(0);
  kubo.ipfs("repo", "gc");
  expect(kubo.ipfs("block", "stat", "--offline", cid)).toContain("Size: 1000");
  await clock.step(30_001);
  expect([await keeper.release(), book.count()]).toEqual([1, 0]);
  kubo.ipfs("repo", "gc");
  expect(() => kubo.ipfs("block", "stat", "--offline", cid)).toThrow("could not find");
  // What a crash left without a line in the book is found again.
  await holds.hold(
    parseCid(kubo.ipfs("block", "put", "--mhtype=blake3", join(baseDir, "state", "ingest-holds.sqlite")).trim()),
    "direct",
  );
  await keeper.adopt();
  expect(book.count()).toBe(1);
});
