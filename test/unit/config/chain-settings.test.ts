import { describe, expect, test } from "vitest";
import {
  BASE_RPC_URL_SETTING,
  CHAINS_SETTING,
  chainsOf,
  endpointLabel,
} from "../../../src/lib/config/chain-settings.ts";
import { parseSettingsFile } from "../../../src/lib/config/yaml-file.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";

const VAULT = "0x1111111111111111111111111111111111111111";
const KEY = "https://rpc.example/v2/KEY-THAT-NOBODY-SEES";

function given(raw: unknown): ReturnType<typeof CHAINS_SETTING.schema.parse> {
  return CHAINS_SETTING.schema.parse(raw);
}

function chains(raw: unknown, baseRpcUrls: readonly string[] = []): ReturnType<typeof chainsOf> {
  return chainsOf({
    chains: given(raw),
    billing: { vaultAddress: VAULT, baseRpcUrls: baseRpcUrls.map((url) => new Secret(url)) },
  });
}

describe("the chains of the settings", () => {
  test("hold the fleet's three with its tokens and start blocks, each off until it has an endpoint", () => {
    const facts = chains({}).map(({ name, chainId, token, startBlock, offBecause }) => ({
      name,
      chainId,
      token,
      startBlock,
      offBecause,
    }));
    expect(facts).toEqual([
      {
        name: "ethereum",
        chainId: 1,
        token: "0x92217ccaedbdbc54c76c15fea18823db1558fdc9",
        startBlock: 24_179_670,
        offBecause: "no endpoint: chains.ethereum.rpcUrls is not set",
      },
      {
        name: "base",
        chainId: 8453,
        token: "0x9e12735d77c72c5c3670636d428f2f3815d8a4cb",
        startBlock: 40_480_508,
        offBecause: "no endpoint: chains.base.rpcUrls is not set",
      },
      {
        name: "skale",
        chainId: 2_046_399_126,
        token: "0x9e12735d77c72c5c3670636d428f2f3815d8a4cb",
        startBlock: 22_856_425,
        offBecause: "no endpoint: chains.skale.rpcUrls is not set",
      },
    ]);
  });

  test("take the fleet's endpoint of Base, unless they name one of their own", () => {
    const base = (raw: unknown): readonly string[] =>
      (chains(raw, ["https://fleet.example"])[1]?.rpcUrls ?? []).map((url) => url.reveal());
    expect(base({})).toEqual(["https://fleet.example"]);
    expect(base({ base: { rpcUrls: [KEY] } })).toEqual([KEY]);
  });

  test("are off without a vault, with the zero address, and where they are disabled", () => {
    const off = (raw: unknown): unknown => chains(raw).find(({ name }) => name === "base")?.offBecause;
    expect(off({ base: { rpcUrls: [KEY] } })).toBeNull();
    expect(off({ base: { rpcUrls: [KEY], vault: `0x${"0".repeat(40)}` } })).toBe("its vault is the zero address");
    expect(off({ base: { rpcUrls: [KEY], enabled: false } })).toBe("chains.base.enabled is false");
    const [first] = chainsOf({ chains: [], billing: { vaultAddress: null, baseRpcUrls: [] } });
    expect(first?.offBecause).toBe("no vault: billing.vaultAddress is not set");
  });

  test.each([
    [{ base: { rpcUrl: [KEY] } }, "base.rpcUrl is no setting; did you mean base.rpcUrls?"],
    [{ bse: { rpcUrls: [KEY] } }, "did you mean the preset base?"],
    [{ anvil: { chainId: 31_337 } }, "anvil lacks token, confirmations, finalityDepth, startBlock"],
    [{ base: { rpcUrls: ["ftp://x"] } }, "base.rpcUrls.0: must be an address such as https://rpc.example"],
    [{ base: { chainId: 1 }, ethereum: {} }, "base and ethereum both have the chain id 1"],
    [{ base: { confirmations: 2_000 } }, "base.finalityDepth is less than its confirmations"],
    [{ base: { rpcUrls: [KEY, KEY] } }, "base.rpcUrls names an endpoint twice"],
    [{ base: { token: "0x12" } }, "base.token: must be 0x and 40 hex digits"],
    [{ base: 1 }, "base is no mapping"],
  ])("that cannot be used are refused with what is wrong: %j", (raw, reason) => {
    expect(CHAINS_SETTING.schema.safeParse(raw).success).toBe(false);
    expect(CHAINS_SETTING.explain(raw)).toContain(reason);
  });

  test("take no endpoint of Base twice, which would agree with itself, and none that is no address", () => {
    const { schema } = BASE_RPC_URL_SETTING;
    expect(schema.safeParse([KEY, "https://fleet.example"]).success).toBe(true);
    expect(schema.safeParse(["https://fleet.example", "https://FLEET.example/"]).success).toBe(false);
    expect(schema.safeParse(["fleet.example", "fleet.example"]).success).toBe(false);
  });

  test("are read from the settings file as one value", () => {
    const { entries, problems } = parseSettingsFile(`chains:\n  base:\n    rpcUrls: [${KEY}]\n`, "f.yaml");
    expect(problems).toEqual([]);
    expect(entries.get("chains")?.value).toEqual({ base: { rpcUrls: [KEY] } });
  });

  test("never show what an endpoint's path may hold, and go back into a file whole", () => {
    const value = given({ base: { rpcUrls: [KEY], confirmations: 3 } });
    expect(`${CHAINS_SETTING.render(value)} ${JSON.stringify(value)}`).not.toContain("KEY-THAT-NOBODY-SEES");
    expect(endpointLabel(new Secret(KEY))).toBe("https://rpc.example/…");
    expect(CHAINS_SETTING.toFile(value)).toEqual({ base: { rpcUrls: [KEY], confirmations: 3 } });
    expect(given(CHAINS_SETTING.fromText(CHAINS_SETTING.toText(value)))).toEqual(value);
  });
});
