import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { decodeJwt, decodeProtectedHeader } from "jose";
import { digestOfJwt } from "../../../src/lib/identity/bearer-jwt.ts";
import { ownerOfSubject } from "../../../src/lib/identity/subject.ts";
import { resolveUserId } from "../../../src/lib/identity/user-id.ts";
import {
  type ApiAnswer,
  type ApiCall,
  makeTestApi,
  signServiceAuth,
  signToken,
  type TestApi,
} from "../../support/api.ts";
import { until } from "../../support/until.ts";

const WALLET = `0x${"ab".repeat(20)}`;
const HOUR_SECONDS = 3_600;
let api: TestApi;

beforeAll(async () => {
  api = await makeTestApi({ "identity.denyListRefresh": "100ms", "api.requestsPerMinute": "100000" });
});
afterAll(async () => {
  await api[Symbol.asyncDispose]();
});

type Headers = Readonly<Record<string, string>>;

function bearer(token: string): Headers {
  return { authorization: `Bearer ${token}` };
}

async function ask(method: ApiCall["method"], url: string, headers: Headers, body?: unknown): Promise<ApiAnswer> {
  return await api.call({ method: method ?? "GET", url, headers, ...(body !== undefined && { body }) });
}

async function makeKey(
  headers: Headers,
  body: object = {},
): Promise<{ readonly id: string; readonly headers: Headers }> {
  const { status, json } = await ask("POST", "/api/v1/keys", headers, body);
  expect(status).toBe(201);
  const id = String(json.key.keyId);
  return { id, headers: bearer(`${id}.${json.secret}`) };
}

async function me(headers: Headers): Promise<ApiAnswer> {
  return await ask("GET", "/api/v1/me", headers);
}

describe("access keys of a user", () => {
  test("are made, shown once, used as bearer tokens, listed and revoked, and each act is in the audit log", async () => {
    const user = await api.bearer("alice@example.org");
    const made = await ask("POST", "/api/v1/keys", user, { label: "laptop", scopes: ["storage:read"] });
    expect(made).toMatchObject({ status: 201, json: { key: { label: "laptop", state: "active", expiresAt: null } } });
    const { keyId } = made.json.key;
    const key = bearer(`${keyId}.${made.json.secret}`);
    const userId = resolveUserId("alice@example.org");
    expect(await me(key)).toMatchObject({ status: 200, json: { userId, by: "key", scope: "storage:read" } });
    await until(
      "the use of the key is noted",
      async () => (await ask("GET", "/api/v1/keys", user)).json.keys[0].lastUsedAt !== null,
    );
    const listed = await ask("GET", "/api/v1/keys", user);
    expect(listed.json.keys.map((each: { keyId: string }) => each.keyId)).toEqual([keyId]);
    expect(JSON.stringify(listed.json)).not.toContain(made.json.secret);
    const stranger = await api.bearer("mallory@example.org");
    expect((await ask("GET", "/api/v1/keys", stranger)).json.keys).toEqual([]);
    expect((await ask("DELETE", `/api/v1/keys/${keyId}`, stranger)).status).toBe(404);
    expect((await ask("DELETE", `/api/v1/keys/${keyId}`, user)).json).toEqual({ keyId, revoked: true, already: false });
    expect((await ask("DELETE", `/api/v1/keys/${keyId}`, user)).json).toMatchObject({ already: true });
    await until("the key is refused", async () => (await me(key)).status === 401);
    const { rows } = await api.database.pool.query(
      "select actor, action, details::text from admin_audit_log where target_id = $1 order by id",
      [keyId],
    );
    expect(rows.map(({ actor, action }) => [actor, action])).toEqual([
      [`user:${userId}`, "key.create"],
      [`user:${userId}`, "key.revoke"],
    ]);
    expect(JSON.stringify(rows)).not.toContain(made.json.secret);
  });

  test("of a wallet open the wallet's buckets, and are listed under the wallet alone", async () => {
    const wallet = bearer(await signToken(api.secrets.jwt, { sub: WALLET, scope: "storage:*" }));
    const key = await makeKey(wallet);
    const ownerId = ownerOfSubject({ kind: "wallet", wallet: WALLET });
    expect((await me(key.headers)).json).toMatchObject({ subject: { kind: "wallet", id: WALLET }, ownerId });
    expect((await ask("GET", "/api/v1/keys", wallet)).json.keys[0].wallet).toBe(WALLET);
    const account = await api.bearer((await me(wallet)).json.userId);
    expect((await ask("GET", "/api/v1/keys", account)).json.keys).toEqual([]);
  });

  test("end when they were to, and a key that is made with one ends no later", async () => {
    const user = await api.bearer("ender@example.org");
    const one = await makeKey(user, { lifetimeSeconds: HOUR_SECONDS });
    const child = await ask("POST", "/api/v1/keys", one.headers, { lifetimeSeconds: 2 * HOUR_SECONDS });
    const { keys } = (await ask("GET", "/api/v1/keys", user)).json;
    expect(keys.map((key: { expiresAt: string }) => key.expiresAt)).toEqual([
      child.json.key.expiresAt,
      child.json.key.expiresAt,
    ]);
    // Not used before, so that no master remembers it.
    const { keyId } = child.json.key;
    await api.database.pool.query("update access_keys set expires_at = now() where key_id = $1", [keyId]);
    const refused = await me(bearer(`${keyId}.${child.json.secret}`));
    expect([refused.status, refused.json.error.details]).toEqual([401, expect.stringContaining("has expired")]);
    const after = (await ask("GET", "/api/v1/keys", user)).json.keys;
    expect(after.map((key: { keyId: string; state: string }) => key.state)).toEqual(["expired", "active"]);
    expect((await me(one.headers)).status).toBe(200);
  });

  test("may no more than the credential that makes them, and a gateway that acts for its user makes none", async () => {
    const user = await api.bearer("scoped@example.org");
    const writer = await makeKey(user, { scopes: ["storage:write"] });
    expect(await ask("POST", "/api/v1/keys", writer.headers, { scopes: ["storage:read"] })).toMatchObject({
      status: 403,
      json: { error: { reason: "SCOPE_NOT_HELD" } },
    });
    const inherited = await ask("POST", "/api/v1/keys", writer.headers, {});
    expect(inherited.json.key.scopes).toEqual(["storage:write"]);
    const inSeconds = Math.floor(Date.now() / 1_000) + 60;
    const service = {
      "x-fula-service-auth": signServiceAuth(api.secrets.service, "scoped@example.org", inSeconds),
    };
    for (const url of ["/api/v1/keys", "/api/v1/sessions"]) {
      expect(await ask("POST", url, service, {})).toMatchObject({
        status: 403,
        json: { error: { reason: "CREDENTIAL_TOO_WEAK" } },
      });
    }
  });

  test("are refused with another secret, cut short, of an id that there is not, or in another case", async () => {
    const { id, headers } = await makeKey(await api.bearer("exact@example.org"));
    const token = headers["authorization"]?.slice("Bearer ".length) ?? "";
    expect((await me(headers)).status).toBe(200);
    const other = token.endsWith("A") ? `${token.slice(0, -1)}B` : `${token.slice(0, -1)}A`;
    const wrong = [
      other,
      token.slice(0, -1),
      `${id}.`,
      id,
      token.toLowerCase(),
      `FULAZZZZZZZZZZZZZZZZ.${token.slice(21)}`,
    ];
    for (const each of wrong) expect([each === token, (await me(bearer(each))).status]).toEqual([false, 401]);
  });

  test.each([
    ["a scope that there is not", { scopes: ["admin"] }],
    ["no scope", { scopes: [] }],
    ["a label of two lines", { label: "a\nb" }],
    ["no time at all", { lifetimeSeconds: 0 }],
    ["something that is not known", { user: "bob" }],
  ])("are not made with %s", async (_what, body) => {
    expect((await ask("POST", "/api/v1/keys", await api.bearer("bad@example.org"), body)).status).toBe(400);
  });

  test("of before hashes were kept get theirs when they are used", async () => {
    const { id, headers } = await makeKey(await api.bearer("old@example.org"));
    const hash = async (): Promise<Buffer | null> =>
      (await api.database.pool.query("select secret_hash from access_keys where key_id = $1", [id])).rows[0]
        .secret_hash;
    const before = await hash();
    await api.database.pool.query("update access_keys set secret_hash = null where key_id = $1", [id]);
    expect((await me(headers)).status).toBe(200);
    expect(await hash()).toEqual(before);
  });
});

describe("a session token", () => {
  test("stands for whoever made it, may no more and lives no longer, and makes no other", async () => {
    const user = await api.bearer("session@example.org", { exp: Math.floor(Date.now() / 1_000) + HOUR_SECONDS });
    const made = await ask("POST", "/api/v1/sessions", user, { lifetimeSeconds: 2 * HOUR_SECONDS });
    expect(made).toMatchObject({ status: 201, json: { tokenType: "Bearer", scope: "storage:read storage:write" } });
    const { token } = made.json;
    expect(decodeProtectedHeader(token)).toEqual({ alg: "HS256", typ: "JWT", kid: "env" });
    const claims = decodeJwt(token);
    expect(claims).toMatchObject({ sub: resolveUserId("session@example.org"), scope: "storage:read storage:write" });
    expect(claims.aud).toBeUndefined();
    expect((claims.exp ?? 0) - (claims.iat ?? 0)).toBeLessThanOrEqual(HOUR_SECONDS);
    expect((await me(bearer(token))).json).toMatchObject({ by: "jwt", userId: claims.sub });
    for (const url of ["/api/v1/keys", "/api/v1/sessions"]) {
      expect((await ask("POST", url, bearer(token), {})).json.error.reason).toBe("CREDENTIAL_TOO_WEAK");
    }
  });

  test("has admin only where it is asked for, by a credential that has it", async () => {
    const admin = await api.bearer("root@example.org", { scope: "*" });
    expect((await ask("POST", "/api/v1/sessions", admin, {})).json.scope).toBe("storage:read storage:write");
    const named = await ask("POST", "/api/v1/sessions", admin, { scopes: ["admin"] });
    expect(named.json.scope).toBe("admin");
    const user = await api.bearer("user@example.org");
    expect((await ask("POST", "/api/v1/sessions", user, { scopes: ["admin"] })).status).toBe(403);
  });

  test("that was made with an access key is refused once that key is revoked", async () => {
    const user = await api.bearer("parent@example.org");
    const key = await makeKey(user);
    const { token } = (await ask("POST", "/api/v1/sessions", key.headers, {})).json;
    expect((await me(bearer(token))).status).toBe(200);
    await ask("DELETE", `/api/v1/keys/${key.id}`, user);
    await until("the token is refused", async () => (await me(bearer(token))).status === 401);
    expect((await me(user)).status).toBe(200);
  });

  test("that was made with a key of the web UI is refused once that key is deleted there, and stands in the audit log", async () => {
    const key = await api.bearer("web@example.org", { exp: undefined });
    const { token } = (await ask("POST", "/api/v1/sessions", key, {})).json;
    expect((await me(bearer(token))).status).toBe(200);
    const { pool } = api.database;
    await pool.query(
      "insert into api_keys (key_hash, is_deleted) values (encode(sha256(convert_to($1, 'utf8')), 'hex'), 1)",
      [key.authorization.slice("Bearer ".length)],
    );
    expect((await me(bearer(token))).json.error.details).toContain("the key was revoked");
    const { rows } = await pool.query("select actor, target_id from admin_audit_log where action = 'session.issue'");
    const actor = `user:${resolveUserId("web@example.org")}`;
    expect(rows).toContainEqual({ actor, target_id: digestOfJwt(token) });
    expect(JSON.stringify(rows)).not.toContain(token.slice(-20));
  });
});
