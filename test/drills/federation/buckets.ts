import { expectDone } from "../../support/cli.ts";
import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  CreateBucketCommand,
  GetObjectCommand,
  ListBucketsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { execa } from "execa";
import { expect } from "vitest";
import { seededRandom } from "../../support/seeded-random.ts";
import type { Federation } from "./federation.ts";

const KEYS_EACH = 24;
const RACERS = 16;
const RACES = 4;
const TREE_FILES = 30;
const LARGE_BYTES = 24 * 1024 * 1024;
const BUCKET = "federated";

/** A user of the federation, at the gateway of each master. */
export interface FederationUser extends Disposable {
  readonly keyId: string;
  readonly secret: string;
  readonly endpoints: readonly [string, string];
  readonly clients: readonly [S3Client, S3Client];
}

/** Makes an access key on the first master; it is good at both. */
export async function makeUser({ master1, master2 }: Federation): Promise<FederationUser> {
  const made = expectDone(await master1.run("key", "create", "--user", "drill@example.com", "--json"), "key create");
  const { keyId, secret }: { readonly keyId: string; readonly secret: string } = JSON.parse(made.stdout);
  const endpoints = [`http://127.0.0.1:${master1.ports.gateway}`, `http://127.0.0.1:${master2.gatewayPort}`] as const;
  const clientOf = (endpoint: string): S3Client =>
    new S3Client({
      endpoint,
      region: "us-east-1",
      forcePathStyle: true,
      maxAttempts: 1,
      credentials: { accessKeyId: keyId, secretAccessKey: secret },
    });
  const clients = [clientOf(endpoints[0]), clientOf(endpoints[1])] as const;
  return {
    keyId,
    secret,
    endpoints,
    clients,
    [Symbol.dispose]: () => {
      for (const client of clients) client.destroy();
    },
  };
}

async function textOf(client: S3Client, key: string): Promise<string | undefined> {
  const { Body } = await client.send(new GetObjectCommand({ Bucket: BUCKET, Key: key }));
  return await Body?.transformToString();
}

/**
 * Writes keys of its own through each master at the same time, and kills the second one in the middle.
 * @returns what was acknowledged
 */
export async function writeWhileOneIsKilled(
  user: FederationUser,
  kill: () => Promise<void>,
): Promise<readonly string[]> {
  await user.clients[0].send(new CreateBucketCommand({ Bucket: BUCKET }));
  const { Buckets = [] } = await user.clients[1].send(new ListBucketsCommand({}));
  expect(Buckets.map(({ Name }) => Name)).toContain(BUCKET);
  const acknowledged: string[] = [];
  const write = async (place: 0 | 1): Promise<void> => {
    for (let index = 0; index < KEYS_EACH; index += 1) {
      const key = `from-${place + 1}/${index}`;
      if (place === 1 && index === KEYS_EACH / 2) await kill();
      try {
        await user.clients[place].send(new PutObjectCommand({ Bucket: BUCKET, Key: key, Body: key }));
        acknowledged.push(key);
      } catch (error) {
        // The one that was killed answers nobody; the other one everybody.
        if (place === 0) throw error;
        return;
      }
    }
  };
  await Promise.all([write(0), write(1)]);
  expect(acknowledged.length).toBeGreaterThanOrEqual(KEYS_EACH + KEYS_EACH / 2);
  return acknowledged;
}

/** Looks that each of these keys is listed and read at one of the masters, with its bytes. */
export async function expectAll(client: S3Client, keys: readonly string[]): Promise<void> {
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: BUCKET, Prefix: "from-" }));
  expect(Contents.map(({ Key }) => Key)).toEqual(expect.arrayContaining([...keys]));
  for (const key of keys) expect(await textOf(client, key)).toBe(key);
}

/** Lets clients of both masters put the same key where there is none. */
export async function raceForKeys({ clients }: FederationUser): Promise<void> {
  for (let race = 0; race < RACES; race += 1) {
    const put = async (index: number): Promise<number | undefined> => {
      const request = { Bucket: BUCKET, Key: `race-${race}`, Body: String(index), IfNoneMatch: "*" };
      const sent = clients[index % 2 === 0 ? 0 : 1].send(new PutObjectCommand(request));
      const { $metadata } = await sent.catch((error: { $metadata: { httpStatusCode?: number } }) => error);
      return $metadata.httpStatusCode;
    };
    const statuses = await Promise.all(Array.from({ length: RACERS }, async (_, index) => await put(index)));
    const counts = [200, 412].map((wanted) => statuses.filter((status) => status === wanted).length);
    expect(counts).toEqual([1, RACERS - 1]);
  }
}

/** Uploads in parts at the first master, and reads at the second, whose Kubo has to fetch every block. */
export async function uploadLarge({ clients }: FederationUser): Promise<void> {
  const Body = Buffer.from(seededRandom(24).bytes(LARGE_BYTES));
  const params = { Bucket: BUCKET, Key: "large", Body };
  await new Upload({ client: clients[0], params, partSize: 8 * 1024 * 1024 }).done();
  const { Body: back } = await clients[1].send(new GetObjectCommand({ Bucket: BUCKET, Key: "large" }));
  const digestOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
  expect(digestOf((await back?.transformToByteArray()) ?? Buffer.alloc(0))).toBe(digestOf(Body));
}

/** Syncs a tree by rclone to the first master; at the second there is nothing left to transfer. */
export async function syncTree({ keyId, secret, endpoints }: FederationUser, dir: string): Promise<void> {
  const tree = join(dir, "tree");
  await mkdir(tree, { recursive: true });
  for (let index = 0; index < TREE_FILES; index += 1) await writeFile(join(tree, `file ${index}`), `content ${index}`);
  const rclone = async (endpoint: string): Promise<string> => {
    const remote = `:s3,provider=Other,access_key_id=${keyId},secret_access_key=${secret},endpoint="${endpoint}":${BUCKET}/tree`;
    const env = { HOME: dir, PATH: process.env["PATH"] ?? "" };
    const { all } = await execa("rclone", ["sync", "-v", "--retries=1", tree, remote], {
      env,
      extendEnv: false,
      all: true,
    });
    return all;
  };
  await rclone(endpoints[0]);
  expect(await rclone(endpoints[1])).toContain("There was nothing to transfer");
}
