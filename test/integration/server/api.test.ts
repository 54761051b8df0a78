import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { resolveUserId } from "../../../src/lib/identity/user-id.ts";
import { insertSession, makeTestApi, signServiceAuth, type TestApi } from "../../support/api.ts";
import { operationsOf } from "../../support/openapi.ts";

const ADMIN = "admin@example.org";
let api: TestApi;

beforeAll(async () => {
  api = await makeTestApi({ "api.admins": ADMIN, "api.requestsPerMinute": "10000" });
});
afterAll(async () => {
  await api[Symbol.asyncDispose]();
});

async function giveAccount(user: string, balance: string, bytes = 0n): Promise<string> {
  const userId = resolveUserId(user);
  await api.database.pool.query("insert into user_credits (user_id, opening_fula, balance_fula) values ($1, $2, $2)", [
    userId,
    balance,
  ]);
  if (bytes > 0n) {
    await api.database.pool.query(
      "insert into pins (requestid, cid, status, size, user_id) values ($1, $1, 'pinned', $2, $3)",
      [`bafy-${user}`, bytes.toString(), userId],
    );
  }
  return userId;
}

describe("GET /api/v1/storage", () => {
  test("has the fleet's fields as numbers, and beside them the exact texts", async () => {
    await giveAccount("storage@example.org", "12.000000000000000001", 11_261_706_240n);
    const { status, json } = await api.call({
      url: "/api/v1/storage",
      headers: await api.bearer("storage@example.org"),
    });
    expect(status).toBe(200);
    expect(json).toEqual({
      currentStorageBytes: 11_261_706_240,
      freeTierBytes: 524_288_000,
      paidStorageBytes: 4_294_967_296,
      totalAvailableBytes: 4_819_255_296,
      balanceFula: 12,
      monthlyBurnRate: 30,
      isConsuming: true,
      canUpload: true,
      isSuspended: false,
      balance: "12.000000000000000001",
      monthlyBurn: "30",
    });
  });

  test("answers whoever has more than JSON counts exactly, in FULA and in the bytes that it pays for", async () => {
    await giveAccount("whale@example.org", "99999999999999999999.5");
    const headers = await api.bearer("whale@example.org");
    const { status, json } = await api.call({ url: "/api/v1/storage", headers });
    expect([status, json.canUpload, json.balance]).toEqual([200, true, "99999999999999999999.5"]);
    expect(json.paidStorageBytes).toBeGreaterThan(Number.MAX_SAFE_INTEGER);
  });

  test("knows a user whom nobody has met, who may store what is free", async () => {
    const { json } = await api.call({ url: "/api/v1/storage", headers: await api.bearer("new@example.org") });
    expect(json).toMatchObject({ currentStorageBytes: 0, balanceFula: 0, canUpload: true, isSuspended: false });
  });

  test("a suspended user may not upload, even below the free tier (defect 12)", async () => {
    const userId = await giveAccount("suspended@example.org", "-1");
    await api.database.pool.query("update user_credits set is_suspended = 1, suspended_at = now() where user_id = $1", [
      userId,
    ]);
    const { json } = await api.call({ url: "/api/v1/storage", headers: await api.bearer("suspended@example.org") });
    expect(json).toMatchObject({ canUpload: false, isSuspended: true, paidStorageBytes: 0 });
  });
});

describe("credits", () => {
  test.each(["/api/v1/credits", "/api/credits"])("%s has the fleet's fields", async (url) => {
    const user = `credits${url.length}@example.org`;
    await giveAccount(user, "0.25");
    const { json } = await api.call({ url, headers: await api.bearer(user) });
    expect(json).toEqual({
      email: null,
      balanceFula: 0.25,
      totalDeposited: 0,
      totalDeducted: 0,
      totalBonusReceived: 0,
      isSuspended: false,
      currentStorageBytes: 0,
      freeTierBytes: 524_288_000,
      canUpload: true,
      message: "Uploads are possible.",
      balance: "0.25",
    });
  });

  test("the history has every entry once, page by page, newest first", async () => {
    const user = "history@example.org";
    for (const amount of ["1", "2", "3"]) {
      await api.call({
        method: "POST",
        url: "/api/admin/adjust",
        headers: { "x-system-key": api.secrets.system },
        body: { user, amount, reason: "test", create: true },
      });
    }
    const headers = await api.bearer(user);
    const first = await api.call({ url: "/api/v1/credits/history?limit=2", headers });
    expect(first.json).toMatchObject({ page: 1, limit: 2, total: 3 });
    expect(first.json.history).toMatchObject([
      { txType: "adjustment", amountFula: 3, balanceAfter: 6, amount: "3", balance: "6" },
      { txType: "adjustment", amountFula: 2, balanceAfter: 3 },
    ]);
    const cursor = encodeURIComponent(first.json.nextCursor);
    const second = await api.call({ url: `/api/credits/history?limit=2&cursor=${cursor}`, headers });
    expect(second.json.history.map(({ amount }: { amount: string }) => amount)).toEqual(["1"]);
    expect(second.json.nextCursor).toBeNull();
    const byPage = await api.call({ url: "/api/v1/credits/history?limit=2&page=2", headers });
    expect(byPage.json.history).toEqual(second.json.history);
  });

  test("the history names no operator, and not why he did it", async () => {
    const user = "nosy@example.org";
    const admin = resolveUserId(ADMIN);
    const userId = await giveAccount(user, "0");
    await api.call({
      method: "POST",
      url: "/api/admin/adjust",
      headers: { authorization: `Bearer ${await insertSession(api.database, ADMIN)}` },
      body: { user, amount: "1", reason: "a secret of the house", key: "ticket-9" },
    });
    // As the existing fleet wrote them.
    for (const reference of [`admin:${admin}:goodwill`, "system:x402:top-up"]) {
      await api.database.pool.query(
        "insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id) values ($1, 'adjustment', 1, 1, $2)",
        [userId, reference],
      );
    }
    const { json } = await api.call({ url: "/api/v1/credits/history", headers: await api.bearer(user) });
    const references = json.history.map(({ referenceId }: { referenceId: string | null }) => referenceId);
    expect(references).toEqual(["system:x402:top-up", "admin", "adjustment:ticket-9"]);
    expect(JSON.stringify(json)).not.toMatch(new RegExp(`${admin}|${ADMIN}|secret|goodwill`));
  });

  test("a limit above 100 is taken as 100, and a page that is no number is refused", async () => {
    const headers = await api.bearer("history@example.org");
    expect((await api.call({ url: "/api/v1/credits/history?limit=500", headers })).json.limit).toBe(100);
    const refused = await api.call({ url: "/api/v1/credits/history?page=first", headers });
    expect(refused).toMatchObject({ status: 400, json: { error: { reason: "INVALID_REQUEST" } } });
    const lost = await api.call({ url: "/api/v1/credits/history?cursor=nowhere", headers });
    expect(lost).toMatchObject({ status: 400, json: { error: { reason: "HISTORY_PAGE" } } });
  });

  test("the price is public", async () => {
    const { json } = await api.call({ url: "/api/credits/pricing" });
    expect(json).toMatchObject({
      freeTierBytes: 524_288_000,
      fulaPerGbMonth: 3,
      hoursPerMonth: 720,
      bytesPerGb: 1_073_741_824,
      price: "3",
      chains: [{ chainId: 8453, name: "base" }],
    });
  });

  test("userinfo says what the web UI keeps about the user", async () => {
    const userId = resolveUserId("info@example.org");
    await api.database.pool.query("insert into webui_users (user_id, email, name) values ($1, $2, 'Ada')", [
      userId,
      "info@example.org",
    ]);
    const { json } = await api.call({ url: "/api/v1/userinfo", headers: await api.bearer("info@example.org") });
    expect(json).toMatchObject({ userId, email: "info@example.org", name: "Ada", company: null, isAdmin: false });
  });
});

describe("who is let in", () => {
  const url = "/api/v1/storage";

  test("a session of the fleet, until it expires", async () => {
    const token = await insertSession(api.database, "session@example.org");
    expect((await api.call({ url, headers: { authorization: `Bearer ${token}` } })).status).toBe(200);
    const late = await insertSession(api.database, "session@example.org", "-1 second");
    const refused = await api.call({ url, headers: { authorization: `Bearer ${late}` } });
    expect(refused).toMatchObject({ status: 401, json: { error: { reason: "UNAUTHORIZED" } } });
    expect(refused.json.error.details).toMatch(/the session has expired/);
    expect(refused.headers["www-authenticate"]).toBe("Bearer");
  });

  test("a gateway that acts for its user", async () => {
    const header = signServiceAuth(api.secrets.service, "service@example.org", Math.floor(Date.now() / 1_000) + 60);
    expect((await api.call({ url, headers: { "x-fula-service-auth": header } })).status).toBe(200);
    const forged = signServiceAuth("another secret", "service@example.org", Math.floor(Date.now() / 1_000) + 60);
    expect((await api.call({ url, headers: { "x-fula-service-auth": forged } })).status).toBe(401);
  });

  test("nobody without a credential, and nobody with one of another kind", async () => {
    for (const headers of [
      {},
      { authorization: "Basic YTpi" },
      { authorization: "Bearer" },
      { authorization: "Bearer unknown" },
      { "x-system-key": api.secrets.system },
    ]) {
      expect([headers, (await api.call({ url, headers, from: "203.0.113.9" })).status]).toEqual([headers, 401]);
    }
  });

  test("a credential that is refused is not made good by another one", async () => {
    const good = signServiceAuth(api.secrets.service, "service@example.org", Math.floor(Date.now() / 1_000) + 60);
    const headers = { authorization: "Bearer unknown", "x-fula-service-auth": good };
    expect((await api.call({ url, headers })).status).toBe(401);
  });

  test("a token that was deleted in the web UI is refused, though its signature is good", async () => {
    const headers = await api.bearer("revoked@example.org");
    expect((await api.call({ url, headers })).status).toBe(200);
    await api.database.pool.query(
      "insert into api_keys (key_hash, is_deleted) values (encode(sha256(convert_to($1, 'utf8')), 'hex'), 1)",
      [headers.authorization.slice("Bearer ".length)],
    );
    expect((await api.call({ url, headers })).json.error.details).toMatch(/revoked/);
  });

  test("with a scope that only reads, one may read and not write", async () => {
    const headers = await api.bearer("reader@example.org", { scope: "storage:read" });
    expect((await api.call({ url, headers })).status).toBe(200);
    const body = { address: `0x${"11".repeat(20)}`, chainId: 8453 };
    const refused = await api.call({ method: "POST", url: "/api/v1/wallets/challenge", headers, body });
    expect(refused).toMatchObject({ status: 403, json: { error: { reason: "FORBIDDEN" } } });
  });

  test("what is written in the table of sessions is no token", async () => {
    await insertSession(api.database, "stolen@example.org");
    const { rows } = await api.database.pool.query<{ session_token: string }>(
      "select session_token from sessions where user_id = $1",
      [resolveUserId("stolen@example.org")],
    );
    const headers = { authorization: `Bearer ${rows[0]?.session_token}` };
    expect((await api.call({ url, headers })).status).toBe(401);
  });
});

describe("administration", () => {
  const url = "/api/admin/adjust";
  const system = (): Readonly<Record<string, string>> => ({ "x-system-key": api.secrets.system });

  test("an adjustment is made once a key, and says who made it", async () => {
    const body = { user: "adjust@example.org", amount: "0.1", reason: "refund", key: "ticket-7", create: true };
    const first = await api.call({ method: "POST", url, headers: system(), body });
    expect(first.json).toMatchObject({ success: true, applied: true, key: "ticket-7", balance: "0.1" });
    const again = await api.call({ method: "POST", url, headers: system(), body });
    expect(again.json).toMatchObject({ applied: false, entryId: first.json.entryId, balance: "0.1" });
    const other = await api.call({ method: "POST", url, headers: system(), body: { ...body, amount: "0.2" } });
    expect(other).toMatchObject({ status: 409, json: { error: { reason: "CREDIT_REFERENCE_TAKEN" } } });
    const { rows } = await api.database.pool.query("select actor from admin_audit_log where target_id = $1", [
      resolveUserId(body.user),
    ]);
    expect(rows).toEqual([{ actor: "system" }]);
  });

  test("a session of an administrator may, their storage key may not, nor anybody else", async () => {
    const body = { user: "adjust@example.org", amount: 1, reason: "by hand" };
    const session = { authorization: `Bearer ${await insertSession(api.database, ADMIN)}` };
    expect((await api.call({ method: "POST", url, headers: session, body })).status).toBe(200);
    const { rows } = await api.database.pool.query("select actor from admin_audit_log where details->>'reason' = $1", [
      "by hand",
    ]);
    expect(rows).toEqual([{ actor: `admin:${resolveUserId(ADMIN)}` }]);
    const storageKey = await api.bearer(ADMIN, { scope: "storage:read storage:write" });
    expect((await api.call({ method: "POST", url, headers: storageKey, body })).status).toBe(403);
    const somebody = { authorization: `Bearer ${await insertSession(api.database, "eve@example.org")}` };
    expect((await api.call({ method: "POST", url, headers: somebody, body })).status).toBe(403);
  });

  test("amounts that are none, fields that nobody knows and users that are none are refused, and change nothing", async () => {
    const good = { user: "adjust2@example.org", amount: "1", reason: "x", create: true };
    for (const change of [
      { amount: "1e3" },
      { amount: "NaN" },
      { amount: 0 },
      { ammount: 1 },
      { user: "nobody" },
      { reason: " " },
      { reason: "two\nlines" },
      { reason: "nothing\u0000" },
      { create: "yes" },
    ]) {
      const { status } = await api.call({ method: "POST", url, headers: system(), body: { ...good, ...change } });
      expect([change, status]).toEqual([change, 400]);
    }
    const { json } = await api.call({ url: "/api/v1/storage", headers: await api.bearer(good.user) });
    expect(json.balance).toBe("0");
  });

  test("a user whom the ledger does not know is made by no mistyped name, only where that is asked for", async () => {
    const body = { user: "mistyped@example.org", amount: "1", reason: "refund" };
    const unknown = { status: 404, json: { error: { reason: "ACCOUNT_UNKNOWN" } } };
    expect(await api.call({ method: "POST", url, headers: system(), body })).toMatchObject(unknown);
    const lift = { user: body.user, reason: "paid" };
    const lifting = { method: "POST", url: "/api/admin/unsuspend", headers: system(), body: lift } as const;
    expect(await api.call(lifting)).toMatchObject(unknown);
    const { rows } = await api.database.pool.query("select from user_credits where user_id = $1", [
      resolveUserId(body.user),
    ]);
    expect(rows).toEqual([]);
    const made = await api.call({ method: "POST", url, headers: system(), body: { ...body, create: true } });
    expect(made).toMatchObject({ status: 200, json: { applied: true, balance: "1" } });
    expect(await api.call({ method: "POST", url, headers: system(), body })).toMatchObject({ status: 200 });
  });

  test("suspended accounts are listed, and a suspension can be lifted", async () => {
    const userId = await giveAccount("lifted@example.org", "-0.5");
    await api.database.pool.query(
      "update user_credits set is_suspended = 1, suspended_at = '2026-01-01' where user_id = $1",
      [userId],
    );
    const { json } = await api.call({ url: "/api/admin/suspended", headers: system() });
    expect(json.users).toContainEqual({
      userId,
      balanceFula: -0.5,
      balance: "-0.5",
      currentStorageBytes: 0,
      suspendedAt: "2026-01-01T00:00:00.000Z",
    });
    const body = { user: "lifted@example.org", reason: "paid by invoice" };
    const lift = async (): Promise<unknown> =>
      (await api.call({ method: "POST", url: "/api/admin/unsuspend", headers: system(), body })).json;
    expect(await lift()).toEqual({ success: true, userId, changed: true });
    expect(await lift()).toEqual({ success: true, userId, changed: false });
  });
});

describe("the OpenAPI document", () => {
  test("gives every route its errors, and says how its caller shows who it is", () => {
    for (const { method, path, statuses } of operationsOf(api.document)) {
      expect([method, path, statuses]).toEqual([method, path, expect.arrayContaining(["400", "429", "500", "503"])]);
      expect([method, path, statuses.some((status) => status.startsWith("2"))]).toEqual([method, path, true]);
      const isPublic = path.endsWith("/pricing");
      expect([path, statuses.includes("401")]).toEqual([path, !isPublic]);
      expect([path, api.document.paths[path]?.[method]?.security?.length ?? 0]).toEqual([path, isPublic ? 0 : 2]);
    }
  });

  test("every route that it names is answered, a wrong body too, as it says", async () => {
    for (const { method, path } of operationsOf(api.document)) {
      const url = path.replace("{address}", "0x");
      const [GET, POST, DELETE] = ["GET", "POST", "DELETE"] as const;
      const verb = method === "get" ? GET : method === "post" ? POST : DELETE;
      if (path.endsWith("/pricing")) continue;
      const stranger = await api.call({ method: verb, url, from: `198.51.100.${url.length}` });
      expect([path, stranger.status]).toEqual([path, 401]);
      // Neither asks for anything in its body.
      if (method === "post" && !path.endsWith("scan-blocks") && !path.endsWith("revoke-all")) {
        const headers = { ...(await api.bearer("wrong@example.org")), "x-system-key": api.secrets.system };
        const refused = await api.call({ method: POST, url, headers, body: { nothing: true } });
        expect([path, refused.status]).toEqual([path, 400]);
      }
    }
  });

  test("a path that cannot be read is refused as documented", async () => {
    const headers = await api.bearer("path@example.org");
    for (const address of ["%zz", "a".repeat(300)]) {
      const refused = await api.call({ method: "DELETE", url: `/api/v1/wallets/${address}`, headers });
      expect(refused).toMatchObject({ status: 400, json: { error: { reason: "INVALID_REQUEST" } } });
    }
  });

  test("a body that is too long or of another kind is refused as documented", async () => {
    const headers = await api.bearer("body@example.org");
    const url = "/api/v1/wallets/challenge";
    const long = await api.call({ method: "POST", url, headers, body: { address: "x".repeat(20_000) } });
    expect(long).toMatchObject({ status: 413, json: { error: { reason: "BODY_TOO_LARGE" } } });
    const xml = await api.call({
      method: "POST",
      url,
      headers: { ...headers, "content-type": "text/xml" },
      body: "<a/>",
    });
    expect(xml).toMatchObject({ status: 415, json: { error: { reason: "UNSUPPORTED_MEDIA_TYPE" } } });
  });
});
