import {
  CreateBucketCommand,
  DeleteBucketTaggingCommand,
  GetBucketAclCommand,
  GetBucketTaggingCommand,
  GetBucketVersioningCommand,
  GetObjectAclCommand,
  ListBucketsCommand,
  type ListBucketsCommandOutput,
  ListObjectsCommand,
  ListObjectVersionsCommand,
  PutBucketTaggingCommand,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Answer, errorCodeOf, sendHttp, sendSigned } from "../../support/http.ts";
import { type GatewayUser, type MemoryGateway, startMemoryGateway } from "../../support/memory-gateway.ts";

const Bucket = "photos";

let gateway: MemoryGateway;
let alice: GatewayUser;
let client: S3Client;

beforeAll(async () => {
  gateway = await startMemoryGateway();
  alice = gateway.user("alice@example.com");
  ({ client } = alice);
  await client.send(new CreateBucketCommand({ Bucket }));
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
});

async function get(path: string, query = ""): Promise<Answer> {
  return await sendSigned(gateway.port, alice.pair, { method: "GET", path, query });
}

describe("listings", () => {
  const keys = ["a", "a/1", "a/2", "b/1", "b/x/1", "c", "ä", "ü/1"];

  beforeAll(async () => {
    for (const Key of keys) await client.send(new PutObjectCommand({ Bucket, Key, Body: Key }));
  });

  test.each([1, 2, 3, 5, 100])(
    "of version 1 lose and repeat nothing in pages of %i, by marker alone",
    async (MaxKeys) => {
      for (const Delimiter of [undefined, "/"]) {
        const seen: string[] = [];
        let Marker: string | undefined;
        for (;;) {
          const page = await client.send(new ListObjectsCommand({ Bucket, MaxKeys, Delimiter, Marker }));
          const [contents, prefixes] = [page.Contents ?? [], page.CommonPrefixes ?? []];
          seen.push(...contents.map(({ Key = "" }) => Key), ...prefixes.map(({ Prefix = "" }) => Prefix));
          if (page.IsTruncated !== true) break;
          // As S3 has it: what comes next is only told where the last key does not tell it.
          expect(page.NextMarker === undefined).toBe(Delimiter === undefined);
          Marker = page.NextMarker ?? contents.at(-1)?.Key;
        }
        const expected = Delimiter === undefined ? keys : ["a", "a/", "b/", "c", "ä", "ü/"];
        expect(seen.toSorted()).toEqual(expected.toSorted());
      }
    },
  );

  test("of version 1 name the owner, and what is asked for in an encoding", async () => {
    const answer = await get(`/${Bucket}`, "encoding-type=url&prefix=%C3%BC&delimiter=%2F&marker=%C3%A4");
    const text = answer.body.toString();
    expect(text).toContain("<Prefix>%C3%BC</Prefix>");
    expect(text).toContain("<Marker>%C3%A4</Marker>");
    expect(text).toContain("<CommonPrefixes><Prefix>%C3%BC/</Prefix></CommonPrefixes>");
    const { Contents = [] } = await client.send(new ListObjectsCommand({ Bucket, MaxKeys: 1 }));
    expect(Contents[0]).toMatchObject({ Key: "a", Size: 1, StorageClass: "STANDARD" });
    expect(Contents[0]?.Owner?.ID).toMatch(/^[0-9a-f]{32}$/);
  });

  test("of versions give every key once, as version null", async () => {
    const seen: string[] = [];
    let KeyMarker: string | undefined;
    let VersionIdMarker: string | undefined;
    for (;;) {
      const page = await client.send(new ListObjectVersionsCommand({ Bucket, MaxKeys: 3, KeyMarker, VersionIdMarker }));
      for (const { Key = "", VersionId, IsLatest } of page.Versions ?? []) {
        expect([VersionId, IsLatest]).toEqual(["null", true]);
        seen.push(Key);
      }
      if (page.IsTruncated !== true) break;
      ({ NextKeyMarker: KeyMarker, NextVersionIdMarker: VersionIdMarker } = page);
    }
    expect(seen).toEqual(keys);
    expect(errorCodeOf(await get(`/${Bucket}`, "versions&key-marker=a&version-id-marker=5"))).toBe("InvalidArgument");
  });

  test.each(["max-keys=-1", "max-keys=x", "encoding-type=base64"])("with %s are refused", async (query) => {
    expect(errorCodeOf(await get(`/${Bucket}`, query))).toBe("InvalidArgument");
  });
});

describe("a list of buckets", () => {
  test("comes in pages, of a prefix", async () => {
    const user = gateway.user("bob@example.com");
    for (const name of ["b-2", "a-1", "b-1", "b-3", "c-1"]) {
      await user.client.send(new CreateBucketCommand({ Bucket: name }));
    }
    const pages: string[][] = [];
    let ContinuationToken: string | undefined;
    do {
      const page: ListBucketsCommandOutput = await list(user.client, ContinuationToken);
      pages.push((page.Buckets ?? []).map(({ Name = "" }) => Name));
      ({ ContinuationToken } = page);
    } while (ContinuationToken !== undefined);
    expect(pages).toEqual([["b-1", "b-2"], ["b-3"]]);
    const elsewhere = await user.client.send(new ListBucketsCommand({ BucketRegion: "eu-west-1" }));
    expect(elsewhere.Buckets ?? []).toEqual([]);
  });

  async function list(from: S3Client, ContinuationToken?: string): Promise<ListBucketsCommandOutput> {
    return await from.send(new ListBucketsCommand({ MaxBuckets: 2, Prefix: "b-", ContinuationToken }));
  }

  test.each(["max-buckets=0", "max-buckets=10001", "continuation-token=%21"])("with %s is refused", async (query) => {
    expect(errorCodeOf(await get("/", query))).toBe("InvalidArgument");
  });
});

describe("what nobody can configure", () => {
  test.each([
    ["policy", 404, "NoSuchBucketPolicy"],
    ["policyStatus", 404, "NoSuchBucketPolicy"],
    ["cors", 404, "NoSuchCORSConfiguration"],
    ["lifecycle", 404, "NoSuchLifecycleConfiguration"],
    ["encryption", 404, "ServerSideEncryptionConfigurationNotFoundError"],
    ["object-lock", 404, "ObjectLockConfigurationNotFoundError"],
    ["website", 404, "NoSuchWebsiteConfiguration"],
    ["replication", 404, "ReplicationConfigurationNotFoundError"],
    ["publicAccessBlock", 404, "NoSuchPublicAccessBlockConfiguration"],
    ["ownershipControls", 404, "OwnershipControlsNotFoundError"],
    ["tagging", 404, "NoSuchTagSet"],
    ["versioning", 200, ""],
    ["logging", 200, ""],
    ["notification", 200, ""],
    ["accelerate", 200, ""],
    ["requestPayment", 200, ""],
    ["inventory", 501, "NotImplemented"],
  ])("?%s is answered with %i %s, as S3 does where nothing is configured", async (parameter, status, code) => {
    const answer = await get(`/${Bucket}`, parameter);
    expect([answer.status, errorCodeOf(answer)]).toEqual([status, code]);
  });

  test("versioning is off", async () => {
    expect((await client.send(new GetBucketVersioningCommand({ Bucket }))).Status).toBeUndefined();
  });
});

test("a user has ten thousand buckets at most; one that is there can still be created again", async () => {
  await using full = await startMemoryGateway({
    wrapBuckets: (buckets) => ({
      create: async (...all) => await buckets.create(...all),
      remove: async (...all) => await buckets.remove(...all),
      open: async (...all) => await buckets.open(...all),
      write: async (...all) => await buckets.write(...all),
      claim: async (...all) => {
        await buckets.claim(...all);
      },
      setMetadata: async (...all) => await buckets.setMetadata(...all),
      keepContent: async (...all) => await buckets.keepContent(...all),
      releaseContents: async (...all) => {
        await buckets.releaseContents(...all);
      },
      list: async (ownerId) => {
        const listed = await buckets.list(ownerId);
        return { ...listed, buckets: listed.buckets.flatMap((each) => Array.from({ length: 10_000 }, () => each)) };
      },
    }),
  });
  const { client: bob } = full.user("bob@example.com");
  const create = async (name: string): Promise<unknown> => await bob.send(new CreateBucketCommand({ Bucket: name }));
  await create("first");
  await create("first");
  await expect(create("one-more")).rejects.toMatchObject({ name: "TooManyBuckets" });
});

describe("access control lists", () => {
  test("say that everything is the owner's, and take nothing else", async () => {
    await client.send(new PutObjectCommand({ Bucket, Key: "acl", Body: "x" }));
    const ofBucket = await client.send(new GetBucketAclCommand({ Bucket }));
    const ofObject = await client.send(new GetObjectAclCommand({ Bucket, Key: "acl" }));
    expect(ofBucket.Grants).toEqual(ofObject.Grants);
    const [grant] = ofBucket.Grants ?? [];
    expect(grant).toMatchObject({ Permission: "FULL_CONTROL", Grantee: { ID: ofBucket.Owner?.ID } });
    const same = (await get(`/${Bucket}/acl`, "acl")).body;
    const set = async (body: Buffer): Promise<string> =>
      errorCodeOf(
        await sendSigned(gateway.port, alice.pair, { method: "PUT", path: `/${Bucket}/acl`, query: "acl", body }),
      );
    expect(await set(same)).toBe("");
    const everybody = "<Grantee><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee>";
    const open = `<AccessControlPolicy><AccessControlList><Grant>${everybody}<Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>`;
    expect(await set(Buffer.from(open))).toBe("NotImplemented");
    expect(await set(Buffer.from("<Tagging><TagSet></TagSet></Tagging>"))).toBe("MalformedXML");
  });
});

describe("tags of a bucket", () => {
  test("are set, read and taken away", async () => {
    const TagSet = [{ Key: "team", Value: "storage" }];
    await client.send(new PutBucketTaggingCommand({ Bucket, Tagging: { TagSet } }));
    expect((await client.send(new GetBucketTaggingCommand({ Bucket }))).TagSet).toEqual(TagSet);
    await client.send(new DeleteBucketTaggingCommand({ Bucket }));
    await expect(client.send(new GetBucketTaggingCommand({ Bucket }))).rejects.toMatchObject({ name: "NoSuchTagSet" });
  });
});

describe("without a key", () => {
  test("the gateway says that it is alive and what it can do, and nothing else", async () => {
    const ask = async (method: string, target: string): Promise<Answer> =>
      await sendHttp(gateway.port, { method, target, headers: [["host", "x"]] });
    expect((await ask("GET", "/healthz")).body.toString()).toBe("ok\n");
    const capabilities = await ask("GET", "/fula/capabilities");
    expect(capabilities.headers["content-type"]).toBe("application/json");
    expect(JSON.parse(capabilities.body.toString())).toEqual({
      remoteCidPut: false,
      eip712Auth: false,
      eip712: { versions: [], audiences: [], chainIds: [] },
      trustless: false,
    });
    for (const [method, target] of [
      ["GET", "/"],
      ["HEAD", "/"],
      ["GET", `/${Bucket}`],
      ["GET", "/fula/capabilities?x"],
      ["PUT", "/fula/capabilities"],
    ] as const) {
      expect([target, errorCodeOf(await ask(method, target))]).toEqual([target, "AccessDenied"]);
    }
  });

  test("a signed request for a bucket of such a name is about that bucket", async () => {
    expect(errorCodeOf(await get("/fula/capabilities"))).toBe("NoSuchBucket");
    expect(errorCodeOf(await get("/healthz"))).toBe("NoSuchBucket");
  });
});
