import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Pin, PinCluster } from "../../../src/lib/cluster/pins.ts";
import { openRestCluster } from "../../../src/lib/cluster/rest.ts";
import { type CliRun, runCliForTest } from "../../support/cli.ts";
import { startCluster, type TestCluster } from "../../support/cluster-processes.ts";
import { sendHttp } from "../../support/http.ts";
import { makeKey, makeServingBox, s3Client, type ServingBox, startTestServer } from "../../support/serving.ts";
import { until } from "../../support/until.ts";

const BUCKET = "drill-bucket";

let opened: AsyncDisposableStack;
let daemons: TestCluster;
let box: ServingBox;
let pins: PinCluster;
let s3: S3Client;

beforeAll(async () => {
  opened = new AsyncDisposableStack();
  daemons = opened.use(await startCluster([{ name: "writer" }, { name: "holder", follower: true }]));
  const writer = daemons.peer("writer");
  box = opened.use(
    await makeServingBox({
      blocks: { mode: "kubo", kuboApi: writer.kubo.apiAddress },
      cluster: { mode: "rest", api: writer.api, replicationMin: 1, replicationMax: 2 },
    }),
  );
  opened.use(await startTestServer(box));
  const defaultFactors = { replication_factor_min: 1, replication_factor_max: 2 };
  pins = opened.use(openRestCluster({ clusterId: "drill", url: writer.api, defaultFactors }));
  s3 = opened.adopt(s3Client(box, await makeKey(box)), (client) => {
    client.destroy();
  });
  await s3.send(new CreateBucketCommand({ Bucket: BUCKET }));
});
afterAll(async () => {
  await opened?.disposeAsync();
});

/** Bytes that differ from each other, and from those of another seed. */
function bytesOf(length: number, seed: number): Uint8Array {
  return new Uint8Array(length).map((_, index) => (index * 31 + (index >> 8) * seed) % 251);
}

/** @returns the CID of what was stored */
async function put(key: string, body: Uint8Array): Promise<string> {
  const { ETag = "" } = await s3.send(new PutObjectCommand({ Bucket: BUCKET, Key: key, Body: body }));
  return ETag.replaceAll('"', "");
}

/** Only "try again later" is nothing to fail for. */
function expectUnavailable(error: unknown): null {
  expect(error).toMatchObject({ $metadata: { httpStatusCode: 503 } });
  return null;
}

async function get(key: string, range?: string): Promise<Uint8Array> {
  const { Body } = await s3.send(new GetObjectCommand({ Bucket: BUCKET, Key: key, Range: range }));
  if (Body === undefined) throw new Error("no body");
  return await Body.transformToByteArray();
}

async function heldByBoth(cid: string): Promise<Pin | null> {
  await until(`both peers hold ${cid}`, async () => {
    const status = await pins.status(cid);
    return status?.peers.filter((peer) => peer.status === "pinned").length === 2;
  });
  return await pins.pin(cid);
}

/** What the other peer's Kubo has of it on its own disk. */
async function onOtherPeer(cid: string): Promise<Uint8Array> {
  const { api } = daemons.peer("holder").kubo;
  const answer = await fetch(`${api}/api/v0/cat?arg=${cid}&offline=true`, { method: "POST" });
  if (!answer.ok) throw new Error(await answer.text());
  return new Uint8Array(await answer.arrayBuffer());
}

async function buckets(...words: readonly string[]): Promise<CliRun> {
  return await runCliForTest(["buckets", ...words], { baseDir: box.baseDir });
}

/** Collects as if the grace time had passed since everything that was done; the log's past goes with a compaction. */
async function collect(): Promise<void> {
  const { pool } = box.database;
  const { rows } = await pool.query<{ owner_id: string }>("select owner_id from bucket_roots where bucket = $1", [
    BUCKET,
  ]);
  expect(await buckets("compact", `${rows[0]?.owner_id}/${BUCKET}`)).toMatchObject({ exitCode: 0 });
  await pool.query("update bucket_garbage set queued_at = queued_at - interval '3 hours'");
  await pool.query("update bucket_commits set committed_at = committed_at - interval '3 hours'");
  // The server collects by itself, too, one of the two at a time.
  expect(await buckets("gc", "--wait", "1m")).toMatchObject({ exitCode: 0 });
}

async function stateOf(check: string): Promise<string | undefined> {
  const answer = await sendHttp(box.ports.server, { method: "GET", target: "/readyz", headers: [["host", "x"]] });
  const report: { checks: { name: string; state: string }[] } = JSON.parse(answer.body.toString());
  return report.checks.find(({ name }) => name === check)?.state;
}

describe("objects of a master on Kubo and IPFS Cluster", () => {
  test("are pinned with the cluster's factors before they are seen, and reach the other peer byte by byte", async () => {
    for (const [key, body] of [
      ["small & übung", bytesOf(1_000, 1)],
      ["large", bytesOf(3_500_000, 2)],
    ] as const) {
      const cid = await put(key, body);
      expect(await pins.pin(cid)).toMatchObject({
        name: `object:${BUCKET}/${key}`,
        mode: "recursive",
        replication_factor_min: 1,
        replication_factor_max: 2,
        metadata: { source: "gateway" },
      });
      expect(Buffer.compare(await get(key), body)).toBe(0);
      await heldByBoth(cid);
      expect(Buffer.compare(await onOtherPeer(cid), body)).toBe(0);
    }
  });

  test("that are empty are no pin: no peer could fetch a block of no bytes from another", async () => {
    const cid = await put("folder/", new Uint8Array());
    expect(await pins.pin(cid)).toBeNull();
    expect(await get("folder/")).toHaveLength(0);
    await s3.send(new DeleteObjectCommand({ Bucket: BUCKET, Key: "folder/" }));
    await expect(onOtherPeer(cid)).rejects.toThrow("not found");
  });

  test("are served in ranges, and from the other peer where this one has lost its blocks", async () => {
    const body = bytesOf(2_500_000, 3);
    const cid = await put("ranged", body);
    await heldByBoth(cid);
    expect(Buffer.compare(await get("ranged", "bytes=1048570-1048589"), body.subarray(1_048_570, 1_048_590))).toBe(0);
    const { kubo } = daemons.peer("writer");
    kubo.ipfs("pin", "rm", cid);
    kubo.ipfs("repo", "gc");
    expect(() => kubo.ipfs("block", "stat", "--offline", cid)).toThrow("not found");
    expect(Buffer.compare(await get("ranged"), body)).toBe(0);
  });

  test("leave the pinset by the collector, after the last key that names them, and not before", async () => {
    const body = bytesOf(10_000, 4);
    const cid = await put("once", body);
    expect(await put("twice", body)).toBe(cid);
    await s3.send(new DeleteObjectCommand({ Bucket: BUCKET, Key: "once" }));
    await collect();
    expect(await pins.pin(cid)).not.toBeNull();
    await s3.send(new DeleteObjectCommand({ Bucket: BUCKET, Key: "twice" }));
    await collect();
    expect(await pins.pin(cid)).toBeNull();
    expect(await buckets("verify", "--all")).toMatchObject({ exitCode: 0 });
  });
});

describe("a master whose cluster or Kubo does not answer", () => {
  test("takes no object that it could not pin, and is not ready, until they are back", async () => {
    const { process: daemon, kubo } = daemons.peer("writer");
    const isWell = async (): Promise<boolean> =>
      (await stateOf("blocks")) === "ok" && (await stateOf("pinset")) === "ok";
    await until("all is well", isWell);
    await daemon.stop();
    await expect(put("unpinned", bytesOf(100, 5))).rejects.toMatchObject({ $metadata: { httpStatusCode: 503 } });
    await until("/readyz tells of the pinset", async () => (await stateOf("pinset")) === "failed");
    await daemon.start();
    await expect(s3.send(new HeadObjectCommand({ Bucket: BUCKET, Key: "unpinned" }))).rejects.toMatchObject({
      $metadata: { httpStatusCode: 404 },
    });
    await kubo.process.stop();
    await expect(put("unstored", bytesOf(100, 6))).rejects.toMatchObject({ $metadata: { httpStatusCode: 503 } });
    await until("/readyz tells of the blocks", async () => (await stateOf("blocks")) === "failed");
    await kubo.process.start();
    await until("all is well again", isWell);
    // The cluster gives pins to nobody whose free space it has not heard of since.
    await until("an object is taken", async () => await put("afterwards", bytesOf(100, 7)).catch(expectUnavailable));
  });
});
