import {
  CreateBucketCommand,
  GetObjectCommand,
  ListBucketsCommand,
  PutObjectCommand,
  type S3Client,
  S3ServiceException,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { AccessKeyPair } from "../../../src/lib/identity/access-key.ts";
import { createAccessKey, type NewKey, revokeAccessKey } from "../../../src/lib/identity/key-table.ts";
import { createSecretSealer } from "../../../src/lib/identity/sealed-secret.ts";
import { ownerOfSubject } from "../../../src/lib/identity/subject.ts";
import { resolveUserId } from "../../../src/lib/identity/user-id.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { signToken } from "../../support/api.ts";
import { makeServingBox, s3Client, type ServingBox, startTestServer, type TestServer } from "../../support/serving.ts";
import { until } from "../../support/until.ts";

const opened = new AsyncDisposableStack();
const clients: S3Client[] = [];
let box: ServingBox;
let server: TestServer;

beforeAll(async () => {
  box = opened.use(await makeServingBox({ gateway: { jwtAccessKeys: true } }));
  server = opened.use(await startTestServer(box));
});
afterAll(async () => {
  for (const client of clients) client.destroy();
  await opened.disposeAsync();
});

async function make(more: Partial<NewKey>): Promise<{ readonly pair: AccessKeyPair; readonly client: S3Client }> {
  const { pair } = await createAccessKey(
    box.database.pool,
    {
      subject: { kind: "user", userId: resolveUserId("alice@example.com") },
      scopes: ["storage:read", "storage:write"],
      label: "",
      expiresMs: null,
      bearerOnly: false,
      actor: "operator@test",
      ...more,
    },
    { sealer: createSecretSealer((await box.load()).secrets.encryptionKey), random: systemRandom },
  );
  const client = s3Client(box, pair);
  clients.push(client);
  return { pair, client };
}

async function codeOf(client: S3Client): Promise<string> {
  try {
    await client.send(new ListBucketsCommand({}));
    return "accepted";
  } catch (error) {
    if (error instanceof S3ServiceException) return error.name;
    throw error;
  }
}

async function statusOfBearer({ keyId, secret }: AccessKeyPair): Promise<readonly [number, string]> {
  const headers = { authorization: `Bearer ${keyId}.${secret.reveal()}` };
  const answer = await fetch(`http://127.0.0.1:${box.ports.gateway}/`, { headers });
  return [answer.status, /<Code>(\w+)<\/Code>/.exec(await answer.text())?.[1] ?? "accepted"];
}

test("a key whose time is over is told so to whoever has its secret, in the words that SDKs understand", async () => {
  expect(await codeOf((await make({ expiresMs: Date.now() + 60_000 })).client)).toBe("accepted");
  const { pair, client } = await make({ expiresMs: Date.now() });
  expect(await codeOf(client)).toBe("ExpiredToken");
  expect(await statusOfBearer(pair)).toEqual([400, "ExpiredToken"]);
  const stranger = s3Client(box, { ...pair, secret: (await make({})).pair.secret });
  clients.push(stranger);
  expect(await codeOf(stranger)).toBe("SignatureDoesNotMatch");
});

test("a key that is kept as a hash is a bearer token, and no signature can be checked with it", async () => {
  const { pair, client } = await make({ bearerOnly: true });
  expect(await statusOfBearer(pair)).toEqual([200, "accepted"]);
  expect(await codeOf(client)).toBe("InvalidAccessKeyId");
});

test("a key of a wallet opens the buckets of the wallet, which are billed to its account", async () => {
  const subject = { kind: "wallet", wallet: `0x${"cd".repeat(20)}` } as const;
  const { client } = await make({ subject });
  await client.send(new CreateBucketCommand({ Bucket: "of-a-wallet" }));
  const { rows } = await box.database.pool.query("select owner_id from bucket_roots where bucket = 'of-a-wallet'");
  expect(rows).toEqual([{ owner_id: ownerOfSubject(subject) }]);
});

test("a token in place of a key's id writes and reads with a real SDK, where the settings allow it", async () => {
  const claims = { sub: resolveUserId("carol@example.com"), scope: "storage:*" };
  const client = s3Client(box, {
    keyId: `JWT:${await signToken(box.secrets["JWT_SECRET"] ?? "", claims)}`,
    secret: new Secret("nobody knows it"),
  });
  clients.push(client);
  const Bucket = "of-a-token";
  await client.send(new CreateBucketCommand({ Bucket }));
  const Body = "signed chunk by chunk with a secret that nobody knows";
  await client.send(new PutObjectCommand({ Bucket, Key: "a", Body, ChecksumAlgorithm: "CRC32" }));
  const { Body: read } = await client.send(new GetObjectCommand({ Bucket, Key: "a" }));
  expect(await read?.transformToString()).toBe(Body);
  const forged = await signToken("0".repeat(64), claims);
  const stranger = s3Client(box, { keyId: `JWT:${forged}`, secret: new Secret("x") });
  clients.push(stranger);
  expect(await codeOf(stranger)).toBe("InvalidToken");
  expect(server.logText()).not.toContain(forged.slice(0, 40));
});

test("a key that is revoked while requests run is refused within seconds, in both its forms, and never let in again", async () => {
  const { pair, client } = await make({});
  const seen: string[] = [];
  await until("it is refused", async () => {
    if (seen.length === 5) {
      await revokeAccessKey(box.database.pool, { keyId: pair.keyId, owner: null, actor: "operator@test" });
    }
    seen.push(await codeOf(client));
    return seen.at(-1) !== "accepted";
  });
  for (let times = 0; times < 10; times += 1) expect(await codeOf(client)).toBe("InvalidAccessKeyId");
  expect((await statusOfBearer(pair))[0]).toBe(403);
  expect(seen.slice(0, -1).every((code) => code === "accepted")).toBe(true);
  expect(server.logText()).not.toContain(pair.secret.reveal());
});
