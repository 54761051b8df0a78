import { privateKeyToAccount } from "viem/accounts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ownAccountOf } from "../../../src/lib/identity/subject.ts";
import { resolveUserId } from "../../../src/lib/identity/user-id.ts";
import {
  type ApiAnswer,
  insertSession,
  makeTestApi,
  signServiceAuth,
  signToken,
  type TestApi,
} from "../../support/api.ts";

const ADMIN = "admin@example.org";
const BASE = 8453;
const NOW_SECONDS = Math.floor(Date.now() / 1_000);
const wallet = privateKeyToAccount(`0x${"34".repeat(32)}`);
let api: TestApi;

beforeAll(async () => {
  api = await makeTestApi({ "api.admins": ADMIN, "api.requestsPerMinute": "10000" });
});
afterAll(async () => {
  await api[Symbol.asyncDispose]();
});

type Headers = Readonly<Record<string, string>>;

async function mayIn(headers: Headers): Promise<number> {
  return (await api.call({ url: "/api/v1/storage", headers })).status;
}

async function post(url: string, headers: Headers, body?: unknown): Promise<ApiAnswer> {
  return await api.call({ method: "POST", url, headers, body });
}

async function audit(target: string): Promise<readonly unknown[]> {
  const { rows } = await api.database.pool.query<{ actor: string; action: string }>(
    "select actor, action from admin_audit_log where target_id = $1 order by id",
    [target],
  );
  return rows.map(({ actor, action }) => [actor, action]);
}

describe("an administrator", () => {
  test("revokes one token, which this master refuses at once, and no other one of its user", async () => {
    const user = "one@example.org";
    const stolen = await api.bearer(user, { iat: NOW_SECONDS, jti: "1" });
    const own = await api.bearer(user, { iat: NOW_SECONDS, jti: "2" });
    expect([await mayIn(stolen), await mayIn(own)]).toEqual([200, 200]);
    const admin = await api.bearer(ADMIN, { scope: "admin" });
    const token = stolen.authorization.slice("Bearer ".length);
    const denied = await post("/api/v1/admin/denials", admin, { token, reason: "posted in a chat" });
    expect(denied).toMatchObject({ status: 200, json: { changed: true, denial: { kind: "digest", liftedAt: null } } });
    expect(JSON.stringify(denied.json)).not.toContain(token.slice(-20));
    expect([await mayIn(stolen), await mayIn(own)]).toEqual([401, 200]);
    const { subject } = denied.json.denial;
    const listed = await api.call({ url: "/api/v1/admin/denials", headers: admin });
    expect(listed.json.denials.map((denial: { subject: string }) => denial.subject)).toContain(subject);
    const url = `/api/v1/admin/denials/digest/${subject}?reason=found+again`;
    expect((await api.call({ method: "DELETE", url, headers: admin })).json).toMatchObject({ changed: true });
    expect((await api.call({ method: "DELETE", url, headers: admin })).json).toMatchObject({ changed: false });
    expect(await mayIn(stolen)).toBe(200);
    const actor = `admin:${resolveUserId(ADMIN)}`;
    expect(await audit(subject)).toEqual([
      [actor, "credential.deny"],
      [actor, "credential.lift"],
    ]);
  });

  test("revokes all that a user was given before a time, of whatever kind", async () => {
    const user = "all@example.org";
    const session = { authorization: `Bearer ${await insertSession(api.database, user)}` };
    const undated = await api.bearer(user);
    const ofFastClock = await api.bearer(user, { iat: NOW_SECONDS + 290 });
    expect(await mayIn(ofFastClock)).toBe(200);
    const system = { "x-system-key": api.secrets.system };
    const denied = await post("/api/v1/admin/denials", system, { user, reason: "a test" });
    expect(denied.json.denial).toMatchObject({ kind: "user", subject: resolveUserId(user), deniedBy: "system" });
    expect([await mayIn(session), await mayIn(undated), await mayIn(ofFastClock)]).toEqual([401, 401, 401]);
    const newLogin = { authorization: `Bearer ${await insertSession(api.database, user)}` };
    expect(await mayIn(newLogin)).toBe(200);
  });

  test("sees which access keys that refuses, and none is made that would be refused", async () => {
    const user = "keys@example.org";
    const { json } = await post("/api/v1/keys", await api.bearer(user), { label: "old" });
    const system = { "x-system-key": api.secrets.system };
    await post("/api/v1/admin/denials", system, { user, reason: "a test" });
    const login = { authorization: `Bearer ${await insertSession(api.database, user)}` };
    const states = async (): Promise<readonly unknown[]> =>
      (await api.call({ url: "/api/v1/keys", headers: login })).json.keys.map((key: { state: string }) => key.state);
    expect(await states()).toEqual(["denied"]);
    expect((await post("/api/v1/keys", login, {})).json.error.reason).toBe("SUBJECT_DENIED");
    const lift = `/api/v1/admin/denials/user/${resolveUserId(user)}?reason=a`;
    await api.call({ method: "DELETE", url: lift, headers: system });
    expect(await states()).toEqual(["active"]);
    await post("/api/v1/admin/denials", system, { keyId: json.key.keyId, reason: "a test" });
    expect(await states()).toEqual(["denied"]);
    expect((await post("/api/v1/keys", login, {})).status).toBe(201);
  });

  test.each([
    [{ reason: "a" }],
    [{ wallet: wallet.address, user: "a@example.org", reason: "a" }],
    [{ wallet: "a@example.org", reason: "a" }],
    [{ digest: "ab", reason: "a" }],
    [{ keyId: "AKIA", reason: "a" }],
    [{ token: "fula-eip712.e30.AA", reason: "a" }],
    [{ user: "a@example.org" }],
    [{ user: "a@example.org", reason: "two\nlines" }],
  ])("is told that %j is no denial", async (body) => {
    const { status } = await post("/api/v1/admin/denials", { "x-system-key": api.secrets.system }, body);
    expect(status).toBe(400);
  });

  test("is the only one who may", async () => {
    const user = await api.bearer("user@example.org", { scope: "*" });
    expect((await post("/api/v1/admin/denials", user, { user: ADMIN, reason: "a" })).status).toBe(403);
    expect((await api.call({ url: "/api/v1/admin/denials", headers: user })).status).toBe(403);
    const url = `/api/v1/admin/denials/user/${resolveUserId(ADMIN)}?reason=a`;
    expect((await api.call({ method: "DELETE", url, headers: user })).status).toBe(403);
    const headers = { "x-system-key": api.secrets.system };
    expect((await api.call({ method: "DELETE", url, headers })).json.error.reason).toBe("DENIAL_NOT_FOUND");
  });
});

describe("signing out everywhere", () => {
  test("revokes what the user was given until now, the request's own credential too", async () => {
    const user = "out@example.org";
    const session = { authorization: `Bearer ${await insertSession(api.database, user)}` };
    const token = await api.bearer(user, { iat: NOW_SECONDS - 10 });
    const other = await api.bearer("neighbour@example.org", { iat: NOW_SECONDS - 10 });
    const { status, json } = await post("/api/v1/sessions/revoke-all", token);
    expect([status, json.success]).toEqual([200, true]);
    expect([await mayIn(session), await mayIn(token), await mayIn(other)]).toEqual([401, 401, 200]);
    const aheadMs = Date.parse(json.issuedBefore) - Date.now();
    expect(Math.round(aheadMs / 60_000)).toBe(5);
    expect(await mayIn({ authorization: `Bearer ${await insertSession(api.database, user)}` })).toBe(200);
    const userId = resolveUserId(user);
    expect(await audit(userId)).toEqual([[`user:${userId}`, "credential.deny"]]);
  });

  test("is not done by a gateway that acts for its user; and where he has, none acts for him any more", async () => {
    const user = "gateway@example.org";
    const expires = Math.floor(Date.now() / 1_000) + 60;
    const service = { "x-fula-service-auth": signServiceAuth(api.secrets.service, user, expires) };
    expect(await mayIn(service)).toBe(200);
    expect((await post("/api/v1/sessions/revoke-all", service)).status).toBe(403);
    await post("/api/v1/sessions/revoke-all", await api.bearer(user));
    expect(await mayIn(service)).toBe(401);
  });
});

describe("a wallet that the ledger has never seen", () => {
  const address = wallet.address.toLowerCase();
  const bearer = async (): Promise<Headers> => {
    const claims = { sub: address, scope: "storage:*", iat: NOW_SECONDS };
    return { authorization: `Bearer ${await signToken(api.secrets.jwt, claims)}` };
  };

  test("has the free tier, and an account without entries", async () => {
    const headers = await bearer();
    expect((await api.call({ url: "/api/v1/storage", headers })).json).toMatchObject({
      currentStorageBytes: 0,
      freeTierBytes: 524_288_000,
      canUpload: true,
      isSuspended: false,
    });
    const credits = await api.call({ url: "/api/v1/credits", headers });
    expect(credits).toMatchObject({ status: 200, json: { balance: "0" } });
    const history = await api.call({ url: "/api/v1/credits/history", headers });
    expect(history.status).toBe(200);
  });

  test("that an administrator pays for administrates nothing", async () => {
    const paid = privateKeyToAccount(`0x${"36".repeat(32)}`);
    const account = await api.bearer(ADMIN);
    const claim = { address: paid.address, chainId: BASE };
    const { message } = (await post("/api/v1/wallets/challenge", account, claim)).json;
    const body = { ...claim, message, signature: await paid.signMessage({ message }) };
    expect((await post("/api/v1/wallets/link", account, body)).status).toBe(200);
    const claims = { sub: paid.address.toLowerCase(), scope: "*", iat: NOW_SECONDS };
    const headers = { authorization: `Bearer ${await signToken(api.secrets.jwt, claims)}` };
    const me = await api.call({ url: "/api/v1/userinfo", headers });
    expect(me.json).toMatchObject({ userId: resolveUserId(ADMIN), isAdmin: false });
    expect((await api.call({ url: "/api/v1/admin/denials", headers })).status).toBe(403);
  });

  test("is linked by the account alone, and may leave it by itself", async () => {
    const own = await bearer();
    const user = "holder@example.org";
    const account = await api.bearer(user);
    const claim = { address: wallet.address, chainId: BASE };
    expect((await post("/api/v1/wallets/challenge", own, claim)).json.error.reason).toBe("WALLET_CREDENTIAL");
    const { json } = await post("/api/v1/wallets/challenge", account, claim);
    const signature = await wallet.signMessage({ message: json.message });
    const body = { ...claim, message: json.message, signature };
    expect((await post("/api/v1/wallets/link", own, body)).json.error.reason).toBe("WALLET_CREDENTIAL");
    expect((await post("/api/v1/wallets/link", account, body)).status).toBe(200);
    const other = privateKeyToAccount(`0x${"35".repeat(32)}`);
    await api.database.pool.query(
      "insert into user_wallets (user_id, chain_id, wallet_address_hash, is_verified) values ($1, 1, $2, 1)",
      [resolveUserId(user), ownAccountOf(other.address.toLowerCase())],
    );
    expect((await api.call({ url: "/api/v1/wallets", headers: account })).json.wallets).toHaveLength(2);
    // A master that has just asked whose the wallet is believes it for two seconds; another wallet's answer is new.
    const sub = other.address.toLowerCase();
    const stranger = { authorization: `Bearer ${await signToken(api.secrets.jwt, { sub, scope: "storage:*" })}` };
    expect((await api.call({ url: "/api/v1/wallets", headers: stranger })).json.wallets).toHaveLength(1);
    const leave = async (headers: Headers, who: string): Promise<ApiAnswer> =>
      await api.call({ method: "DELETE", url: `/api/v1/wallets/${who}`, headers });
    expect((await leave(stranger, wallet.address)).json.error.reason).toBe("WALLET_CREDENTIAL");
    expect((await leave(stranger, other.address)).json).toEqual({ success: true, removed: 1 });
    expect((await leave(account, wallet.address)).json).toEqual({ success: true, removed: 1 });
    expect(await audit(ownAccountOf(address))).toEqual([
      [`user:${resolveUserId(user)}`, "wallet.link"],
      [`user:${resolveUserId(user)}`, "wallet.unlink"],
    ]);
    const { rows } = await api.database.pool.query("select a::text as text from admin_audit_log a");
    expect(JSON.stringify(rows).toLowerCase()).not.toContain(address.slice(2));
  });
});
