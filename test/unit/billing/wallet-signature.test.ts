import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { privateKeyToAccount } from "viem/accounts";
import {
  parseWalletAddress,
  readWalletMessage,
  renderWalletMessage,
  walletHash,
} from "../../../src/lib/billing/wallet-message.ts";
import { assertSignedBy } from "../../../src/lib/billing/wallet-signature.ts";
import { settingOf } from "../../../src/lib/config/schema.ts";
import { property } from "../../support/property.ts";

// The first key of anvil's and hardhat's test mnemonic, whose address stands in their documentation.
const account = privateKeyToAccount("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");
const ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

describe("a signature of a wallet", () => {
  test("is taken from the wallet that signed the text, whatever form its recovery byte has", async () => {
    const signature = await account.signMessage({ message: "hello" });
    await assertSignedBy("hello", signature, ADDRESS);
    const v = Number(`0x${signature.slice(130)}`);
    await assertSignedBy("hello", `${signature.slice(0, 130)}0${v - 27}`, ADDRESS);
  });

  test("is refused in its high form, which every signature has beside the one that wallets give", async () => {
    const signature = await account.signMessage({ message: "hello" });
    const s = ORDER - BigInt(`0x${signature.slice(66, 130)}`);
    const v = signature.endsWith("1b") ? "1c" : "1b";
    const twin = `${signature.slice(0, 66)}${s.toString(16).padStart(64, "0")}${v}`;
    await expect(assertSignedBy("hello", twin, ADDRESS)).rejects.toThrow(/high one of two/);
  });

  test.each([
    ["nothing", "0x"],
    ["64 bytes, as EIP-2098 packs them", `0x${"11".repeat(64)}`],
    ["more than 65 bytes, as contracts and EIP-6492 give", `0x${"11".repeat(66)}`],
    ["another recovery byte", `0x${"11".repeat(64)}05`],
    ["no hex", `0x${"zz".repeat(65)}`],
    ["zeros", `0x${"00".repeat(64)}1b`],
    ["an r beyond the field", `0x${"ff".repeat(32)}${"11".repeat(32)}1b`],
  ])("that is %s is refused", async (_name, signature) => {
    await expect(assertSignedBy("hello", signature, ADDRESS)).rejects.toMatchObject({ code: "FULA_WALLET_SIGNATURE" });
  });

  test("with any bit changed is another wallet's or none's", async () => {
    const signature = await account.signMessage({ message: "hello" });
    const bytes = Buffer.from(signature.slice(2), "hex");
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 64 * 8 - 1 }), async (bit) => {
        const changed = Buffer.from(bytes);
        changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        await expect(assertSignedBy("hello", `0x${changed.toString("hex")}`, ADDRESS)).rejects.toMatchObject({
          code: "FULA_WALLET_SIGNATURE",
        });
      }),
      property(20),
    );
  });
});

describe("an address", () => {
  test("has one spelling and the fleet's hash, however it was written", () => {
    for (const text of [
      ADDRESS,
      ADDRESS.toLowerCase(),
      `0x${ADDRESS.slice(2).toUpperCase()}`,
      ADDRESS.replace("0x", "0X"),
    ]) {
      expect(parseWalletAddress(text)).toBe(ADDRESS);
    }
    expect(walletHash(ADDRESS)).toBe("dffe1949d232f54161e6facdac629631725dcf4d144e0c3a3147319fcac8a5fb");
  });

  test.each([
    ["0xf39fd6e51aad88F6F4ce6aB8827279cffFb92266", /wrong checksum/],
    ["0x123", /is not 0x and 40 hex digits/],
    ["", /is not 0x and 40 hex digits/],
    ["vitalik.eth", /is not 0x and 40 hex digits/],
  ])("%s is refused", (text, why) => {
    expect(() => parseWalletAddress(text)).toThrow(why);
  });
});

test("the text that is signed names site, account, wallet, chain, nonce and times, one line each", () => {
  const text = renderWalletMessage({
    domain: "cloud.example.org",
    userId: "0f".repeat(32),
    address: ADDRESS,
    chainId: 8453,
    nonce: "00112233445566778899aabbccddeeff",
    issuedAtMs: Date.UTC(2026, 10, 20, 3),
    expiresAtMs: Date.UTC(2026, 10, 20, 3, 10),
  });
  expect(text).toBe(`cloud.example.org wants you to sign in with your Ethereum account:
${ADDRESS}

Link this wallet to the Fula account ${"0f".repeat(32)}. This costs nothing and moves nothing.

URI: https://cloud.example.org
Version: 1
Chain ID: 8453
Nonce: 00112233445566778899aabbccddeeff
Issued At: 2026-11-20T03:00:00.000Z
Expiration Time: 2026-11-20T03:10:00.000Z`);
});

describe("the domain of api.domain", () => {
  const isTaken = (domain: string): boolean =>
    settingOf("api.domain")?.setting.schema.safeParse(domain).success === true;
  const roundTrip = (domain: string): string | undefined =>
    readWalletMessage(
      renderWalletMessage({
        domain,
        userId: "0f".repeat(32),
        address: ADDRESS,
        chainId: 1,
        nonce: "0011223344556677",
        issuedAtMs: 0,
        expiresAtMs: 1,
      }),
    )?.domain;

  test("that the settings take is one that can be signed for, and is read again from the text", () => {
    const port = fc.option(fc.integer({ min: 1, max: 65_535 }), { nil: null });
    const host = fc.oneof(fc.domain(), fc.ipV4(), fc.constant("localhost"));
    fc.assert(
      fc.property(host, port, (name, at) => {
        const domain = at === null ? name : `${name}:${at}`;
        fc.pre(isTaken(domain));
        expect(roundTrip(domain)).toBe(domain);
      }),
      property(),
    );
  });

  test.each([
    "-a.org",
    "a-.org",
    "my_host.org",
    "999.1.1.1",
    "master-1",
    "Cloud.example.org",
    "https://a.org",
    "a.org/x",
    "",
  ])("%j is refused by the settings, not first by a user who wants to sign", (domain) => {
    expect(isTaken(domain)).toBe(false);
  });
});
