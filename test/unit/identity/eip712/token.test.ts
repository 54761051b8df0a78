import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseEip712Token, renderToken, type ParsedToken } from "../../../../src/lib/identity/eip712/token.ts";
import { property } from "../../../support/property.ts";
import { TestWallet, tokenOf } from "../../../support/wallet-tokens.ts";

const WALLET = "0x17c5185167401ed00cf5f5b2fc97d9bbfdb7d025";
const SIGNATURE = new Uint8Array(65).fill(7);
const NONCE = `0x${"5a".repeat(32)}`;
const FIRST = { wallet: `"${WALLET}"`, iat: "1750000000", exp: "1750003600" };
const SECOND = {
  wallet: `"${WALLET}"`,
  audience: '"federation:0b9d8d1e"',
  chainId: "1",
  scope: '"storage:read storage:write"',
  iat: "1750000000",
  exp: "1750003600",
  nonce: `"${NONCE}"`,
};

function json(members: Readonly<Record<string, string>>): string {
  return `{${Object.entries(members)
    .map(([name, value]) => `"${name}":${value}`)
    .join(",")}}`;
}

function first(payload: string): ParsedToken {
  return parseEip712Token(tokenOf("fula-eip712", payload, SIGNATURE));
}

function second(change: Readonly<Record<string, string>>): ParsedToken {
  return parseEip712Token(tokenOf("fula-eip712v2", json({ ...SECOND, ...change }), SIGNATURE));
}

function claimsOf(parsed: ParsedToken): unknown {
  expect(parsed).toMatchObject({ state: "parsed" });
  return parsed.state === "parsed" ? parsed.token.claims : null;
}

describe("the fleet's token", () => {
  test("is read as it says", () => {
    const claims = { version: 1, wallet: WALLET, issued: 1_750_000_000, expires: 1_750_003_600 };
    expect(claimsOf(first(json(FIRST)))).toEqual(claims);
  });

  test.each([
    ["keys in another order", json({ exp: FIRST.exp, wallet: FIRST.wallet, iat: FIRST.iat })],
    ["a checksummed wallet", json({ ...FIRST, wallet: '"0x17C5185167401eD00cF5F5b2fc97D9BBfDb7D025"' })],
    ["a wallet without 0x", json({ ...FIRST, wallet: `"${WALLET.slice(2)}"` })],
  ])("says the same with %s", (_what, payload) => {
    expect(claimsOf(first(payload))).toEqual(claimsOf(first(json(FIRST))));
  });

  test.each([
    ["nothing", "", /base64url/],
    ["an empty object", "{}", /plain JSON/],
    ["an array", "[1]", /no JSON object/],
    ["an unknown field", json({ ...FIRST, jti: '"1"' }), /has jti/],
    ["a field twice", `${json(FIRST).slice(0, -1)},"exp":1750003601}`, /has exp twice/],
    ["a field missing", json({ wallet: FIRST.wallet, iat: FIRST.iat }), /lacks exp/],
    ["a space", json(FIRST).replace(",", ", "), /plain JSON from character \d+/],
    ["a line break at its end", `${json(FIRST)}\n`, /no JSON object/],
    ["a comma at its end", json(FIRST).replace("}", ",}"), /plain JSON/],
    ["an escape", json({ ...FIRST, wallet: `"\\u0030x${WALLET.slice(2)}"` }), /plain JSON/],
    ["an escape in a name", json(FIRST).replace("iat", "i\\u0061t"), /plain JSON/],
    ["a number with a fraction", json({ ...FIRST, iat: "1750000000.0" }), /plain JSON/],
    ["a number with an exponent", json({ ...FIRST, iat: "175e7" }), /plain JSON/],
    ["a negative number", json({ ...FIRST, iat: "-1750000000" }), /plain JSON/],
    ["a leading zero", json({ ...FIRST, iat: "01750000000" }), /plain JSON/],
    ["a number as text", json({ ...FIRST, exp: '"1750003600"' }), /its exp is not a time/],
    ["a number that is no safe integer", json({ ...FIRST, exp: "9007199254740993" }), /exp is too large/],
    ["a number of 20 digits", json({ ...FIRST, exp: "18446744073709551615" }), /plain JSON/],
    ["an iat of 1970", json({ ...FIRST, iat: "0" }), /iat is not a time between 2020 and 2100/],
    ["milliseconds", json({ ...FIRST, exp: "1750003600000" }), /exp is not a time/],
    ["null", json({ ...FIRST, exp: "null" }), /plain JSON/],
    ["a wallet of 41 digits", json({ ...FIRST, wallet: `"${WALLET}0"` }), /wallet is not an address/],
    ["a wallet that is no hex", json({ ...FIRST, wallet: `"0x${"g".repeat(40)}"` }), /wallet is not an address/],
    ["a wallet with 0X", json({ ...FIRST, wallet: `"0X${WALLET.slice(2)}"` }), /wallet is not an address/],
    ["bytes that are no ASCII", json(FIRST).replace("wallet", "wället"), /plain JSON/],
    ["a byte order mark", `\uFEFF${json(FIRST)}`, /no JSON object/],
    ["more than a payload has", json({ ...FIRST, wallet: `"${"0".repeat(1_100)}"` }), /more than 1024 bytes/],
  ])("is refused with %s", (_what, payload, because) => {
    expect(first(payload)).toEqual({ state: "malformed", because: expect.stringMatching(because) as unknown });
  });
});

describe("a token of the second version", () => {
  test("is read as it says", () => {
    expect(claimsOf(second({}))).toEqual({
      version: 2,
      wallet: WALLET,
      audience: "federation:0b9d8d1e",
      chainId: 1,
      scope: "storage:read storage:write",
      issued: 1_750_000_000,
      expires: 1_750_003_600,
      nonce: NONCE,
    });
  });

  test.each([
    ["another audience's form", { audience: '"everybody"' }, /audience/],
    ["a master without a name", { audience: '"master:0b9d8d1e"' }, /audience/],
    ["chain 0", { chainId: "0" }, /chainId/],
    ["a chain as text", { chainId: '"1"' }, /chainId/],
    ["no scope", { scope: '""' }, /scope/],
    ["a scope that nobody knows", { scope: '"storage:read everything"' }, /scope/],
    ["a scope twice", { scope: '"storage:read storage:read"' }, /scope/],
    ["two spaces between scopes", { scope: '"storage:read  storage:write"' }, /scope/],
    ["a short nonce", { nonce: `"0x${"5a".repeat(31)}"` }, /nonce/],
    ["a nonce in capitals", { nonce: `"0x${"5A".repeat(32)}"` }, /nonce/],
    ["a wallet without 0x", { wallet: `"${WALLET.slice(2)}"` }, /wallet/],
  ])("is refused with %s", (_what, change, because) => {
    expect(second(change)).toEqual({ state: "malformed", because: expect.stringMatching(because) as unknown });
  });

  test("is refused with its fields in another order: it has one spelling", () => {
    const { nonce, ...others } = SECOND;
    const parsed = parseEip712Token(tokenOf("fula-eip712v2", json({ nonce, ...others }), SIGNATURE));
    expect(parsed).toMatchObject({
      state: "malformed",
      because: expect.stringMatching(/order wallet, audience/) as unknown,
    });
  });

  test("is refused with the first version's fields, and the other way round", () => {
    expect(parseEip712Token(tokenOf("fula-eip712v2", json(FIRST), SIGNATURE))).toMatchObject({ state: "malformed" });
    expect(first(json(SECOND))).toMatchObject({ state: "malformed" });
  });
});

describe("the text around payload and signature", () => {
  const token = tokenOf("fula-eip712", json(FIRST), SIGNATURE);
  const [, payload = "", signature = ""] = token.split(".");

  test.each([
    ["abc"],
    ["eyJhbGciOiJIUzI1NiJ9.e30.x"],
    ["FULA-EIP712.a.b"],
    ["fula-eip712"],
    ["fula-eip712v3.a.b"],
    [""],
  ])("%j is no wallet token at all", (text) => {
    expect(parseEip712Token(text)).toEqual({ state: "absent" });
  });

  test.each([
    ["a third part", `${token}.x`, /two parts/],
    ["one part", `fula-eip712.${payload}`, /two parts/],
    ["padding", `fula-eip712.${payload}.${signature}=`, /base64url/],
    ["base64's own alphabet", `fula-eip712.${payload}.${"+/".repeat(43)}`, /base64url/],
    ["spare bits that are not zero", `${token.slice(0, -1)}d`, /base64url/],
    ["a space", `fula-eip712.${payload}. ${signature}`, /base64url/],
    ["an empty signature", `fula-eip712.${payload}.`, /base64url/],
    ["a signature of 4,097 bytes", tokenOf("fula-eip712", json(FIRST), new Uint8Array(4_097)), /more than 4096/],
  ])("is refused with %s", (_what, text, because) => {
    expect(parseEip712Token(text)).toEqual({ state: "malformed", because: expect.stringMatching(because) as unknown });
  });

  test("is the same again when what was read is written, whatever it said", () => {
    const time = fc.integer({ min: 1_577_836_800, max: 4_102_444_800 });
    const wallet = new TestWallet(3);
    fc.assert(
      fc.property(time, time, fc.integer({ min: 1, max: 2 ** 48 }), fc.uint8Array({ minLength: 1 }), (...drawn) => {
        const [issued, expires, chainId, bytes] = drawn;
        for (const claims of [
          wallet.firstClaims(0, { issued, expires }),
          wallet.secondClaims(0, { issued, expires, chainId }),
        ]) {
          const text = renderToken({ claims, signature: bytes });
          expect(parseEip712Token(text)).toEqual({
            state: "parsed",
            token: { claims, signature: Buffer.from(bytes) },
          });
        }
      }),
      property(100),
    );
  });
});
