import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createAccessKey } from "../../../src/lib/identity/key-table.ts";
import { createSecretSealer } from "../../../src/lib/identity/sealed-secret.ts";
import { ownAccountOf } from "../../../src/lib/identity/subject.ts";
import { resolveUserId } from "../../../src/lib/identity/user-id.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { type ApiAnswer, insertSession, makeTestApi, signServiceAuth, type TestApi } from "../../support/api.ts";
import { anyContent } from "../../support/contents.ts";
import { CLUSTER_ID, TestWallet } from "../../support/wallet-tokens.ts";

const USER = "everybody@example.org";
const CID = anyContent("everybody's");
const wallet = new TestWallet(0x51);
let api: TestApi;

beforeAll(async () => {
  api = await makeTestApi({ "identity.eip712": "all", "node.clusterId": CLUSTER_ID, "identity.eip712ChainIds": "1" });
});
afterAll(async () => {
  await api[Symbol.asyncDispose]();
});

type Headers = Readonly<Record<string, string>>;

function bearer(token: string): Headers {
  return { authorization: `Bearer ${token}` };
}

async function accessKey(scopes: readonly ("storage:read" | "storage:write")[]): Promise<Headers> {
  const { pair } = await createAccessKey(
    api.database.pool,
    {
      subject: { kind: "user", userId: resolveUserId(USER) },
      scopes,
      label: "test",
      expiresMs: null,
      bearerOnly: true,
      actor: "operator@test",
    },
    { sealer: createSecretSealer(new Secret(api.secrets.encryption)), random: systemRandom },
  );
  return bearer(`${pair.keyId}.${pair.secret.reveal()}`);
}

async function post(headers: Headers, cid = CID): Promise<ApiAnswer> {
  return await api.call({ method: "POST", url: "/pins", body: { cid }, headers });
}

async function ownerOf(requestId: string): Promise<string> {
  const { rows } = await api.database.pool.query("select user_id from pins where requestid = $1", [requestId]);
  return String(rows[0]?.user_id);
}

describe("one user is the same one", () => {
  test.each<[string, () => Promise<Headers>]>([
    ["by a session", async () => bearer(await insertSession(api.database, USER))],
    ["by a token", async () => await api.bearer(USER)],
    ["by an access key", async () => await accessKey(["storage:read", "storage:write"])],
    [
      "by a gateway that acts for him",
      async () => {
        const expires = Math.floor(systemClock.nowMs() / 1_000) + 60;
        const auth = signServiceAuth(api.secrets.service, resolveUserId(USER), expires);
        return await Promise.resolve({ "x-fula-service-auth": auth });
      },
    ],
  ])("%s", async (_how, credential) => {
    const headers = await credential();
    const { status, json } = await post(headers);
    expect(status).toBeOneOf([200, 202]);
    expect(await ownerOf(json.requestid)).toBe(resolveUserId(USER));
    const listed = await api.call({ url: "/pins?status=queued", headers });
    expect(listed.json).toMatchObject({ count: 1, results: [{ requestid: json.requestid }] });
  });
});

test("a key that may only read does not pin", async () => {
  const headers = await accessKey(["storage:read"]);
  expect((await api.call({ url: "/pins", headers })).status).toBe(200);
  expect((await post(headers)).status).toBe(403);
});

describe("a wallet pins by its own signature (defect 53)", () => {
  test.each<[string, string]>([
    ["of the fleet's version", wallet.first(systemClock.nowMs())],
    ["of the second version", wallet.second(systemClock.nowMs())],
  ])("%s, and its own account is metered for it", async (_version, token) => {
    const { status, json } = await post(bearer(token));
    expect(status).toBeOneOf([200, 202]);
    expect(await ownerOf(json.requestid)).toBe(ownAccountOf(wallet.address));
  });

  test("only as far as its token says", async () => {
    const reader = bearer(wallet.second(systemClock.nowMs(), { scope: "storage:read" }));
    expect((await api.call({ url: "/pins?status=queued", headers: reader })).json.count).toBe(1);
    expect((await post(reader)).status).toBe(403);
  });
});
