import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CreateBucketCommand, GetObjectCommand, HeadObjectCommand, type S3Client } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { type CliRun, runCliForTest } from "../../support/cli.ts";
import { findFreePort } from "../../support/free-port.ts";
import { type KuboProcess, startKubo } from "../../support/kubo-process.ts";
import {
  makeKey,
  makeServingBox,
  s3Client,
  type ServingBox,
  startTestServer,
  type TestServer,
} from "../../support/serving.ts";
import { blake3Cid, nodeOf, startStorageNode, type StorageNode } from "../../support/storage-node.ts";

const report = z.strictObject({
  dryRun: z.boolean(),
  bucket: z.string(),
  key: z.string(),
  url: z.string(),
  sizeBytes: z.number(),
  cid: z.string().nullable(),
  outcome: z
    .strictObject({
      via: z.enum(["node", "gateway"]),
      node: z.string().nullable(),
      etag: z.string(),
      fellBack: z.strictObject({ at: z.string(), because: z.string() }).nullable(),
    })
    .nullable(),
});

let kubo: KuboProcess;
let box: ServingBox;
let master: TestServer;
let node: StorageNode;
let client: S3Client;
let endpoint: string;
let nodeUrl: string;

beforeAll(async () => {
  kubo = await startKubo();
  box = await makeServingBox({
    blocks: { mode: "kubo", kuboApi: kubo.api },
    gateway: { remoteCidPut: true },
  });
  master = await startTestServer(box);
  node = await startStorageNode(nodeOf(box, kubo.api));
  const pair = await makeKey(box);
  writeFileSync(join(box.baseDir, "alice.key"), JSON.stringify({ keyId: pair.keyId, secret: pair.secret.reveal() }));
  writeFileSync(
    join(box.baseDir, "alice.env"),
    `export AWS_ACCESS_KEY_ID=${pair.keyId}\nexport AWS_SECRET_ACCESS_KEY=${pair.secret.reveal()}\n`,
  );
  writeFileSync(join(box.baseDir, "nobody.token"), "not.a.token\n");
  client = s3Client(box, pair);
  await client.send(new CreateBucketCommand({ Bucket: "photos" }));
  endpoint = `http://127.0.0.1:${box.ports.gateway}`;
  nodeUrl = `http://127.0.0.1:${node.port}`;
});
afterAll(async () => {
  client.destroy();
  await node[Symbol.asyncDispose]();
  await master[Symbol.asyncDispose]();
  await box[Symbol.asyncDispose]();
  await kubo[Symbol.asyncDispose]();
});

function file(bytes: Uint8Array): string {
  const path = join(box.baseDir, "file");
  writeFileSync(path, bytes);
  return path;
}

/** Runs it as on a box where nothing is installed. */
async function put(target: string, ...more: readonly string[]): Promise<CliRun> {
  const cwd = box.baseDir;
  return await runCliForTest(["put", "file", target, "--endpoint", endpoint, "--quiet", ...more], { cwd, env: {} });
}

async function reportOf(run: Promise<CliRun>): Promise<z.infer<typeof report>> {
  const { exitCode, stdout, stderr } = await run;
  expect([exitCode, stderr]).toEqual([0, ""]);
  return report.parse(JSON.parse(stdout));
}

async function read(key: string): Promise<Uint8Array | undefined> {
  const { Body } = await client.send(new GetObjectCommand({ Bucket: "photos", Key: key }));
  return await Body?.transformToByteArray();
}

describe("fula-master put", () => {
  test("by way of a storage node makes an object whose ETag is the CID of the file, and gives it back byte by byte", async () => {
    const bytes = randomBytes(700_000);
    file(bytes);
    const { outcome, cid } = await reportOf(
      put(
        "s3://photos/a/b.jpg",
        "--key-file",
        "alice.key",
        "--via-ingest",
        nodeUrl,
        "--content-type",
        "image/jpeg",
        "--json",
      ),
    );
    expect(outcome).toEqual({ via: "node", node: nodeUrl, etag: blake3Cid(bytes), fellBack: null });
    expect(cid).toBe(blake3Cid(bytes));
    expect(Buffer.from((await read("a/b.jpg")) ?? [])).toEqual(bytes);
    const head = await client.send(new HeadObjectCommand({ Bucket: "photos", Key: "a/b.jpg" }));
    expect(head).toMatchObject({ ContentLength: 700_000, ContentType: "image/jpeg", Metadata: {} });
  });

  test("goes by the gateway where the node is not there, and says why", async () => {
    const bytes = randomBytes(1_000);
    file(bytes);
    const nobody = `http://127.0.0.1:${await findFreePort()}`;
    const { outcome } = await reportOf(
      put("s3://photos/fallen-back", "--key-file", "alice.env", "--via-ingest", nobody, "--json"),
    );
    expect(outcome).toMatchObject({
      via: "gateway",
      fellBack: { at: "ingest", because: expect.stringContaining(nobody) },
    });
    expect(Buffer.from((await read("fallen-back")) ?? [])).toEqual(bytes);
  });

  test("sends what is larger than a block to the gateway", async () => {
    const bytes = randomBytes(2_100_000);
    file(bytes);
    const run = await put("s3://photos/large", "--key-file", "alice.key", "--via-ingest", nodeUrl);
    expect(run).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/the gateway took the bytes\nnot by way of a storage node/),
    });
    expect(Buffer.from((await read("large")) ?? [])).toEqual(bytes);
  });

  test("of an empty file makes an object of no bytes", async () => {
    file(new Uint8Array());
    const { sizeBytes, cid } = await reportOf(put("s3://photos/empty", "--key-file", "alice.key", "--json"));
    expect([sizeBytes, cid]).toEqual([0, null]);
    expect(await read("empty")).toEqual(new Uint8Array());
  });

  test("with --dry-run stores nothing", async () => {
    file(randomBytes(10));
    const { outcome, url } = await reportOf(put("s3://photos/dry", "--key-file", "alice.key", "--dry-run", "--json"));
    expect([outcome, url]).toEqual([null, `${endpoint}/photos/dry`]);
    await expect(read("dry")).rejects.toMatchObject({ name: "NoSuchKey" });
  });

  test.each<[string, readonly string[], number, string]>([
    ["no credential", ["s3://photos/k"], 2, "FULA_USAGE"],
    ["two credentials", ["s3://photos/k", "--key-file", "alice.key", "--token-file", "nobody.token"], 2, "FULA_USAGE"],
    ["a credential that is not there", ["s3://photos/k", "--token-file", "missing"], 2, "FULA_UPLOAD_FILE"],
    ["a key file without a key", ["s3://photos/k", "--key-file", "nobody.token"], 2, "FULA_UPLOAD_FILE"],
    ["what is no object", ["photos/k", "--key-file", "alice.key"], 2, "FULA_USAGE"],
    [
      "a node without TLS",
      ["s3://photos/k", "--key-file", "alice.key", "--via-ingest", "http://10.0.0.1"],
      2,
      "FULA_USAGE",
    ],
    ["a token that nobody knows", ["s3://photos/k", "--token-file", "nobody.token"], 3, "FULA_UPLOAD_REFUSED"],
    ["a bucket that is not there", ["s3://none-there/k", "--key-file", "alice.key"], 3, "FULA_UPLOAD_REFUSED"],
  ])("with %s is refused", async (_, [target = "", ...more], exitCode, code) => {
    file(randomBytes(10));
    const run = await put(target, ...more);
    expect(run.exitCode).toBe(exitCode);
    expect(run.stderr).toContain(code);
    for (const name of ["alice.key", "nobody.token"]) {
      for (const word of readFileSync(join(box.baseDir, name), "utf8").match(/[\w.-]{20,}/g) ?? []) {
        expect(`${run.stdout}${run.stderr}`).not.toContain(word);
      }
    }
  });

  test("at a gateway that does not answer exits 4", async () => {
    file(randomBytes(10));
    const nobody = `http://127.0.0.1:${await findFreePort()}`;
    const run = await put("s3://photos/k", "--key-file", "alice.key", "--endpoint", nobody);
    expect(run).toMatchObject({ exitCode: 4, stderr: expect.stringContaining("FULA_UPLOAD_SILENT") });
  });
});
