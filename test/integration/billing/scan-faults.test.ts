/* oxlint-disable typescript/no-unsafe-type-assertion -- answers have the form that JSON-RPC gives them */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { standingAlerts } from "../../../src/lib/billing/alerts.ts";
import { runScan } from "../../../src/lib/billing/scan.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import type { Chain } from "../../../src/lib/config/chain-settings.ts";
import { addressOf, Anvil } from "../../support/anvil.ts";
import { FULA, RpcProxy, ScanBox } from "../../support/scan-box.ts";
import { userId } from "./ledger.ts";

let anvil: Anvil;
let proxy: RpcProxy;
let second: RpcProxy;

beforeAll(async () => {
  anvil = await Anvil.start();
  proxy = await RpcProxy.start(anvil.url);
  second = await RpcProxy.start(anvil.url);
});

afterAll(async () => {
  await proxy[Symbol.asyncDispose]();
  await second[Symbol.asyncDispose]();
  await anvil[Symbol.asyncDispose]();
});

const ADA = userId("ada");
const WALLET = addressOf(1);
const DEAD = "http://127.0.0.1:9/dead/SECRET-KEY";

function over(box: ScanBox, ...urls: readonly string[]): { readonly chains: readonly Chain[] } {
  return { chains: [{ ...box.chain, rpcUrls: urls.map((url) => new Secret(url)) }] };
}

/** A box with one deposit that is deep enough. */
async function boxWithDeposit(): Promise<ScanBox> {
  proxy.meddle = null;
  second.meddle = null;
  const box = await ScanBox.open(anvil);
  await box.link(ADA, WALLET);
  await box.pay(box.move(WALLET, 5n));
  await anvil.mine(6);
  return box;
}

interface LogsAnswer {
  readonly result: readonly unknown[];
}

describe("an endpoint that", () => {
  test.each([
    ["answers an error", () => ({ error: { code: -32_000, message: "internal" } })],
    ["answers no JSON", () => '{"jsonrpc":"2.0","id":1,"result":[{"addr'],
    ["answers without a result", () => ({})],
    ["answers something else", () => ({ result: "0x1" })],
  ])("%s moves no mark, and what it hid is found later (defects 2 and 3)", async (_what, answer) => {
    await using box = await boxWithDeposit();
    proxy.meddle = async (method, _params, pass) => (method === "eth_getLogs" ? answer() : await pass());
    expect(await box.scan(over(box, proxy.url))).toMatchObject({
      state: "failed",
      settledBlock: null,
      scannedBlock: null,
    });
    proxy.meddle = null;
    expect(await box.scan(over(box, proxy.url))).toMatchObject({ state: "ok", credited: 1 });
    expect(await box.balance(ADA)).toBe("5");
  });

  test("answers nothing for blocks that it does not have is not believed", async () => {
    await using box = await boxWithDeposit();
    // It knows a head, but the node behind it that is asked for logs and blocks is far behind.
    const behind = BigInt(box.chain.startBlock);
    proxy.meddle = async (method, params, pass) => {
      if (method === "eth_getLogs") return { result: [] };
      if (method === "eth_getBlockByNumber" && params[0] !== "latest" && BigInt(String(params[0])) > behind)
        return { result: null };
      return await pass();
    };
    expect(await box.scan(over(box, proxy.url))).toMatchObject({ state: "failed", settledBlock: null });
    expect(await box.scan(over(box, anvil.url))).toMatchObject({ state: "ok", credited: 1 });
  });

  test("lies about the head, alone, gets nothing settled that is not there", async () => {
    await using box = await boxWithDeposit();
    const head = await anvil.head();
    proxy.meddle = async (method, params, pass) => {
      const answer = await pass();
      if (method !== "eth_getBlockByNumber" || params[0] !== "latest") return answer;
      const { result } = answer as { result: object };
      return { result: { ...result, number: `0x${(head + 1_000).toString(16)}` } };
    };
    expect(await box.scan(over(box, proxy.url))).toMatchObject({ state: "failed", settledBlock: null, credited: 0 });
    // Beside two that do not lie its head counts for nothing.
    expect(await box.scan(over(box, proxy.url, anvil.url, second.url))).toMatchObject({
      state: "ok",
      head: BigInt(head),
      credited: 1,
    });
  });

  test("refuses long ranges in whatever words is asked for shorter ones", async () => {
    await using box = await boxWithDeposit();
    await anvil.mine(60);
    let questions = 0;
    proxy.meddle = async (method, params, pass) => {
      if (method !== "eth_getLogs") return await pass();
      questions += 1;
      const { fromBlock, toBlock } = params[0] as { fromBlock: string; toBlock: string };
      return Number(toBlock) - Number(fromBlock) > 9 ? { error: { message: "no way" } } : await pass();
    };
    expect(await box.scan(over(box, proxy.url))).toMatchObject({ state: "ok", credited: 1 });
    expect(questions).toBeGreaterThan(7);
  });

  test("cuts long lists at a round number is asked again in halves", async () => {
    await using box = await boxWithDeposit();
    for (let block = 0; block < 12; block += 1)
      await box.pay(...Array.from({ length: 100 }, () => box.move(addressOf(5), 1n)));
    await anvil.mine(4);
    proxy.meddle = async (method, _params, pass) => {
      const answer = await pass();
      return method === "eth_getLogs" ? { result: (answer as LogsAnswer).result.slice(0, 1_000) } : answer;
    };
    expect(await box.scan(over(box, proxy.url))).toMatchObject({ state: "ok", found: 1_201 });
  });

  test("tells of logs in a block that is not the chain's, alone, is not believed", async () => {
    await using box = await boxWithDeposit();
    proxy.meddle = async (method, _params, pass) => {
      const answer = await pass();
      if (method !== "eth_getLogs") return answer;
      const logs = (answer as LogsAnswer).result;
      return { result: logs.map((log) => ({ ...(log as object), blockHash: `0x${"9".repeat(64)}` })) };
    };
    expect(await box.scan(over(box, proxy.url))).toMatchObject({ state: "failed", settledBlock: null, credited: 0 });
    expect(await box.scan(over(box, anvil.url))).toMatchObject({ state: "ok", credited: 1 });
  });

  test.each([
    ["logIndex", `0x${"f".repeat(10)}`],
    ["blockTimestamp", `0x${"f".repeat(20)}`],
  ])("answers with a %s that cannot be fails alone, and stops no other chain", async (field, value) => {
    await using box = await boxWithDeposit();
    proxy.meddle = async (method, _params, pass) => {
      const answer = await pass();
      if (method !== "eth_getLogs") return answer;
      return { result: (answer as LogsAnswer).result.map((log) => ({ ...(log as object), [field]: value })) };
    };
    expect(await box.scan(over(box, proxy.url))).toMatchObject({ state: "failed", credited: 0 });
  });

  test("repeats its key in what it says has it in no message", async () => {
    await using box = await boxWithDeposit();
    proxy.meddle = async () => {
      await Promise.resolve();
      return { error: { message: "no such project: SECRET-KEY, or SECRET/TOKEN" } };
    };
    const report = await box.scan(over(box, `${proxy.url}/v2/SECRET-KEY?token=SECRET%2FTOKEN`));
    expect(report).toMatchObject({ state: "failed" });
    expect(report.problem).toContain("no such project");
    expect(report.problem).not.toContain("SECRET");
  });

  test("is on another chain is not asked for anything else", async () => {
    await using box = await boxWithDeposit();
    proxy.meddle = async (method, _params, pass) => (method === "eth_chainId" ? { result: "0x1" } : await pass());
    const report = await box.scan(over(box, proxy.url));
    expect(report).toMatchObject({ state: "failed", credited: 0 });
    expect(report.problem).toContain("is on chain 1, not on anvil (31337)");
  });

  test("is dead is passed over, and its key is in no message", async () => {
    await using box = await boxWithDeposit();
    const report = await box.scan(over(box, DEAD, anvil.url, proxy.url));
    expect(report).toMatchObject({ state: "ok", credited: 1 });
    expect(report.problem).toContain("http://127.0.0.1:9/… cannot be reached");
    expect(
      JSON.stringify({ ...report, head: "", scannedBlock: "", settledBlock: "", creditedUnits: "", reorgDepth: "" }),
    ).not.toContain("SECRET-KEY");
    const { rows } = await box.database.pool.query<{ last_error: string }>("select last_error from chain_sync_state");
    expect(rows[0]?.last_error).not.toContain("SECRET-KEY");
  });
});

describe("several endpoints", () => {
  test("of which one hides a deposit do not agree: nothing moves, an alert stands, and it goes when they do", async () => {
    await using box = await boxWithDeposit();
    second.meddle = async (method, _params, pass) => (method === "eth_getLogs" ? { result: [] } : await pass());
    expect(await box.scan(over(box, anvil.url, second.url))).toMatchObject({
      state: "failed",
      credited: 0,
      settledBlock: null,
    });
    expect(await standingAlerts(box.database.pool)).toMatchObject([{ kind: "endpoints-disagree" }]);
    second.meddle = null;
    expect(await box.scan(over(box, anvil.url, second.url))).toMatchObject({ state: "ok", credited: 1 });
    expect(await standingAlerts(box.database.pool)).toEqual([]);
  });

  test("of which one invents a deposit outvote it, where there are three", async () => {
    await using box = await boxWithDeposit();
    proxy.meddle = async (method, _params, pass) => {
      const answer = await pass();
      if (method !== "eth_getLogs") return answer;
      return {
        result: (answer as LogsAnswer).result.map((log) => ({
          ...(log as object),
          data: `0x${"f".repeat(18).padStart(64, "0")}`,
        })),
      };
    };
    expect(await box.scan(over(box, proxy.url, anvil.url, second.url))).toMatchObject({
      state: "ok",
      creditedUnits: 5n * FULA,
    });
  });

  test("of which one alone answers record what is new and settle nothing", async () => {
    await using box = await boxWithDeposit();
    await expect(box.scan(over(box, anvil.url, DEAD))).resolves.toMatchObject({
      state: "degraded",
      found: 1,
      credited: 0,
    });
    expect(await box.deposits()).toMatchObject([{ state: "waiting" }]);
    expect(await box.scan(over(box, anvil.url, second.url))).toMatchObject({ state: "ok", credited: 1 });
  });

  test("of which one tells of another past do not make a reorganisation", async () => {
    await using box = await boxWithDeposit();
    await box.scan(over(box, anvil.url, second.url));
    second.meddle = async (method, params, pass) => {
      const answer = await pass();
      if (method !== "eth_getBlockByNumber" || params[0] === "latest") return answer;
      const { result } = answer as { result: object };
      return { result: { ...result, hash: `0x${"9".repeat(64)}` } };
    };
    expect(await box.scan(over(box, second.url, anvil.url))).toMatchObject({
      state: "failed",
      gone: 0,
      reorgDepth: 0n,
    });
    expect(await box.deposits()).toMatchObject([{ state: "credited" }]);
  });
});

test("a chain whose endpoint is dead stops no other", async () => {
  await using box = await boxWithDeposit();
  const dead = { ...box.chain, name: "dead", chainId: 7, rpcUrls: [new Secret(DEAD)] };
  const off = { ...box.chain, name: "off", chainId: 8, offBecause: "no endpoint: chains.off.rpcUrls is not set" };
  const { chains } = await runScan(box.deps({ chains: [dead, off, box.chain] }));
  expect(chains).toMatchObject([
    { name: "dead", state: "failed" },
    { name: "off", state: "off", problem: off.offBecause },
    { name: "anvil", state: "ok", credited: 1 },
  ]);
});
