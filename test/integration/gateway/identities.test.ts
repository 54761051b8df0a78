import { base36 } from "multiformats/bases/base36";
import { CID } from "multiformats/cid";
import { create as createMultihash } from "multiformats/hashes/digest";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { createCid, DAG_PB_CODEC, RAW_CODEC, SHA2_256 } from "../../../src/lib/blocks/cid.ts";
import { createIsBlocked } from "../../../src/lib/gateway/trustless/blocked-cids.ts";
import { ownerOfSubject } from "../../../src/lib/identity/subject.ts";
import { resolveUserId } from "../../../src/lib/identity/user-id.ts";
import { insertSession, signServiceAuth, signToken } from "../../support/api.ts";
import { FakeClock } from "../../support/clock.ts";
import { type Answer, errorCodeOf, sendHttp, sendSigned } from "../../support/http.ts";
import { makeKey, makeServingBox, type ServingBox, startTestServer, type TestServer } from "../../support/serving.ts";
import { TcpProxy } from "../../support/tcp-proxy.ts";
import { setGroup, shareState } from "../../support/two-gateways.ts";
import { until } from "../../support/until.ts";
import { TestWallet } from "../../support/wallet-tokens.ts";

/** That of every serving box. */
const CLUSTER = "6f1e9a4e-0000-4000-8000-000000000001";
const FEDERATION = `federation:${CLUSTER}`;
const wallet = new TestWallet(7);
const DAG_CBOR_CODEC = 0x71;
/** How long what was revoked counts as known; more than a busy machine takes for two requests. */
const MAX_AGE_SECONDS = 12;

let boxes: readonly [ServingBox, ServingBox];
let servers: readonly TestServer[];

beforeAll(async () => {
  const settings = { identity: { eip712: "v2", denyListRefresh: "200ms" } };
  const first = await makeServingBox(settings);
  const second = await makeServingBox({ ...settings, identity: { ...settings.identity, eip712: "all" } }, first);
  await shareState(first, second);
  boxes = [first, second];
  servers = [await startTestServer(first), await startTestServer(second)];
});

afterAll(async () => {
  for (const server of servers) await server[Symbol.asyncDispose]();
  for (const box of boxes.toReversed()) await box[Symbol.asyncDispose]();
});

type Master = 0 | 1;

async function ask(
  master: Master,
  token: string | null,
  method: string,
  target: string,
  body?: string,
  more: readonly (readonly [string, string])[] = [],
): Promise<Answer> {
  const authorization = token === null ? [] : [["authorization", `Bearer ${token}`] as const];
  const length = body === undefined ? [] : [["content-length", String(Buffer.byteLength(body))] as const];
  return await sendHttp(boxes[master].ports.gateway, {
    method,
    target,
    headers: [["host", "a"], ...authorization, ...length, ...more],
    ...(body !== undefined && { body: Buffer.from(body) }),
  });
}

/** What the answer is, and why it is no other one. */
function verdictOf(answer: Answer): readonly [number, string, string] {
  const why = /<Message>(.*)<\/Message>/.exec(answer.body.toString())?.[1] ?? "";
  return [answer.status, errorCodeOf(answer), why];
}

async function jwt(claims: Readonly<Record<string, unknown>>): Promise<string> {
  return await signToken(boxes[0].secrets["JWT_SECRET"] ?? "", claims);
}

describe("one identity", () => {
  test("of a wallet writes at one master and reads at the other, under the owner that the fleet knows it by", async () => {
    const token = wallet.second(Date.now(), { audience: FEDERATION });
    expect((await ask(0, token, "PUT", "/photos")).status).toBe(200);
    expect((await ask(0, token, "PUT", "/photos/a", "of a wallet")).status).toBe(200);
    const again = wallet.second(Date.now(), { audience: FEDERATION, nonce: `0x${"01".repeat(32)}` });
    expect((await ask(1, again, "GET", "/photos/a")).body.toString()).toBe("of a wallet");
    const first = await ask(1, wallet.first(Date.now()), "GET", "/photos/a");
    expect(first.body.toString()).toBe("of a wallet");
    const { rows } = await boxes[0].database.pool.query("select owner_id from bucket_roots where bucket = 'photos'");
    const ownerId = ownerOfSubject({ kind: "wallet", wallet: wallet.address });
    expect(rows).toEqual([{ owner_id: ownerId }]);
    expect((await ask(0, again, "GET", "/")).body.toString()).toContain(`<ID>${ownerId}</ID>`);
  });

  test("of a user has many credentials, and one set of buckets", async () => {
    const user = "carol@example.org";
    const key = await makeKey(boxes[0], user);
    const session = await insertSession(boxes[0].database, user);
    const token = await jwt({ sub: user, scope: "storage:read storage:write" });
    expect((await ask(0, session, "PUT", "/notes")).status).toBe(200);
    expect((await ask(1, token, "PUT", "/notes/a", "first")).status).toBe(200);
    const pair = `${key.keyId}.${key.secret.reveal()}`;
    for (const credential of [session, token, pair]) {
      expect((await ask(0, credential, "GET", "/notes/a")).body.toString()).toBe("first");
    }
    const signed = await sendSigned(boxes[1].ports.gateway, key, { method: "GET", path: "/notes/a" });
    expect(signed.body.toString()).toBe("first");
    expect(verdictOf(await ask(0, wallet.second(Date.now(), { audience: FEDERATION }), "GET", "/notes/a"))[1]).toBe(
      "NoSuchBucket",
    );
  });

  test("pays for a bucket that an import left to nobody from the first change on, and not for one that another pays for", async () => {
    const { pool } = boxes[0].database;
    const user = "imported@example.org";
    const token = await jwt({ sub: user, scope: "storage:*" });
    for (const name of ["left", "paid"]) {
      expect((await ask(0, token, "PUT", `/${name}`)).status).toBe(200);
      expect((await ask(0, token, "PUT", `/${name}/old`, "eight...")).status).toBe(200);
    }
    const other = "e".repeat(64);
    const claimed = `update bucket_roots set user_id = case bucket when 'paid' then $2::text end where owner_id = $1`;
    const userId = resolveUserId(user);
    const ownerId = ownerOfSubject({ kind: "user", userId });
    await pool.query(claimed, [ownerId, other]);
    expect((await ask(1, token, "GET", "/left/old")).status).toBe(200);
    const payers = async (): Promise<readonly unknown[]> =>
      (await pool.query("select user_id from bucket_roots where owner_id = $1 order by bucket", [ownerId])).rows;
    expect(await payers()).toEqual([{ user_id: null }, { user_id: other }]);
    for (const name of ["left", "paid"]) {
      expect((await ask(1, token, "PUT", `/${name}/new`, "four")).status).toBe(200);
    }
    expect(await payers()).toEqual([{ user_id: userId }, { user_id: other }]);
    const { rows } = await pool.query(
      "select bytes from user_usage u join user_credits c on c.id = u.account_id where c.user_id = $1",
      [userId],
    );
    expect(rows).toEqual([{ bytes: "12" }]);
  });

  test("may do what its scope says", async () => {
    const reader = await jwt({ sub: "carol@example.org", scope: "storage:read" });
    const admin = await jwt({ sub: "carol@example.org", scope: "admin" });
    expect((await ask(0, reader, "GET", "/")).status).toBe(200);
    expect(verdictOf(await ask(0, reader, "PUT", "/more"))).toEqual([
      403,
      "AccessDenied",
      expect.stringMatching(/^Access denied: jwt:[0-9a-f]{16} has no storage:write\.$/),
    ]);
    expect(verdictOf(await ask(0, admin, "GET", "/")).slice(0, 2)).toEqual([403, "AccessDenied"]);
  });

  test("is named in the log by nothing that anybody could use", async () => {
    const token = wallet.second(Date.now(), { audience: FEDERATION });
    expect((await ask(0, token, "GET", "/")).status).toBe(200);
    const line = await until("the request is logged", async () => {
      const lines = servers[0]?.logged.filter(
        ({ event, operation }) => event === "http.request" && operation === "ListBuckets",
      );
      return (await Promise.resolve(lines?.at(-1))) ?? null;
    });
    expect(line["credentialId"]).toMatch(/^eip712:[0-9a-f]{16}$/);
    expect(servers.map((server) => server.logText()).join("")).not.toContain(token.slice(-40));
  });
});

describe("a credential that is not taken", () => {
  const hourAgo = (): number => Date.now() - 3_700_000;

  test.each<[string, () => string | Promise<string>, RegExp]>([
    ["an unknown token", () => "nobody", /not known here/],
    ["a token of the fleet's first version where it is off", () => wallet.first(Date.now()), /off|version/i],
    [
      "one for another federation",
      () => wallet.second(Date.now(), { audience: "federation:other" }),
      /audience|meant for/i,
    ],
    [
      "one for another master",
      () => wallet.second(Date.now(), { audience: `master:${CLUSTER}/box-2` }),
      /audience|meant for/i,
    ],
    ["one of another chain", () => wallet.second(Date.now(), { audience: FEDERATION, chainId: 5 }), /chain/i],
    ["one that has expired", () => wallet.second(hourAgo(), { audience: FEDERATION }), /expired/i],
    [
      "an access token that has expired",
      async () => await jwt({ sub: "a@example.org", scope: "*", exp: 1 }),
      /expired/,
    ],
    ["one for an audience", async () => await jwt({ sub: "a@example.org", scope: "*", aud: "x" }), /names no user/],
    [
      "a session that has ended",
      async () => await insertSession(boxes[0].database, "a@example.org", "-1 second"),
      /expired/,
    ],
  ])("is refused as a bad token and never as a missing one: %s", async (_what, make, because) => {
    const answer = await ask(0, await make(), "GET", "/");
    expect(verdictOf(answer)).toEqual([403, "InvalidToken", expect.stringMatching(because)]);
    expect(answer.headers["content-type"]).toBe("application/xml");
  });

  test("at one master is at the one that it is for", async () => {
    const token = wallet.second(Date.now(), { audience: `master:${CLUSTER}/box-2` });
    expect((await ask(1, token, "GET", "/")).status).toBe(200);
    expect((await ask(0, token, "GET", "/")).status).toBe(403);
  });

  test("is none at all: nobody acts for users here, and nobody is let in twice", async () => {
    const secret = boxes[0].secrets["PIN_SERVICE_SECRET"] ?? "x".repeat(32);
    const service = signServiceAuth(secret, "a@example.org", Math.floor(Date.now() / 1_000) + 60);
    expect(verdictOf(await ask(0, null, "GET", "/", undefined, [["x-fula-service-auth", service]]))[1]).toBe(
      "AccessDenied",
    );
    const token = await jwt({ sub: "a@example.org", scope: "*" });
    const twice = await ask(0, token, "GET", "/", undefined, [["authorization", `Bearer ${token}`]]);
    expect(verdictOf(twice).slice(0, 2)).toEqual([400, "InvalidRequest"]);
    const both = await ask(0, token, "GET", "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00");
    expect(both.status).toBe(400);
  });
});

describe("what a master can", () => {
  test("is told to whoever asks: old clients find what they know, and new ones whom they may name", async () => {
    const told = async (master: Master): Promise<unknown> =>
      JSON.parse((await ask(master, null, "GET", "/fula/capabilities")).body.toString());
    const chainIds = expect.arrayContaining([1, 8_453]);
    expect(await told(0)).toEqual({
      remoteCidPut: false,
      eip712Auth: false,
      eip712: { versions: [2], audiences: [FEDERATION, `master:${CLUSTER}/box-1`], chainIds },
      trustless: true,
    });
    expect(await told(1)).toMatchObject({ eip712Auth: true, eip712: { versions: [1, 2] } });
  });
});

describe("while the ledger is silent", () => {
  test("only those are let in of whom all is known, and each as long as it may be true", async () => {
    await using box = await makeServingBox({
      identity: { eip712: "v2", denyListRefresh: "200ms", denyListMaxAge: `${MAX_AGE_SECONDS}s` },
    });
    const { host, port } = box.database.options;
    const proxy = new TcpProxy(host, port);
    onTestFinished(async () => {
      await proxy.end();
    });
    await setGroup(box, "postgres", { port: await proxy.listen(0) });
    await using _serving = await startTestServer(box);
    const key = await makeKey(box);
    const { gateway } = box.ports;
    const signed = async (method: string, path: string): Promise<Answer> =>
      await sendSigned(gateway, key, { method, path });
    const byBearer = async (token: string): Promise<Answer> =>
      await sendHttp(gateway, {
        method: "GET",
        target: "/",
        headers: [
          ["host", "a"],
          ["authorization", `Bearer ${token}`],
        ],
      });
    const ofWallet = wallet.second(Date.now(), { audience: FEDERATION });
    const ofUser = await signToken(box.secrets["JWT_SECRET"] ?? "", { sub: "a@example.org", scope: "*" });
    expect((await signed("PUT", "/photos")).status).toBe(200);
    for (const token of [ofWallet, ofUser]) expect((await byBearer(token)).status).toBe(200);
    await proxy.end();
    const unseen = await signToken(box.secrets["JWT_SECRET"] ?? "", {
      sub: "a@example.org",
      scope: "*",
      jti: "unseen",
    });
    // Both at once: what is known of the wallet is good for some seconds only.
    const [refused, read] = await Promise.all([byBearer(unseen), byBearer(ofWallet)]);
    expect([refused.status, errorCodeOf(refused), refused.headers["retry-after"]]).toEqual([
      503,
      "ServiceUnavailable",
      "1",
    ]);
    expect([read.status, Number(read.headers["x-fula-stale"]) > 0]).toEqual([200, true]);
    await until("what was revoked is not known any more", async () => (await byBearer(ofWallet)).status === 503);
    expect((await byBearer(ofUser)).status).toBe(503);
    const known = await signed("GET", "/photos");
    expect([known.status, Number(known.headers["x-fula-stale"]) >= MAX_AGE_SECONDS]).toEqual([200, true]);
    expect((await signed("PUT", "/photos/b")).status).toBe(503);
  });
});

test("a block that was blocked is so by every name, ten seconds after it was written down, and no longer than it stands there", async () => {
  const { pool } = boxes[0].database;
  const clock = new FakeClock();
  const isBlocked = createIsBlocked(pool, clock);
  const [one, other] = [1, 2].map((byte) => createCid(DAG_CBOR_CODEC, Uint8Array.of(byte)));
  if (one === undefined || other === undefined) throw new Error("no CIDs");
  const write = async (text: string, mode = "block"): Promise<void> => {
    await pool.query("insert into blocked_cids (cid, mode) values ($1, $2)", [text, mode]);
  };
  const names = [DAG_CBOR_CODEC, RAW_CODEC, DAG_PB_CODEC].map((codec) => CID.createV1(codec, one.multihash));
  const verdicts = async (): Promise<readonly boolean[]> =>
    await Promise.all(
      [...names, CID.createV0(createMultihash(SHA2_256, one.multihash.digest))].map(
        async (cid) => await isBlocked([other, cid]),
      ),
    );
  await write("not a CID");
  await write(other.toString(), "redirect");
  expect(new Set(await verdicts())).toEqual(new Set([false]));
  await write(one.toString(base36));
  expect(await isBlocked([one])).toBe(false);
  clock.step(10_000);
  expect(new Set(await verdicts())).toEqual(new Set([true]));
  expect(await isBlocked([other])).toBe(false);
  await pool.query("delete from blocked_cids");
  clock.step(10_000);
  expect(new Set(await verdicts())).toEqual(new Set([false]));
});
