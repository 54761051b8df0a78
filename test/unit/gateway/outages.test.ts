import { CreateBucketCommand, GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { describe, expect, test } from "vitest";
import { parseCid } from "../../../src/lib/blocks/cid.ts";
import type { Buckets } from "../../../src/lib/buckets/buckets.ts";
import { createQuota } from "../../../src/lib/gateway/quota.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import type { ErrorCode } from "../../../src/lib/kernel/error-codes.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { type Answer, errorCodeOf, sendSigned } from "../../support/http.ts";
import { type GatewayUser, type MemoryGateway, startMemoryGateway } from "../../support/memory-gateway.ts";

const Bucket = "photos";

/** Buckets whose arbiter can fall silent, and whose writes can fail. */
class Troubles {
  staleMs: number | null = null;
  failWith: ErrorCode | null = null;
  failDetails: Readonly<Record<string, number>> = {};

  readonly wrap = (buckets: Buckets): Buckets => ({
    create: async (owner, name) => await this.#unlessFailing(async () => await buckets.create(owner, name)),
    remove: async (name) => await this.#unlessFailing(async () => await buckets.remove(name)),
    list: async (ownerId) => ({ ...(await buckets.list(ownerId)), staleMs: this.staleMs }),
    open: async (name) => {
      const open = await buckets.open(name);
      return open === null ? null : { ...open, staleMs: this.staleMs };
    },
    write: async (name, mutations) => await this.#unlessFailing(async () => await buckets.write(name, mutations)),
    claim: async (name, userId) => {
      await buckets.claim(name, userId);
    },
    setMetadata: async (name, update) => await this.#unlessFailing(async () => await buckets.setMetadata(name, update)),
    keepContent: async (...all) => await buckets.keepContent(...all),
    releaseContents: async (contents) => {
      await buckets.releaseContents(contents);
    },
  });

  async #unlessFailing<T>(work: () => Promise<T>): Promise<T> {
    if (this.failWith === null) return await work();
    throw new FulaError(this.failWith, "It does not work.", { details: this.failDetails });
  }
}

async function begin(
  gateway: MemoryGateway,
): Promise<{ readonly user: GatewayUser; readonly put: (key: string) => Promise<Answer> }> {
  const user = gateway.user("alice@example.com");
  await user.client.send(new CreateBucketCommand({ Bucket }));
  await user.client.send(new PutObjectCommand({ Bucket, Key: "a", Body: "x" }));
  const put = async (key: string): Promise<Answer> =>
    await sendSigned(gateway.port, user.pair, { method: "PUT", path: `/${Bucket}/${key}`, body: Buffer.from(key) });
  return { user, put };
}

describe("a change that cannot be made", () => {
  test.each([
    ["FULA_CAS_EXHAUSTED", 412, 412, "PreconditionFailed", undefined],
    ["FULA_CAS_EXHAUSTED", 503, 503, "SlowDown", "1"],
    ["FULA_BUCKET_BUSY", 412, 503, "SlowDown", "1"],
    ["FULA_KEY_LOOKUPS_FULL", 412, 503, "SlowDown", "1"],
    ["FULA_DATABASE_UNREACHABLE", 412, 503, "ServiceUnavailable", "1"],
    ["FULA_COMMIT_UNKNOWN", 412, 503, "ServiceUnavailable", "1"],
    ["FULA_BUCKET_NOT_IMPORTED", 412, 503, "ServiceUnavailable", "1"],
    ["FULA_BUCKET_MODE", 412, 503, "ServiceUnavailable", "1"],
    ["FULA_INDEX_CORRUPT", 412, 500, "InternalError", undefined],
    ["FULA_ENTRY_TOO_LARGE", 412, 400, "MetadataTooLarge", undefined],
    ["FULA_ENTRY_TEXT", 412, 400, "InvalidArgument", undefined],
    ["FULA_INDEX_KEY", 412, 400, "KeyTooLongError", undefined],
  ] as const)("because of %s (%i) is answered with %i %s", async (code, casExhausted, ...expected) => {
    const troubles = new Troubles();
    await using gateway = await startMemoryGateway({ wrapBuckets: troubles.wrap, casExhausted });
    const { put } = await begin(gateway);
    troubles.failWith = code;
    const answer = await put("b");
    expect([answer.status, errorCodeOf(answer), answer.headers["retry-after"]]).toEqual(expected);
    troubles.failWith = null;
    expect((await put("b")).status).toBe(200);
  });

  test.each([
    [500, 503, "ServiceUnavailable"],
    [400, 500, "InternalError"],
  ])("because the cluster answers a pin with %i is answered with %i %s", async (status, ...expected) => {
    const troubles = new Troubles();
    await using gateway = await startMemoryGateway({ wrapBuckets: troubles.wrap });
    const { put } = await begin(gateway);
    troubles.failWith = "FULA_PIN_REFUSED";
    troubles.failDetails = { status };
    const answer = await put("b");
    expect([answer.status, errorCodeOf(answer)]).toEqual(expected);
  });
});

describe("a write that finds a block gone", () => {
  test.each([
    ["its own content, which a collection of garbage took before it was kept, is to be sent again", true, 503],
    ["a block of the index is a fault of ours", false, 500],
  ] as const)("%s", async (_what, isContent, status) => {
    const wrap = (buckets: Buckets): Buckets => ({
      ...new Troubles().wrap(buckets),
      write: async (_name, [mutation]) => {
        const content = mutation?.change.kind === "put" ? mutation.change.entry.content.toString() : "";
        const cid = isContent ? content : "bafyreihyq7cukxacnohrp5fhigvlp6fcpwtiituhx45vwlt7lfz5amzeou";
        throw new FulaError("FULA_BLOCK_MISSING", "It is gone.", { details: { cid } });
      },
    });
    await using gateway = await startMemoryGateway({ wrapBuckets: wrap });
    const user = gateway.user("alice@example.com");
    await user.client.send(new CreateBucketCommand({ Bucket }));
    const request = { method: "PUT", path: `/${Bucket}/a`, body: Buffer.from("a") };
    expect((await sendSigned(gateway.port, user.pair, request)).status).toBe(status);
  });
});

describe("while the arbiter is silent", () => {
  test("reads are answered from the last root that is known, and say so; nothing is stored", async () => {
    const troubles = new Troubles();
    await using gateway = await startMemoryGateway({ wrapBuckets: troubles.wrap });
    const { user, put } = await begin(gateway);
    troubles.staleMs = 1_001;
    for (const path of ["/", `/${Bucket}`, `/${Bucket}/a`]) {
      const { status, headers } = await sendSigned(gateway.port, user.pair, { method: "GET", path });
      expect([path, status, headers["x-fula-stale"]]).toEqual([path, 200, "2"]);
    }
    const blocks = gateway.blocks.blocks.size;
    const refused = await put("b");
    expect([refused.status, errorCodeOf(refused), refused.headers["retry-after"]]).toEqual([
      503,
      "ServiceUnavailable",
      "1",
    ]);
    expect(gateway.blocks.blocks.size).toBe(blocks);
    troubles.staleMs = null;
    const fresh = await sendSigned(gateway.port, user.pair, { method: "GET", path: `/${Bucket}/a` });
    expect(fresh.headers["x-fula-stale"]).toBeUndefined();
  });

  test("a key that is only remembered may read and not write", async () => {
    await using gateway = await startMemoryGateway();
    const { user, put } = await begin(gateway);
    gateway.keysStaleMs = 3_000;
    const read = await sendSigned(gateway.port, user.pair, { method: "GET", path: `/${Bucket}/a` });
    expect([read.status, read.headers["x-fula-stale"]]).toEqual([200, "3"]);
    expect((await put("b")).status).toBe(503);
    expect(errorCodeOf(await put("b"))).toBe("ServiceUnavailable");
  });
});

describe("an account", () => {
  test("without room stores nothing, and still reads and deletes", async () => {
    let leftBytes = 1_000n;
    const readAllowance = async (): Promise<{ mayStore: boolean; leftBytes: bigint }> => ({
      mayStore: true,
      leftBytes,
    });
    const quota = createQuota({ readAllowance, mode: "strict", clock: systemClock, log: silentLog });
    await using gateway = await startMemoryGateway({ quota });
    const { user } = await begin(gateway);
    leftBytes = 0n;
    const poor = gateway.user("bob@example.com");
    await poor.client.send(new CreateBucketCommand({ Bucket }));
    const blocks = gateway.blocks.blocks.size;
    const refused = await sendSigned(gateway.port, poor.pair, {
      method: "PUT",
      path: `/${Bucket}/a`,
      body: Buffer.from("x"),
    });
    expect([refused.status, errorCodeOf(refused)]).toEqual([403, "AccountProblem"]);
    expect(gateway.blocks.blocks.size).toBe(blocks);
    expect((await sendSigned(gateway.port, poor.pair, { method: "GET", path: `/${Bucket}` })).status).toBe(200);
    const { Body } = await user.client.send(new GetObjectCommand({ Bucket, Key: "a" }));
    expect(await Body?.transformToString()).toBe("x");
  });
});

describe("a GET of an object whose content is not to be had", () => {
  test("is a 404 as for the fleet's devices, which go on by CID, and a fault for the operator", async () => {
    await using gateway = await startMemoryGateway({ etag: "md5" });
    const { user } = await begin(gateway);
    const path = `/${Bucket}/a`;
    const head = await sendSigned(gateway.port, user.pair, { method: "HEAD", path });
    const cid = String(head.headers["x-fula-cid"]);
    expect(await gateway.blocks.delete(parseCid(cid))).toBe(true);
    const get = await sendSigned(gateway.port, user.pair, { method: "GET", path });
    expect([get.status, errorCodeOf(get)]).toEqual([404, "NoSuchKey"]);
    expect(get.headers).toMatchObject({
      "x-amz-error-code": "NoSuchKey",
      "x-fula-error": "FULA_BLOCK_MISSING",
      "x-fula-cid": cid,
    });
    expect(get.body.toString()).toContain(`<Cid>${cid}</Cid>`);
    expect(gateway.exchanges.at(-1)).toMatchObject({ status: 404, failure: { code: "FULA_BLOCK_MISSING" } });
    const absent = await sendSigned(gateway.port, user.pair, { method: "GET", path: `/${Bucket}/absent` });
    expect([absent.status, absent.headers["x-fula-error"]]).toEqual([404, undefined]);
    expect(gateway.exchanges.at(-1)).toMatchObject({ status: 404, failure: null });
    expect((await sendSigned(gateway.port, user.pair, { method: "HEAD", path })).status).toBe(200);
  });
});
