import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { resolveUserId } from "../../../src/lib/identity/user-id.ts";
import { proveNode } from "../../../src/lib/ingest/lease-proof.ts";
import {
  findLease,
  type LeaseWish,
  leasedBytes,
  pruneLeases,
  releaseLease,
  takeLeases,
} from "../../../src/lib/ingest/lease-table.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { type ApiAnswer, makeTestApi, type TestApi } from "../../support/api.ts";

const CIDS = ["bafkr4ia", "bafkr4ib", "bafkr4ic", "bafkr4id"] as const;

let api: TestApi;
beforeAll(async () => {
  api = await makeTestApi({ "billing.freeTierBytes": "1000" });
});
afterAll(async () => {
  await api[Symbol.asyncDispose]();
});

function wishOf(user: string, cid: string, bytes: number, more: Partial<LeaseWish> = {}): LeaseWish {
  return {
    userId: resolveUserId(user),
    node: "n-1",
    blocks: [{ cid, bytes }],
    leaseMs: 60_000,
    roomBytes: 1_000n,
    ...more,
  };
}

describe("the ledger of leases", () => {
  test("takes all blocks of a wish or none, and counts what is leased already", async () => {
    const { pool } = api.database;
    const first = await takeLeases(pool, wishOf("a@example.org", CIDS[0], 600));
    expect(first).toMatchObject({ state: "leased", leftBytes: 400n, leasedUntil: expect.any(Date) });
    const blocks = [
      { cid: CIDS[1], bytes: 300 },
      { cid: CIDS[2], bytes: 101 },
    ];
    expect(await takeLeases(pool, { ...wishOf("a@example.org", CIDS[1], 1), blocks })).toEqual({
      state: "refused",
      leftBytes: 400n,
    });
    expect(await findLease(pool, resolveUserId("a@example.org"), CIDS[1])).toBeNull();
    expect(await leasedBytes(pool, resolveUserId("a@example.org"))).toBe(600n);
  });

  test("counts a block that is sent again once", async () => {
    const { pool } = api.database;
    for (const _ of [1, 2]) {
      expect(await takeLeases(pool, wishOf("b@example.org", CIDS[0], 600))).toMatchObject({ leftBytes: 400n });
    }
  });

  test("gives the same room to one of two nodes that ask at once", async () => {
    const { pool } = api.database;
    const wishes = CIDS.map((cid) => takeLeases(pool, wishOf("c@example.org", cid, 400)));
    const states = (await Promise.all(wishes)).map(({ state }) => state);
    expect(states.toSorted()).toEqual(["leased", "leased", "refused", "refused"]);
  });

  test("a lease that was mapped no longer counts, and still says who sent the block", async () => {
    const { pool } = api.database;
    const userId = resolveUserId("d@example.org");
    await takeLeases(pool, wishOf("d@example.org", CIDS[0], 600));
    await releaseLease(pool, userId, CIDS[0]);
    expect(await leasedBytes(pool, userId)).toBe(0n);
    expect(await findLease(pool, userId, CIDS[0])).toEqual({ bytes: 600, isMapped: true });
    expect(await findLease(pool, resolveUserId("e@example.org"), CIDS[0])).toBeNull();
  });

  test("a lease that is over neither counts nor proves anything, and is deleted", async () => {
    const { pool } = api.database;
    const userId = resolveUserId("f@example.org");
    await takeLeases(pool, wishOf("f@example.org", CIDS[0], 600, { leaseMs: -1 }));
    expect(await leasedBytes(pool, userId)).toBe(0n);
    expect(await findLease(pool, userId, CIDS[0])).toBeNull();
    expect(await pruneLeases(pool, 100)).toBe(1);
    expect(await pruneLeases(pool, 100)).toBe(0);
  });
});

describe("POST /api/v1/ingest/leases", () => {
  async function ask(
    user: string,
    blocks: readonly { cid: string; bytes: number }[],
    proof: (bearer: string) => string = () => "",
  ): Promise<ApiAnswer> {
    const headers = await api.bearer(user);
    const bearer = headers.authorization.slice("Bearer ".length);
    const header = proof(bearer);
    return await api.call({
      method: "POST",
      url: "/api/v1/ingest/leases",
      body: { node: "n-1", blocks },
      headers: { ...headers, ...(header === "" ? {} : { "x-fula-ingest-node": header }) },
    });
  }
  function proofOf(blocks: readonly { cid: string; bytes: number }[], ageMs = 0, secret = api.secrets.cluster) {
    return (bearer: string) => proveNode(new Secret(secret), bearer, { node: "n-1", blocks }, Date.now() - ageMs);
  }

  test("says to anybody with a credential whether he may store", async () => {
    const answer = await ask("g@example.org", []);
    expect(answer).toMatchObject({
      status: 200,
      json: { userId: resolveUserId("g@example.org"), leftBytes: 1_000, leasedUntil: null, credentialExpires: null },
    });
  });

  test("leases what a storage node has signed, as long as there is room", async () => {
    const blocks = [{ cid: CIDS[0], bytes: 700 }];
    const answer = await ask("h@example.org", blocks, proofOf(blocks));
    expect(answer).toMatchObject({ status: 200, json: { leftBytes: 300, leasedUntil: expect.any(String) } });
    expect(await findLease(api.database.pool, resolveUserId("h@example.org"), CIDS[0])).toEqual({
      bytes: 700,
      isMapped: false,
    });
    const more = [{ cid: CIDS[1], bytes: 301 }];
    expect(await ask("h@example.org", more, proofOf(more))).toMatchObject({
      status: 402,
      json: { error: { reason: "ACCOUNT_PROBLEM" } },
    });
  });

  test.each([
    ["a user who asks by himself", () => ""],
    ["another cluster's node", (bearer: string) => proofOf([{ cid: CIDS[2], bytes: 5 }], 0, "0".repeat(64))(bearer)],
    ["a proof of other blocks", (bearer: string) => proofOf([{ cid: CIDS[1], bytes: 5 }])(bearer)],
    ["a proof of long ago", (bearer: string) => proofOf([{ cid: CIDS[2], bytes: 5 }], 301_000)(bearer)],
    ["a proof made for another user", () => proofOf([{ cid: CIDS[2], bytes: 5 }])("other")],
  ])("gives no lease to %s", async (_, proof) => {
    const answer = await ask("i@example.org", [{ cid: CIDS[2], bytes: 5 }], proof);
    expect(answer).toMatchObject({ status: 403, json: { error: { reason: "NODE_NOT_PROVED" } } });
    expect(await findLease(api.database.pool, resolveUserId("i@example.org"), CIDS[2])).toBeNull();
  });

  test("refuses who is suspended, and who may not write", async () => {
    await api.database.pool.query("insert into user_credits (user_id, is_suspended) values ($1, 1)", [
      resolveUserId("j@example.org"),
    ]);
    expect((await ask("j@example.org", [])).status).toBe(402);
    const headers = await api.bearer("k@example.org", { scope: "storage:read" });
    const url = "/api/v1/ingest/leases";
    expect((await api.call({ method: "POST", url, body: { node: "n-1", blocks: [] }, headers })).status).toBe(403);
  });
});
