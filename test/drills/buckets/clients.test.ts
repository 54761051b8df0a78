import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import {
  CreateBucketCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { seededRandom } from "../../support/seeded-random.ts";
import { s3Client } from "../../support/serving.ts";
import { makeTwoGateways, type TwoGateways } from "../../support/two-gateways.ts";

const LARGE_BYTES = 200 * 1024 * 1024;
const MIB = 1024 * 1024;
const TREE_FILES = 2_000;

let opened: AsyncDisposableStack;
let gateways: TwoGateways;
/** One of each gateway: what is written at the first is read at the second. */
let clients: readonly [S3Client, S3Client];
let dir: string;
let large: { readonly file: string; readonly sha256: string };

/** Blocks that differ, so that nothing is stored twice by chance, without a random byte each. */
function* largeBytes(): Generator<Buffer> {
  const block = Buffer.from(seededRandom(200).bytes(MIB));
  for (let index = 0; index < LARGE_BYTES / MIB; index += 1) {
    block.writeUInt32BE(index);
    yield Buffer.from(block);
  }
}

async function sha256Of(stream: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of stream) hash.update(piece);
  return hash.digest("hex");
}

async function writeTree(root: string): Promise<void> {
  const random = seededRandom(2_000);
  for (let index = 0; index < TREE_FILES; index += 1) {
    const folder = join(root, `d${index % 20}`, index % 3 === 0 ? "späte Äpfel & mehr" : "plain");
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, `file ${index} +%&.txt`), random.bytes(1 + random.int(400)));
  }
}

beforeAll(async () => {
  opened = new AsyncDisposableStack();
  dir = await mkdtemp(join(tmpdir(), "fula-clients-"));
  opened.defer(async () => {
    await rm(dir, { recursive: true, force: true });
  });
  const file = join(dir, "large.bin");
  await writeFile(file, largeBytes());
  large = { file, sha256: await sha256Of(createReadStream(file)) };
  await writeTree(join(dir, "tree"));
  // What is written at one is read at the other a moment later: neither goes on from what it knew before.
  gateways = opened.use(await makeTwoGateways({ buckets: { readTimeout: "30s" } }));
  await gateways.start();
  const [first, second] = gateways.both;
  clients = [s3Client(first.box, gateways.key), s3Client(second.box, gateways.key)];
  opened.defer(() => {
    for (const client of clients) client.destroy();
  });
});
afterAll(async () => {
  await opened?.disposeAsync();
});

/** Whatever the machine has for other S3 services is not for this one. */
const cleanEnv = (): Record<string, string> => ({ HOME: dir, PATH: process.env["PATH"] ?? "" });

interface Said {
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs rclone against one of the gateways. */
async function rclone(place: 0 | 1, ...args: readonly string[]): Promise<Said> {
  const { keyId, secret } = gateways.key;
  const env = {
    ...cleanEnv(),
    RCLONE_CONFIG: join(dir, "none.conf"),
    RCLONE_CONFIG_FULA_TYPE: "s3",
    RCLONE_CONFIG_FULA_PROVIDER: "Other",
    RCLONE_CONFIG_FULA_ACCESS_KEY_ID: keyId,
    RCLONE_CONFIG_FULA_SECRET_ACCESS_KEY: secret.reveal(),
    RCLONE_CONFIG_FULA_ENDPOINT: `http://127.0.0.1:${gateways.both[place].box.ports.gateway}`,
  };
  return await execa("rclone", ["--retries", "1", "--low-level-retries", "1", ...args], { env, extendEnv: false });
}

/** The same for s3cmd. */
async function s3cmd(place: 0 | 1, ...args: readonly string[]): Promise<string> {
  const { keyId, secret } = gateways.key;
  const host = `127.0.0.1:${gateways.both[place].box.ports.gateway}`;
  const options = ["--no-ssl", `--host=${host}`, `--host-bucket=${host}`, `--access_key=${keyId}`];
  const all_ = [...options, `--secret_key=${secret.reveal()}`, "--no-progress", ...args];
  const { all } = await execa("s3cmd", ["--config=/dev/null", ...all_], {
    env: cleanEnv(),
    extendEnv: false,
    all: true,
  });
  return all;
}

async function readBack(place: 0 | 1, bucket: string, key: string): Promise<string> {
  const { Body } = await clients[place].send(new GetObjectCommand({ Bucket: bucket, Key: key }));
  if (!(Body instanceof Readable)) throw new Error("no body");
  return await sha256Of(Body);
}

async function keysIn(place: 0 | 1, bucket: string): Promise<readonly string[]> {
  const keys: string[] = [];
  for (let token: string | undefined; ; ) {
    const page = await clients[place].send(new ListObjectsV2Command({ Bucket: bucket, ContinuationToken: token }));
    keys.push(...(page.Contents ?? []).map(({ Key = "" }) => Key));
    token = page.NextContinuationToken;
    if (token === undefined) return keys;
  }
}

describe("@aws-sdk/client-s3", () => {
  const Bucket = "sdk-bucket";

  beforeAll(async () => {
    await clients[0].send(new CreateBucketCommand({ Bucket }));
  });

  test("uploads 200 MB in parts by lib-storage at one gateway, and the other gives back every byte and any range", async () => {
    const Body = createReadStream(large.file);
    const params = { Bucket, Key: "large", Body, ContentType: "application/x-drill", Metadata: { origin: "drill" } };
    await new Upload({ client: clients[0], params, partSize: 16 * MIB, queueSize: 4 }).done();
    expect(await readBack(1, Bucket, "large")).toBe(large.sha256);
    const head = await clients[1].send(new HeadObjectCommand({ Bucket, Key: "large" }));
    expect(head).toMatchObject({
      ContentLength: LARGE_BYTES,
      ContentType: "application/x-drill",
      Metadata: { origin: "drill" },
    });
    expect(head.ETag).toMatch(/^"[0-9a-f]{32}-13"$/);
    const Range = `bytes=${16 * MIB - 3}-${16 * MIB + 6}`;
    const { Body: part } = await clients[1].send(new GetObjectCommand({ Bucket, Key: "large", Range }));
    const expected = Buffer.concat([...largeBytes()].slice(15, 17)).subarray(MIB - 3, MIB + 7);
    expect(Buffer.from((await part?.transformToByteArray()) ?? [])).toEqual(expected);
  });

  test("streams a body of unknown checksum with a trailer, and no byte of the framing is stored", async () => {
    const bytes = Buffer.from(seededRandom(1).bytes(300_000));
    const Body = Readable.from([bytes.subarray(0, 100_000), bytes.subarray(100_000)]);
    await clients[0].send(
      new PutObjectCommand({ Bucket, Key: "streamed", Body, ContentLength: bytes.length, ChecksumAlgorithm: "CRC32" }),
    );
    expect(await readBack(1, Bucket, "streamed")).toBe(createHash("sha256").update(bytes).digest("hex"));
  });

  test("deletes many at once at one gateway, and at the other they are gone", async () => {
    await clients[0].send(new PutObjectCommand({ Bucket, Key: "one", Body: "1" }));
    await clients[1].send(new PutObjectCommand({ Bucket, Key: "two", Body: "2" }));
    expect(await keysIn(0, Bucket)).toEqual(expect.arrayContaining(["one", "two"]));
    await clients[0].send(new DeleteObjectsCommand({ Bucket, Delete: { Objects: [{ Key: "one" }, { Key: "two" }] } }));
    expect((await keysIn(1, Bucket)).filter((key) => key === "one" || key === "two")).toEqual([]);
  });
});

describe("rclone", () => {
  test("syncs 2,000 files, and finds nothing to transfer at the other gateway, where it lists, reads and checks them", async () => {
    await rclone(0, "mkdir", "fula:rclone-bucket");
    await rclone(0, "sync", "--transfers=16", join(dir, "tree"), "fula:rclone-bucket/tree");
    const again = await rclone(
      1,
      "sync",
      "-v",
      "--stats-log-level=NOTICE",
      join(dir, "tree"),
      "fula:rclone-bucket/tree",
    );
    expect(again.stderr).toContain("There was nothing to transfer");
    const { stdout: names } = await rclone(1, "lsf", "-R", "--files-only", "fula:rclone-bucket");
    expect(names.trim().split("\n")).toHaveLength(TREE_FILES);
    const checked = await rclone(
      1,
      "check",
      "--download",
      "--one-way",
      join(dir, "tree", "d3"),
      "fula:rclone-bucket/tree/d3",
    );
    expect(checked.stderr).toContain("0 differences found");
    await rclone(1, "delete", "fula:rclone-bucket/tree/d4");
    expect((await keysIn(0, "rclone-bucket")).filter((key) => key.startsWith("tree/d4/"))).toEqual([]);
  });

  test("uploads 200 MB in parts, reads a range, copies within the bucket, and keeps the time of the file", async () => {
    await rclone(0, "mkdir", "fula:rclone-large");
    await rclone(0, "copy", "--s3-upload-cutoff=50M", "--s3-chunk-size=16M", large.file, "fula:rclone-large");
    expect(await readBack(1, "rclone-large", "large.bin")).toBe(large.sha256);
    const middle = await rclone(1, "cat", `--offset=${MIB}`, "--count=4", "fula:rclone-large/large.bin");
    expect(Buffer.from(middle.stdout)).toEqual(Buffer.from([0, 0, 0, 1]));
    await rclone(1, "copyto", "fula:rclone-large/large.bin", "fula:rclone-large/copy.bin");
    expect(await readBack(0, "rclone-large", "copy.bin")).toBe(large.sha256);
    const again = await rclone(1, "copy", "-v", large.file, "fula:rclone-large");
    expect(again.stderr).toMatch(/Transferred:\s+0 B .*\n(.*\n)*Checks:\s+1 \/ 1/);
    await rclone(1, "purge", "fula:rclone-large");
    await expect(rclone(0, "lsf", "fula:rclone-large")).rejects.toThrow(/directory not found|NoSuchBucket/);
  });

  test("makes a link that opens without a key", async () => {
    await rclone(0, "mkdir", "fula:rclone-link");
    await rclone(0, "copy", join(dir, "tree", "d1", "plain"), "fula:rclone-link/d");
    const [key = ""] = await keysIn(0, "rclone-link");
    const { stdout: link } = await rclone(1, "link", `fula:rclone-link/${key}`);
    const answer = await fetch(link.trim());
    expect([answer.status, (await answer.arrayBuffer()).byteLength > 0]).toEqual([200, true]);
  });
});

describe("s3cmd, which takes no ETag for an upload but an MD5", () => {
  beforeAll(async () => {
    await gateways.stop();
    await gateways.set("gateway", { etag: "md5" });
    await gateways.start();
  });

  test("makes a bucket, syncs a tree, and finds nothing to transfer at the other gateway", async () => {
    await s3cmd(0, "mb", "s3://s3cmd-bucket");
    await s3cmd(0, "sync", `${join(dir, "tree")}/`, "s3://s3cmd-bucket/tree/");
    const again = await s3cmd(1, "sync", `${join(dir, "tree")}/`, "s3://s3cmd-bucket/tree/");
    expect(again).not.toContain("upload:");
    expect((await s3cmd(1, "ls", "--recursive", "s3://s3cmd-bucket")).trim().split("\n")).toHaveLength(TREE_FILES);
  });

  test("uploads 200 MB in parts, gets it and a part of it, tells of it, and deletes it", async () => {
    await s3cmd(0, "mb", "s3://s3cmd-large");
    await s3cmd(
      0,
      "put",
      "--multipart-chunk-size-mb=16",
      "--add-header=x-amz-meta-origin:drill",
      large.file,
      "s3://s3cmd-large/large.bin",
    );
    const out = join(dir, "back.bin");
    await s3cmd(1, "get", "s3://s3cmd-large/large.bin", out);
    expect(await sha256Of(createReadStream(out))).toBe(large.sha256);
    expect(await s3cmd(1, "info", "s3://s3cmd-large/large.bin")).toMatch(/x-amz-meta-origin:\s*drill/);
    await s3cmd(1, "setacl", "--acl-private", "s3://s3cmd-large/large.bin");
    await s3cmd(1, "cp", "s3://s3cmd-large/large.bin", "s3://s3cmd-large/copy.bin");
    expect(await readBack(0, "s3cmd-large", "copy.bin")).toBe(large.sha256);
    await s3cmd(1, "del", "--recursive", "--force", "s3://s3cmd-large");
    await s3cmd(0, "rb", "s3://s3cmd-large");
    expect(await s3cmd(1, "ls")).not.toContain("s3cmd-large");
  });
});
