import { createHmac } from "node:crypto";
import { CreateBucketCommand, GetObjectCommand, HeadObjectCommand } from "@aws-sdk/client-s3";
import { blake3 } from "@noble/hashes/blake3.js";
import { CID } from "multiformats/cid";
import { create as createMultihash } from "multiformats/hashes/digest";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BLAKE3, createCid, DAG_PB_CODEC, RAW_CODEC } from "../../../src/lib/blocks/cid.ts";
import type { Leases } from "../../../src/lib/gateway/possession.ts";
import type { Quota } from "../../../src/lib/gateway/quota.ts";
import { resolveUserId } from "../../../src/lib/identity/user-id.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { type Answer, errorCodeOf, sendSigned } from "../../support/http.ts";
import { MemoryBlocks } from "../../support/memory-blocks.ts";
import { type GatewayUser, type MemoryGateway, startMemoryGateway } from "../../support/memory-gateway.ts";

const BLOCK = Buffer.from("a block that a storage node took in");
const ABSENT = Buffer.from("a block that nobody has");

function blake3Cid(bytes: Uint8Array): CID {
  return CID.createV1(RAW_CODEC, createMultihash(BLAKE3, blake3(bytes)));
}

let gateway: MemoryGateway;
let alice: GatewayUser;

beforeAll(async () => {
  gateway = await startMemoryGateway({ remoteCidPut: true });
  alice = gateway.user("alice@example.com");
  await alice.client.send(new CreateBucketCommand({ Bucket: "photos" }));
  await gateway.blocks.put(blake3Cid(BLOCK), BLOCK);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
});

async function map(
  meta: Readonly<Record<string, string>>,
  more: { readonly user?: GatewayUser; readonly body?: Uint8Array } = {},
): Promise<Answer> {
  const headers = Object.entries(meta).map(([name, value]) => [`x-amz-meta-${name}`, value] as const);
  const body = more.body === undefined ? {} : { body: more.body };
  return await sendSigned(gateway.port, (more.user ?? alice).pair, {
    method: "PUT",
    path: "/photos/a",
    headers,
    ...body,
  });
}

function named(bytes: Uint8Array, size = bytes.byteLength): Readonly<Record<string, string>> {
  return { "fula-remote-cid": blake3Cid(bytes).toString(), "fula-remote-size": String(size) };
}

async function challengeFor(bytes: Uint8Array, user: GatewayUser = alice): Promise<string> {
  return String((await map(named(bytes), { user })).headers["x-fula-remote-challenge"]);
}

function proofOf(challenge: string, bytes: Uint8Array): Readonly<Record<string, string>> {
  return {
    "fula-remote-challenge": challenge,
    "fula-remote-proof": createHmac("sha256", challenge).update(bytes).digest("hex"),
  };
}

describe("a PUT that maps a block", () => {
  test("makes an object of it where its sender proves that he has it, and keeps none of its control headers", async () => {
    const proof = proofOf(await challengeFor(BLOCK), BLOCK);
    const mapped = await map({ ...named(BLOCK), ...proof, "fula-debug-x": "1", color: "blue" });
    expect([mapped.status, mapped.headers["etag"]]).toEqual([200, `"${blake3Cid(BLOCK).toString()}"`]);
    const got = await alice.client.send(new GetObjectCommand({ Bucket: "photos", Key: "a" }));
    expect([await got.Body?.transformToString(), got.ContentLength]).toEqual([BLOCK.toString(), BLOCK.byteLength]);
    expect(got.Metadata).toEqual({ color: "blue" });
  });

  test("is answered in the same way where the block is not there and where it is not proved", async () => {
    const absent = proofOf(await challengeFor(ABSENT), ABSENT);
    const wrong = proofOf(await challengeFor(BLOCK), ABSENT);
    const stranger = gateway.user("mallory@example.com");
    await stranger.client.send(new CreateBucketCommand({ Bucket: "photos" }));
    const others = proofOf(await challengeFor(BLOCK, alice), BLOCK);
    const answers = [
      await map(named(BLOCK)),
      await map(named(ABSENT)),
      await map({ ...named(ABSENT), ...absent }),
      await map({ ...named(BLOCK), ...wrong }),
      await map({ ...named(BLOCK), ...others }, { user: stranger }),
    ];
    const seen = answers.map((answer) => [
      answer.status,
      errorCodeOf(answer),
      typeof answer.headers["x-fula-remote-challenge"],
      /<Message>(.*)<\/Message>/.exec(answer.body.toString())?.[1],
    ]);
    expect(new Set(seen.map((each) => JSON.stringify(each))).size).toBe(1);
    expect(seen[0]?.slice(0, 3)).toEqual([409, "OperationAborted", "string"]);
  });

  test("is not kept waiting for a block that does not come", async () => {
    const get = async (): Promise<Uint8Array> => await new Promise(() => {});
    const blocks = Object.assign(new MemoryBlocks(), { get });
    // Five seconds are over at once.
    const clock = { ...systemClock, sleep: async () => {} };
    await using slow = await startMemoryGateway({ remoteCidPut: true, blocks, clock });
    const user = slow.user("alice@example.com");
    await user.client.send(new CreateBucketCommand({ Bucket: "photos" }));
    const send = async (meta: Readonly<Record<string, string>>): Promise<Answer> => {
      const headers = Object.entries(meta).map(([name, value]) => [`x-amz-meta-${name}`, value] as const);
      return await sendSigned(slow.port, user.pair, { method: "PUT", path: "/photos/a", headers });
    };
    const challenge = String((await send(named(BLOCK))).headers["x-fula-remote-challenge"]);
    const answer = await send({ ...named(BLOCK), ...proofOf(challenge, BLOCK) });
    expect([answer.status, errorCodeOf(answer)]).toEqual([409, "OperationAborted"]);
  });

  test.each([
    ["a CID that is none", { "fula-remote-cid": "x", "fula-remote-size": "1" }],
    ["a CID of SHA2-256", { "fula-remote-cid": createCid(RAW_CODEC, BLOCK).toString(), "fula-remote-size": "1" }],
    ["a CID of dag-pb", { "fula-remote-cid": createCid(DAG_PB_CODEC, BLOCK).toString(), "fula-remote-size": "1" }],
    ["no size", { "fula-remote-cid": blake3Cid(BLOCK).toString() }],
    ["the size 0", named(BLOCK, 0)],
    ["more bytes than an object may have", named(BLOCK, 5 * 1024 ** 3 + 1)],
  ])("with %s is refused", async (_what, meta) => {
    const answer = await map(meta);
    expect([answer.status, errorCodeOf(answer)]).toEqual([400, "InvalidRequest"]);
  });

  test("with another size than the block has is refused", async () => {
    const answer = await map({ ...named(BLOCK, 1), ...proofOf(await challengeFor(BLOCK), BLOCK) });
    expect([answer.status, errorCodeOf(answer)]).toEqual([400, "InvalidRequest"]);
  });

  test("with a body is refused", async () => {
    const answer = await map(named(BLOCK), { body: Buffer.from("x") });
    expect([answer.status, errorCodeOf(answer)]).toEqual([400, "InvalidRequest"]);
  });

  test("is refused where mapping is off, and stores no empty object", async () => {
    await using off = await startMemoryGateway();
    const user = off.user("alice@example.com");
    await user.client.send(new CreateBucketCommand({ Bucket: "photos" }));
    const headers = Object.entries(named(BLOCK)).map(([name, value]) => [`x-amz-meta-${name}`, value] as const);
    const answer = await sendSigned(off.port, user.pair, { method: "PUT", path: "/photos/a", headers });
    expect([answer.status, errorCodeOf(answer)]).toEqual([400, "InvalidRequest"]);
    const head = user.client.send(new HeadObjectCommand({ Bucket: "photos", Key: "a" }));
    await expect(head).rejects.toMatchObject({ name: "NotFound" });
  });
});

describe("a PUT that maps a block which its sender gave to a storage node", () => {
  /** Leases of one block, to one account. */
  function leaseOf(
    user: { userId: string | null },
    isMapped: boolean,
  ): { readonly leases: Leases; released: string[] } {
    const released: string[] = [];
    const isLeased = (userId: string, cid: CID): boolean =>
      userId === user.userId && [BLOCK, ABSENT].some((bytes) => cid.equals(blake3Cid(bytes)));
    return {
      released,
      leases: {
        find: async (userId, cid) => (isLeased(userId, cid) ? { isMapped } : null),
        release: async (userId, cid) => {
          released.push(`${userId} ${cid.toString()}`);
        },
      },
    };
  }

  async function begin(isMapped: boolean): Promise<{
    readonly box: MemoryGateway;
    readonly user: GatewayUser;
    readonly admitted: number[];
    released: string[];
  }> {
    const owner: { userId: string | null } = { userId: null };
    const admitted: number[] = [];
    const { leases, released } = leaseOf(owner, isMapped);
    const quota: Quota = {
      admit: async (_userId, sizeBytes) => {
        admitted.push(sizeBytes ?? -1);
        return await Promise.resolve(null);
      },
    };
    const box = await startMemoryGateway({ remoteCidPut: true, leases, quota });
    const user = box.user("alice@example.com");
    owner.userId = resolveUserId("alice@example.com");
    await user.client.send(new CreateBucketCommand({ Bucket: "photos" }));
    await box.blocks.put(blake3Cid(BLOCK), BLOCK);
    return { box, user, admitted, released };
  }

  async function mapAs(
    box: MemoryGateway,
    { pair }: GatewayUser,
    meta: Readonly<Record<string, string>>,
  ): Promise<Answer> {
    const headers = Object.entries(meta).map(([name, value]) => [`x-amz-meta-${name}`, value] as const);
    return await sendSigned(box.port, pair, { method: "PUT", path: "/photos/a", headers });
  }

  test.each([
    ["needs no proof, and its bytes are counted as leased alone", false, 0],
    ["may be sent again, and counts then as any other", true, BLOCK.byteLength],
  ])("%s", async (_what, isMapped, admittedBytes) => {
    const { box, user, admitted, released } = await begin(isMapped);
    await using _ = box;
    const answer = await mapAs(box, user, { ...named(BLOCK), "x-fula-chunk": "true" });
    expect([answer.status, answer.headers["etag"]]).toEqual([200, `"${blake3Cid(BLOCK).toString()}"`]);
    expect(admitted).toEqual([admittedBytes]);
    expect(released).toEqual([`${resolveUserId("alice@example.com")} ${blake3Cid(BLOCK).toString()}`]);
    const got = await user.client.send(new GetObjectCommand({ Bucket: "photos", Key: "a" }));
    expect([await got.Body?.transformToString(), got.Metadata]).toEqual([BLOCK.toString(), { "x-fula-chunk": "true" }]);
  });

  test("is refused where the block did not come, or has another size, and to whoever else asks for it", async () => {
    const { box, user, released } = await begin(false);
    await using _ = box;
    const stranger = box.user("mallory@example.com");
    await stranger.client.send(new CreateBucketCommand({ Bucket: "photos" }));
    const answers = [
      await mapAs(box, user, named(ABSENT)),
      await mapAs(box, user, named(BLOCK, 1)),
      await mapAs(box, stranger, named(BLOCK)),
    ];
    expect(answers.map(errorCodeOf)).toEqual(["OperationAborted", "InvalidRequest", "OperationAborted"]);
    expect(released).toEqual([]);
  });
});
