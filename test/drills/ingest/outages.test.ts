import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { resolveUserId } from "../../../src/lib/identity/user-id.ts";
import { findLease } from "../../../src/lib/ingest/lease-table.ts";
import { signToken } from "../../support/api.ts";
import { findFreePort } from "../../support/free-port.ts";
import { type KuboProcess, startKubo } from "../../support/kubo-process.ts";
import { makeServingBox, type ServingBox, startTestServer } from "../../support/serving.ts";
import { blake3Cid, nodeOf, type StorageNode, startStorageNode } from "../../support/storage-node.ts";
import { settled } from "../../support/until.ts";

let kubo: KuboProcess;
let box: ServingBox;

beforeAll(async () => {
  [kubo, box] = await Promise.all([startKubo(), makeServingBox()]);
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
  await kubo[Symbol.asyncDispose]();
});

async function bearerOf(user: string): Promise<{ readonly authorization: string }> {
  const secret = box.secrets["JWT_SECRET"] ?? "";
  return { authorization: `Bearer ${await signToken(secret, { sub: resolveUserId(user), scope: "storage:*" })}` };
}

interface IngestHealth {
  readonly status: string;
  readonly kubo: boolean;
  readonly masters: boolean;
}

/** How a node says that it is, once it says so of both: who takes longer to answer than it waits is said to be away. */
async function healthOf(
  node: StorageNode,
  wanted: Pick<IngestHealth, "kubo" | "masters">,
): Promise<readonly [number, IngestHealth]> {
  const look = async (): Promise<readonly [number, IngestHealth]> => {
    const answer = await fetch(`http://127.0.0.1:${node.port}/health`);
    return [answer.status, JSON.parse(await answer.text())];
  };
  return await settled(look, ([, seen]) => seen.kubo === wanted.kubo && seen.masters === wanted.masters);
}

test("while no master answers a strict node takes nothing, and an open one takes what whoever it knows sends", async () => {
  const bytes = randomBytes(1_000);
  const cid = blake3Cid(bytes);
  const headers = await bearerOf("alice@example.com");
  await using strict = await startStorageNode(nodeOf(box, kubo.api));
  await using open = await startStorageNode(nodeOf(box, kubo.api, { ingest: { quota: "open" } }));
  const nobody = { status: 503, json: { error: expect.stringContaining("No master") } };
  for (const node of [strict, open]) {
    const answer = await node.send(cid, bytes, headers);
    expect(answer).toMatchObject(nobody);
    expect(answer.headers.get("retry-after")).toBe("2");
    const expected = { kubo: true, masters: false };
    expect(await healthOf(node, expected)).toEqual([200, { status: "degraded", ...expected }]);
  }
  const first = randomBytes(1_000);
  {
    await using _master = await startTestServer(box);
    for (const node of [strict, open]) expect((await node.send(blake3Cid(first), first, headers)).status).toBe(200);
  }
  expect((await strict.send(cid, bytes, headers)).status).toBe(503);
  expect((await open.send(cid, bytes, headers)).status).toBe(200);
  // Whoever is not known stays out, whatever the mode: any text would be a credential else.
  expect((await open.send(cid, bytes, await bearerOf("stranger@example.com"))).status).toBe(503);
  expect((await open.send(cid, bytes, { authorization: "Bearer anything" })).status).toBe(503);
});

test("asks the next master where one is silent, and stays with the one that answers", async () => {
  await using _master = await startTestServer(box);
  const silent = `http://127.0.0.1:${await findFreePort()}`;
  const facts = nodeOf(box, kubo.api);
  await using node = await startStorageNode({ ...facts, masters: [silent, ...facts.masters] });
  const headers = await bearerOf("alice@example.com");
  for (const _ of [1, 2, 3]) {
    const bytes = randomBytes(500);
    expect((await node.send(blake3Cid(bytes), bytes, headers)).status).toBe(200);
  }
  const asked = node.logged.filter(({ event, master }) => event === "ingest.master.silent" && master === silent);
  expect(asked).toHaveLength(1);
});

test("a node of another federation gets no leases, and takes nothing", async () => {
  await using _master = await startTestServer(box);
  await using node = await startStorageNode(nodeOf(box, kubo.api, { clusterSecret: "0".repeat(64) }));
  const bytes = randomBytes(500);
  const cid = blake3Cid(bytes);
  expect((await node.send(cid, bytes, await bearerOf("bob@example.com"))).status).toBe(503);
  expect(await findLease(box.database.pool, resolveUserId("bob@example.com"), cid)).toBeNull();
});

test("says that Kubo is down, and goes on when it is back; what it held is known after a restart", async () => {
  await using _master = await startTestServer(box);
  const baseDir = mkdtempSync(join(tmpdir(), "fula-node-"));
  const headers = await bearerOf("alice@example.com");
  const [before, meanwhile] = [randomBytes(500), randomBytes(500)];
  {
    await using node = await startStorageNode(nodeOf(box, kubo.api, { baseDir }));
    expect((await node.send(blake3Cid(before), before, headers)).status).toBe(200);
    await kubo.process.kill();
    expect((await node.send(blake3Cid(meanwhile), meanwhile, headers)).status).toBe(502);
    const expected = { kubo: false, masters: true };
    expect(await healthOf(node, expected)).toEqual([503, { status: "failing", ...expected }]);
    const ready = await fetch(`http://127.0.0.1:${node.opsPort}/readyz`);
    expect(ready.status).toBe(503);
    await kubo.process.start();
    expect((await node.send(blake3Cid(meanwhile), meanwhile, headers)).status).toBe(200);
  }
  await using again = await startStorageNode(nodeOf(box, kubo.api, { baseDir }));
  const metrics = await (await fetch(`http://127.0.0.1:${again.opsPort}/metrics`)).text();
  expect(metrics).toMatch(/^fula_ingest_held_blocks [2-9]/m);
  expect(kubo.ipfs("pin", "ls", "--type=direct", "--names", blake3Cid(before))).toContain("fula-hold");
  rmSync(baseDir, { recursive: true, force: true });
});

test.each([
  ["on an address that others reach, without TLS", { host: "0.0.0.0" }, "FULA_INGEST_EXPOSED"],
  ["with a master over plain HTTP", { masters: ["http://master-1.example.org"] }, "FULA_INGEST_EXPOSED"],
  ["with half a certificate", { tlsCert: "cert.pem" }, "FULA_INGEST_UNREADY"],
  ["without anybody to ask", { masters: [], mode: "on" }, "FULA_INGEST_UNREADY"],
])("serve refuses to start %s", async (_, ingest, code) => {
  const starting = startStorageNode(nodeOf(box, kubo.api, { ingest }));
  await expect(starting).rejects.toMatchObject({ code, kind: "usage" });
});
