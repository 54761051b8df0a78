import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CreateBucketCommand, HeadObjectCommand, PutObjectCommand, type S3Client } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createCid, DAG_PB_CODEC, RAW_CODEC } from "../../../src/lib/blocks/cid.ts";
import { readCar } from "../../support/content-dags.ts";
import { type Answer, sendHttp } from "../../support/http.ts";
import { type KuboProcess, startKubo } from "../../support/kubo-process.ts";
import { makeKey, makeServingBox, s3Client, type ServingBox, startTestServer } from "../../support/serving.ts";

/** Five chunks and a node above them. */
const CONTENT = randomBytes(1_200_000);
/** Far below what a block is searched for among peers. */
const AT_ONCE_MS = 15_000;

const opened = new AsyncDisposableStack();
let box: ServingBox;
let client: S3Client;
/** Keeps the master's blocks. */
let own: KuboProcess;
/** Knows neither the master's node nor anybody else. */
let other: KuboProcess;
let dir: string;
let cid: string;

beforeAll(async () => {
  [own, other] = await Promise.all([startKubo(), startKubo()]);
  for (const kubo of [own, other]) opened.use(kubo);
  dir = await mkdtemp(join(tmpdir(), "fula-car-"));
  opened.defer(async () => {
    await rm(dir, { recursive: true, force: true });
  });
  box = opened.use(await makeServingBox({ blocks: { mode: "kubo", kuboApi: own.apiAddress } }));
  opened.use(await startTestServer(box));
  client = s3Client(box, await makeKey(box));
  opened.defer(() => {
    client.destroy();
  });
  await client.send(new CreateBucketCommand({ Bucket: "photos" }));
  await client.send(new PutObjectCommand({ Bucket: "photos", Key: "a", Body: CONTENT }));
  const head = await client.send(new HeadObjectCommand({ Bucket: "photos", Key: "a" }));
  cid = String(head.ETag).replaceAll('"', "");
});

afterAll(async () => {
  await opened.disposeAsync();
});

async function ask(path: string, method = "GET"): Promise<Answer> {
  return await sendHttp(box.ports.gateway, { method, target: `/ipfs/${path}`, headers: [["host", "a"]] });
}

/** Puts a CAR file into the other node. @returns what `ipfs dag import` says */
async function importCar(car: Uint8Array): Promise<string> {
  const file = join(dir, "content.car");
  await writeFile(file, car);
  return other.ipfs("dag", "import", file);
}

test("an object is a CAR file that Kubo imports whole, and gives back byte for byte", async () => {
  const { status, body } = await ask(`${cid}?format=car`);
  expect(status).toBe(200);
  // Pinned is only what is there with all of its blocks.
  expect(await importCar(body)).toMatch(new RegExp(`Pinned root\\s+${cid}\\s+success`));
  const file = join(dir, "content");
  other.ipfs("get", "--output", file, cid);
  expect(CONTENT.equals(await readFile(file))).toBe(true);
});

test("every block of it is what Kubo has under that name, and a part of it names a part of them", async () => {
  const blocks = own.ipfs("refs", "--recursive", cid).trim().split("\n");
  const sent = (await readCar((await ask(`${cid}?format=car`)).body)).blocks;
  expect(sent).toEqual([cid, ...blocks]);
  for (const block of sent) {
    const { status, headers, body } = await ask(`${block}?format=raw`);
    expect([status, headers["content-length"]]).toEqual([200, String(body.byteLength)]);
    expect(createCid(block === cid ? DAG_PB_CODEC : RAW_CODEC, body).toString()).toBe(block);
  }
  const part = await readCar((await ask(`${cid}?format=car&entity-bytes=300000:300001`)).body);
  expect(part.blocks).toEqual([cid, blocks[1]]);
});

test("a directory that Kubo made is followed by its names", async () => {
  await writeFile(join(dir, "b.txt"), "inside");
  const folder = own.ipfs("add", "--quieter", "--cid-version=1", "--wrap-with-directory", join(dir, "b.txt")).trim();
  const { blocks } = await readCar((await ask(`${folder}/b.txt?format=car`)).body);
  const file = own.ipfs("resolve", `/ipfs/${folder}/b.txt`).trim().replace("/ipfs/", "");
  expect(blocks).toEqual([folder, file]);
});

test("what is not here is not searched for: the answer comes at once", async () => {
  const absent = createCid(RAW_CODEC, randomBytes(32)).toString();
  const startMs = performance.now();
  for (const query of ["?format=raw", "?format=car", "/a?format=car"]) {
    expect([query, (await ask(`${absent}${query}`)).status]).toEqual([query, 404]);
  }
  expect((await ask(`${absent}?format=raw`, "HEAD")).status).toBe(404);
  expect(performance.now() - startMs).toBeLessThan(AT_ONCE_MS);
});
