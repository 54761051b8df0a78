import { afterAll, beforeAll, expect, test } from "vitest";
import { privateKeyToAccount } from "viem/accounts";
import { resolveUserId } from "../../../src/lib/identity/user-id.ts";
import { type ApiAnswer, makeTestApi, type TestApi } from "../../support/api.ts";

const BASE = 8453;
const account = privateKeyToAccount(`0x${"12".repeat(32)}`);
let api: TestApi;

beforeAll(async () => {
  api = await makeTestApi();
});
afterAll(async () => {
  await api[Symbol.asyncDispose]();
});

async function post(user: string, url: string, body: unknown): Promise<ApiAnswer> {
  return await api.call({ method: "POST", url, headers: await api.bearer(user), body });
}

async function balance(user: string): Promise<string> {
  return (await api.call({ url: "/api/v1/credits", headers: await api.bearer(user) })).json.balance;
}

async function signed(user: string): Promise<{ readonly message: string; readonly signature: string }> {
  const { json } = await post(user, "/api/v1/wallets/challenge", { address: account.address, chainId: BASE });
  return { message: json.message, signature: await account.signMessage({ message: json.message }) };
}

test("a wallet is linked by what it signed, its waiting deposit is credited with it, and it is taken off again", async () => {
  const user = "linker@example.org";
  await api.database.pool.query(
    `insert into token_transactions
            (tx_hash, chain_id, from_address, to_address, amount_raw, amount_fula, block_number, block_timestamp,
             block_hash)
     values ($1, $2, $3, $4, '2500000000000000000', 2.5, 1, 1, $5)`,
    [`0x${"cd".repeat(32)}`, BASE, account.address, `0x${"ab".repeat(20)}`, `0x${"ef".repeat(32)}`],
  );
  const linked = await post(user, "/api/v1/wallets/link", {
    walletAddress: account.address.toLowerCase(),
    chainId: BASE,
    ...(await signed(user)),
  });
  expect(linked).toMatchObject({
    status: 200,
    json: { success: true, wallet: { address: account.address, chainId: BASE, isVerified: true } },
  });
  expect(await balance(user)).toBe("2.5");
  const headers = await api.bearer(user);
  const { json } = await api.call({ url: "/api/wallets", headers });
  expect(json.wallets).toEqual([linked.json.wallet]);
  const url = `/api/v1/wallets/${account.address}`;
  expect((await api.call({ method: "DELETE", url, headers })).json).toEqual({ success: true, removed: 1 });
  const gone = await api.call({ method: "DELETE", url, headers });
  expect(gone).toMatchObject({ status: 404, json: { error: { reason: "WALLET_NOT_FOUND" } } });
});

test("what cannot be linked is told with a reason of its own", async () => {
  const user = "first@example.org";
  const body = { address: account.address, chainId: BASE };
  const good = await signed(user);
  const link = async (who: string, change: object): Promise<unknown> => {
    const { status, json } = await post(who, "/api/wallets/connect", { ...body, ...good, ...change });
    return [status, json.error?.reason ?? "linked"];
  };
  expect(await link(user, { signature: "0x00" })).toEqual([400, "WALLET_SIGNATURE"]);
  expect(await link(user, { message: `I am ${user}` })).toEqual([400, "WALLET_CHALLENGE"]);
  expect(await link("second@example.org", {})).toEqual([400, "WALLET_CHALLENGE"]);
  expect(await link(user, { address: "0x1" })).toEqual([400, "WALLET_ADDRESS"]);
  expect(await link(user, { chainId: 1 })).toEqual([400, "CHAIN_NOT_SUPPORTED"]);
  expect(await link(user, { address: undefined })).toEqual([400, "INVALID_REQUEST"]);
  expect(await link(user, {})).toEqual([200, "linked"]);
  expect(await link(user, {})).toEqual([409, "WALLET_CHALLENGE_USED"]);
  expect(await link("second@example.org", await signed("second@example.org"))).toEqual([409, "WALLET_TAKEN"]);
});

test("a text is given out for chains alone on which deposits are taken", async () => {
  const refused = await post("chain@example.org", "/api/v1/wallets/challenge", {
    address: account.address,
    chainId: 5,
  });
  expect(refused).toMatchObject({ status: 400, json: { error: { reason: "CHAIN_NOT_SUPPORTED" } } });
  expect(refused.json.error.details).toContain("8453 (base)");
});

test("a session of the time before 2025, which has its token and the user's address in it, is still one", async () => {
  await api.database.pool.query(
    "insert into sessions (session_token, username) values ('old-token', 'Old@example.org'), ('nobodys', 'nobody')",
  );
  const { json } = await api.call({ url: "/api/v1/userinfo", headers: { authorization: "Bearer old-token" } });
  expect(json.userId).toBe(resolveUserId("old@example.org"));
  const refused = await api.call({ url: "/api/v1/userinfo", headers: { authorization: "Bearer nobodys" } });
  expect(refused).toMatchObject({ status: 401, json: { error: { reason: "UNAUTHORIZED" } } });
});
