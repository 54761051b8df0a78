import { afterAll, beforeAll, expect, test } from "vitest";
import { type PrivateKeyAccount, privateKeyToAccount } from "viem/accounts";
import { Anvil } from "../../support/anvil.ts";
import { type ApiAnswer, makeTestApi, type TestApi } from "../../support/api.ts";

const CHAIN = 31_337;
const VAULT = `0x${"ab".repeat(20)}`;
const FULA = 10n ** 18n;
const CONFIRMATIONS = 3;
const owner = "owner@example.org";
const wallet = privateKeyToAccount(`0x${"34".repeat(32)}`);

let anvil: Anvil;
let token: string;
let api: TestApi;

beforeAll(async () => {
  anvil = await Anvil.start({ chainId: CHAIN });
  token = await anvil.deployToken();
  const chain = { chainId: CHAIN, rpcUrls: [anvil.url], token, confirmations: CONFIRMATIONS, finalityDepth: 8 };
  api = await makeTestApi({
    chains: JSON.stringify({ local: { ...chain, startBlock: 0 } }),
    "billing.vaultAddress": VAULT,
    "billing.referralBonuses": "false",
  });
  await link(owner, wallet);
});
afterAll(async () => {
  await api[Symbol.asyncDispose]();
  await anvil[Symbol.asyncDispose]();
});

async function post(user: string, url: string, body: unknown): Promise<ApiAnswer> {
  return await api.call({ method: "POST", url, headers: await api.bearer(user), body });
}

async function link(user: string, from: PrivateKeyAccount): Promise<void> {
  const pair = { address: from.address, chainId: CHAIN };
  const { json } = await post(user, "/api/v1/wallets/challenge", pair);
  const signature = await from.signMessage({ message: json.message });
  expect((await post(user, "/api/v1/wallets/link", { ...pair, message: json.message, signature })).status).toBe(200);
}

async function deposit(from: string, value: bigint): Promise<string> {
  const txHash = await anvil.send(token, [{ from, to: VAULT, value }]);
  await anvil.mine();
  return txHash;
}

async function claim(user: string, txHash: string, more: object = {}): Promise<ApiAnswer> {
  return await post(user, "/api/v1/credits/claim", { txHash, ...more });
}

async function balance(user: string): Promise<string> {
  return (await api.call({ url: "/api/v1/credits", headers: await api.bearer(user) })).json.balance;
}

test("a claim is taken down at once, credited when it is deep enough, and never twice", async () => {
  const before = Number(await balance(owner));
  const txHash = await deposit(wallet.address, 5n * FULA);
  const early = await claim(owner, txHash, { chainId: CHAIN });
  expect(early).toMatchObject({
    status: 202,
    json: {
      success: false,
      chainId: CHAIN,
      txHash,
      amount: "0",
      confirmations: 0,
      confirmationsNeeded: CONFIRMATIONS,
      deposits: [{ amountFula: 5, amount: "5", state: "waiting" }],
    },
  });
  await anvil.mine(CONFIRMATIONS);
  const answers = await Promise.all([
    claim(owner, txHash),
    claim(owner, txHash),
    claim(owner, txHash.toUpperCase().replace("0X", "0x")),
  ]);
  const outcomes = answers.map(({ status, json }): string => json.error?.reason ?? `${status} ${json.amount}`);
  expect(outcomes.toSorted()).toEqual(["200 5", "DEPOSIT_CLAIMED", "DEPOSIT_CLAIMED"]);
  expect(Number(await balance(owner)) - before).toBe(5);
});

test("what is nobody's, somebody else's, too little or not there is told with a reason of its own", async () => {
  const stranger = `0x${"56".repeat(20)}`;
  const unlinked = await deposit(stranger, FULA);
  const foreign = await deposit(wallet.address, FULA);
  const dust = await deposit(wallet.address, 1n);
  await anvil.mine(CONFIRMATIONS + 1);
  const reason = async (user: string, txHash: string, more: object = {}): Promise<unknown> => {
    const { status, json } = await claim(user, txHash, more);
    return [status, json.error?.reason];
  };
  expect(await reason(owner, unlinked)).toEqual([409, "DEPOSIT_UNLINKED"]);
  expect(await reason("thief@example.org", foreign)).toEqual([403, "DEPOSIT_FOREIGN"]);
  expect(await reason(owner, dust)).toEqual([400, "DEPOSIT_DUST"]);
  expect(await reason(owner, `0x${"00".repeat(32)}`)).toEqual([404, "DEPOSIT_NOT_FOUND"]);
  expect(await reason(owner, foreign, { chainId: 5 })).toEqual([400, "CHAIN_UNKNOWN"]);
  expect(await reason(owner, foreign, { chainId: 1 })).toEqual([409, "CHAIN_OFF"]);
  expect(await reason(owner, "0x12")).toEqual([400, "INVALID_REQUEST"]);
});

test("an administrator has the chains looked at, and what is found is credited", async () => {
  const before = Number(await balance(owner));
  await deposit(wallet.address, 2n * FULA);
  await anvil.mine(CONFIRMATIONS + 1);
  const scan = async (body: object): Promise<ApiAnswer> =>
    await api.call({
      method: "POST",
      url: "/api/admin/scan-blocks",
      headers: { "x-system-key": api.secrets.system },
      body,
    });
  const { status, json } = await scan({ chainId: CHAIN });
  expect([status, json.chains]).toMatchObject([200, [{ chainId: CHAIN, name: "local", state: "ok", problem: null }]]);
  expect(json.chains[0].credited).toBeGreaterThanOrEqual(1);
  // With the one that somebody else wanted to have, in the test before.
  expect(Number(await balance(owner)) - before).toBeGreaterThanOrEqual(2);
  const again = await scan({ chainId: CHAIN, blocks: [3, 1] });
  expect(again.json.chains).toMatchObject([{ state: "ok", credited: 0 }]);
  expect((await scan({ blocks: [1] })).status).toBe(400);
  expect((await scan({ chainId: 5 })).json.error.reason).toBe("CHAIN_UNKNOWN");
});

test("a chain whose endpoint does not answer is an outage to try again, not a refusal", async () => {
  await using dead = await makeTestApi({ "billing.vaultAddress": VAULT });
  const headers = await dead.bearer(owner);
  const body = { txHash: `0x${"11".repeat(32)}` };
  const {
    status,
    json,
    headers: answered,
  } = await dead.call({
    method: "POST",
    url: "/api/v1/credits/claim",
    headers,
    body,
  });
  expect([status, json.error.reason]).toEqual([503, "UNAVAILABLE"]);
  expect(answered["retry-after"]).toBeDefined();
});
