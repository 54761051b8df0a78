import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { resolveUserId } from "../../../src/lib/identity/user-id.ts";
import type { OperatorRole } from "../../../src/lib/membership/records.ts";
import type { MembershipStore } from "../../../src/lib/membership/store.ts";
import { type ApiAnswer, insertSession, makeTestApi, signToken, type TestApi } from "../../support/api.ts";

let api: TestApi;
const ADMIN = "admin@example.org";
const WALLET = "0x52908400098527886e0f7030069857d2e4169ee7";
const URL = "/api/admin/suspended";

type Headers = Readonly<Record<string, string>>;

beforeAll(async () => {
  api = await makeTestApi({ "api.admins": ADMIN, "api.requestsPerMinute": "10000" });
});
afterAll(async () => {
  await api[Symbol.asyncDispose]();
});

function store(): MembershipStore {
  if (api.controlPlane.store === null) throw new Error("the control plane is not open");
  return api.controlPlane.store;
}

async function add(id: string, role: OperatorRole): Promise<void> {
  await store().addOperator({ id, role, status: "active", name: "", createdAt: "2026-11-20T03:00:00.000Z" });
}

async function bearer(sub: string, scope = "*"): Promise<Headers> {
  const iat = Math.floor(Date.now() / 1_000);
  return { authorization: `Bearer ${await signToken(api.secrets.jwt, { sub, scope, iat })}` };
}

async function ask(headers: Headers, from = "203.0.113.1"): Promise<ApiAnswer> {
  return await api.call({ url: URL, headers, from });
}

async function isAdmin(headers: Headers): Promise<unknown> {
  return (await api.call({ url: "/api/v1/userinfo", headers })).json.isAdmin;
}

async function refusals(actor: string): Promise<readonly unknown[]> {
  const { rows } = await api.database.pool.query(
    "select target_id, details from admin_audit_log where action = 'authorization.refuse' and actor = $1 order by id",
    [actor],
  );
  return rows;
}

describe("a route for administrators", () => {
  test("is opened by the control plane alone: a user who is revoked there is refused, whatever the settings say", async () => {
    const headers = { authorization: `Bearer ${await insertSession(api.database, ADMIN)}` };
    expect((await ask(headers)).status).toBe(200);
    expect(await isAdmin(headers)).toBe(true);
    const id = `user:${resolveUserId(ADMIN)}`;
    await store().changeOperator(id, { status: "revoked" });
    const { status, json } = await ask(headers);
    expect([status, json.error.reason]).toEqual([403, "FORBIDDEN"]);
    expect(json.error.details).toContain("revoked");
    expect(await isAdmin(headers)).toBe(false);
    expect(await refusals(`admin:${resolveUserId(ADMIN)}`)).toEqual([
      { target_id: `GET ${URL}`, details: { reason: "revoked" } },
    ]);
    await store().changeOperator(id, { status: "active" });
    expect((await ask(headers)).status).toBe(200);
  });

  test("lets a wallet in that is an operator, and writes down that it was the wallet", async () => {
    const headers = await bearer(WALLET);
    expect((await ask(headers)).status).toBe(403);
    expect(await isAdmin(headers)).toBe(false);
    await add(WALLET, "operator");
    expect((await ask(headers)).status).toBe(200);
    expect(await isAdmin(headers)).toBe(true);
    const body = { user: "paid@example.org", amount: 1, reason: "by a wallet", create: true };
    const adjusted = await api.call({ method: "POST", url: "/api/admin/adjust", headers, body });
    expect(adjusted.status).toBe(200);
    const { rows } = await api.database.pool.query("select actor from admin_audit_log where target_id = $1", [
      resolveUserId(body.user),
    ]);
    expect(rows).toEqual([{ actor: `admin:${WALLET}` }]);
  });

  test("takes a credential of the scope besides", async () => {
    expect((await ask(await bearer(ADMIN, "storage:*"))).json.error.details).toContain("scope");
  });

  test("knows strangers by nothing: their attempts fill no audit log", async () => {
    const headers = await bearer("stranger@example.org");
    expect((await ask(headers)).status).toBe(403);
    expect(await refusals(`admin:${resolveUserId("stranger@example.org")}`)).toEqual([]);
  });

  test("refuses the system key once its operator is revoked, thirty times a minute with an entry", async () => {
    const headers = { "x-system-key": api.secrets.system };
    expect((await ask(headers)).status).toBe(200);
    await store().changeOperator("system", { status: "revoked" });
    const statuses = new Set<number>();
    for (let count = 0; count < 40; count += 1) statuses.add((await ask(headers, "203.0.113.77")).status);
    expect(statuses).toEqual(new Set([403, 429]));
    expect((await refusals("system")).length).toBe(30);
    await store().changeOperator("system", { status: "active" });
    expect((await ask(headers, "203.0.113.77")).status).toBe(200);
  });
});

test("whoever cannot be asked about is not let in, is told to come again, and is no administrator meanwhile", async () => {
  const own = await makeTestApi({ "api.admins": ADMIN });
  try {
    const headers = { authorization: `Bearer ${await insertSession(own.database, ADMIN)}` };
    await own.controlPlane.store?.close();
    const { status, json, headers: answered } = await own.call({ url: URL, headers });
    expect([status, json.error.reason]).toEqual([503, "CONTROL_PLANE_UNREACHABLE"]);
    expect(answered["retry-after"]).toBe("5");
    expect((await own.call({ url: "/api/v1/userinfo", headers })).json.isAdmin).toBe(false);
    expect((await own.call({ url: "/api/v1/storage", headers })).status).toBe(200);
  } finally {
    await own[Symbol.asyncDispose]();
  }
});
