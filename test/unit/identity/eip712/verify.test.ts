import { describe, expect, test } from "vitest";
import { signDigest } from "../../../../src/lib/identity/eip712/signature.ts";
import { digestOf, type WalletClaims } from "../../../../src/lib/identity/eip712/claims.ts";
import { renderToken } from "../../../../src/lib/identity/eip712/token.ts";
import { verifyEip712 } from "../../../../src/lib/identity/eip712/verify.ts";
import { CLUSTER_ID, partsOf, RULES, TestWallet, tokenOf, twinOf } from "../../../support/wallet-tokens.ts";

const NOW = Date.UTC(2026, 10, 20, 3);
const MINUTE = 60_000;
const alice = new TestWallet(0x42);
const bob = new TestWallet(0x43);

/** What becomes of a token: `accepted`, or why not. */
function judged(token: string, nowMs = NOW, rules = RULES): string {
  const verdict = verifyEip712(token, rules, nowMs);
  return "because" in verdict ? `${verdict.state}: ${verdict.because}` : verdict.state;
}

function credentialOf(token: string, nowMs = NOW): unknown {
  const verdict = verifyEip712(token, RULES, nowMs);
  return verdict.state === "accepted" ? verdict.identity.credential : verdict;
}

/** Signs claims whatever they say, as a wallet that somebody wrote himself would. */
function signed(claims: WalletClaims, wallet = alice): string {
  return renderToken({ claims, signature: signDigest(digestOf(claims), wallet.key) });
}

describe("a token that its wallet signed", () => {
  test("of the fleet's example is taken in its hour, byte for byte as it was computed elsewhere", () => {
    const token =
      "fula-eip712.eyJ3YWxsZXQiOiIweDE3YzUxODUxNjc0MDFlZDAwY2Y1ZjViMmZjOTdkOWJiZmRiN2QwMjUiLCJpYXQiOjE3NTAwMDAwMDAsImV4cCI6MTc1MDAwMzYwMH0." +
      "X1_yOesTqrNCbpuGGddxiTsAB52vKEBUABuzVYoY7OcDnBBx37Z5y-qZbCW81aWe8kun53ArkJwbfuyQa00o4wE";
    expect(verifyEip712(token, RULES, 1_750_000_000_000)).toEqual({
      state: "accepted",
      identity: {
        subject: { kind: "wallet", wallet: "0x17c5185167401ed00cf5f5b2fc97d9bbfdb7d025" },
        scopes: new Set(["read", "write"]),
        by: "eip712",
        credential: {
          digest: "0f350015b82195422e39f8615d2feceebb0ed6e049181ee44957f6de603d6694",
          issuedMs: 1_750_000_000_000,
          expiresMs: 1_750_003_600_000,
        },
      },
    });
    expect(alice.first(1_750_000_000_000)).toBe(token);
  });

  test("of the second version may do what it says and no more", () => {
    const scopesOf = (scope: string): unknown => {
      const verdict = verifyEip712(alice.second(NOW, { scope }), RULES, NOW);
      return verdict.state === "accepted" ? [...verdict.identity.scopes] : verdict;
    };
    expect(scopesOf("storage:read")).toEqual(["read"]);
    expect(scopesOf("storage:write")).toEqual(["write"]);
    expect(scopesOf("storage:*")).toEqual(["read", "write"]);
    expect(scopesOf("admin")).toEqual(["admin"]);
  });

  test.each([
    ["27 and 28 as the last byte", 27],
    ["0 and 1 as the last byte", 0],
  ])("is taken with %s", (_what, base) => {
    const { payload, signature } = partsOf(alice.first(NOW));
    signature[64] = (signature[64] ?? 0) + base;
    expect(judged(tokenOf("fula-eip712", payload, signature))).toBe("accepted");
  });

  test("is no other wallet's", () => {
    expect(judged(signed(alice.firstClaims(NOW), bob))).toBe("refused: another wallet than the one it names signed it");
    expect(judged(signed(alice.secondClaims(NOW), bob))).toMatch(/^contract: another wallet/);
  });
});

describe("every spelling of one token has one digest, which is what is revoked", () => {
  const { payload, signature } = partsOf(alice.first(NOW));
  const { wallet, issued: iat, expires: exp } = alice.firstClaims(NOW);
  const v27 = Uint8Array.from(signature);
  v27[64] = (v27[64] ?? 0) + 27;
  const credential = credentialOf(alice.first(NOW));

  test.each([
    ["with v as 27 or 28", payload, v27],
    ["with its keys in another order", JSON.stringify({ exp, iat, wallet }), signature],
    [
      "with the wallet in capitals",
      JSON.stringify({ wallet: `0x${wallet.slice(2).toUpperCase()}`, iat, exp }),
      signature,
    ],
    ["without 0x", JSON.stringify({ wallet: wallet.slice(2), iat, exp }), signature],
  ])("%s", (_what, text, bytes) => {
    expect(credentialOf(tokenOf("fula-eip712", text, bytes))).toEqual(credential);
  });

  test.each([
    ["an extra field", JSON.stringify({ wallet, iat, exp, x: 1 }), signature],
    ["whitespace", JSON.stringify({ wallet, iat, exp }, null, 1), signature],
    ["the signature's twin", payload, twinOf(signature)],
    ["the twin with v as 27 or 28", payload, twinOf(v27)],
    ["the twin's s alone", payload, Uint8Array.from([...twinOf(signature).subarray(0, 64), signature[64] ?? 0])],
  ])("and %s makes it none", (_what, text, bytes) => {
    expect(judged(tokenOf("fula-eip712", text, bytes))).toMatch(/^refused: /);
  });

  test("two tokens of one second and wallet differ by their nonce in the second version", () => {
    const nonces = ["11", "22"].map((byte) => `0x${byte.repeat(32)}`);
    const digests = nonces.map((nonce) => credentialOf(alice.second(NOW, { nonce })));
    expect(digests[0]).not.toEqual(digests[1]);
  });
});

describe("the time of a token", () => {
  const issued = NOW / 1_000;
  const at = (from: number, to: number): string => signed(alice.firstClaims(NOW, { issued: from, expires: to }));

  test.each([
    ["good for a second", issued, issued + 1, "accepted"],
    ["good for 24 h", issued, issued + 86_400, "accepted"],
    ["good for 24 h and a second", issued, issued + 86_401, "refused: it is good for longer than 24 h"],
    ["of no time at all", issued + 1, issued + 1, "refused: it ends before it was issued"],
    ["that ends before it begins", issued + 20, issued + 10, "refused: it ends before it was issued"],
    ["that ends now", issued - 10, issued, "refused: it has expired"],
    ["that ends in a second", issued - 10, issued + 1, "accepted"],
    ["from 300 s in the future", issued + 300, issued + 400, "accepted"],
    ["from 301 s in the future", issued + 301, issued + 400, "refused: it was issued more than 300 s in the future"],
    ["of yesterday, good until tomorrow", issued - 86_400, issued + 86_400, "refused: it is good for longer than 24 h"],
    ["from 2020 on", 1_577_836_800, issued + 10, "refused: it is good for longer than 24 h"],
  ])("%s", (_what, from, to, expected) => {
    expect(judged(at(from, to))).toBe(expected);
  });

  test("clocks ten minutes apart take the same token in their own time and not outside of it", () => {
    const token = alice.first(NOW);
    expect(judged(token, NOW - 10 * MINUTE)).toBe("refused: it was issued more than 300 s in the future");
    expect(judged(token, NOW - 5 * MINUTE)).toBe("accepted");
    expect(judged(token, NOW + 10 * MINUTE)).toBe("accepted");
    expect(judged(token, NOW + 60 * MINUTE - 1)).toBe("accepted");
    expect(judged(token, NOW + 60 * MINUTE)).toBe("refused: it has expired");
    expect(judged(token, NOW + 70 * MINUTE)).toBe("refused: it has expired");
  });

  // exp - iat wraps to something below 24 h in 64 bits: a token that never expires, in the fleet's gateway.
  test.each([
    ["the largest number of 64 bits", "9223372036854775807", "-9223372036854775808"],
    ["a wrap by one", "9223372036854775807", "-9223372036854689409"],
    ["unsigned ones", "18446744073709551615", "18446744073709465216"],
    ["a time that is none in seconds", "9007199254740991", "9007199254654592"],
    ["an iat of 1970", "4102444800", "0"],
  ])("is never without end: %s", (_what, exp, iat) => {
    const payload = `{"wallet":"${alice.address}","iat":${iat},"exp":${exp}}`;
    expect(judged(tokenOf("fula-eip712", payload, new Uint8Array(65).fill(1)))).toMatch(/^refused: its /);
  });
});

describe("a token that somebody replays", () => {
  test("is taken by the master that it names, and by no other one", () => {
    const own = alice.second(NOW, { audience: `master:${CLUSTER_ID}/master-1` });
    const others = alice.second(NOW, { audience: `master:${CLUSTER_ID}/master-2` });
    expect(judged(own)).toBe("accepted");
    expect(judged(others)).toBe(`refused: it is meant for master:${CLUSTER_ID}/master-2`);
  });

  test("is not taken in another federation", () => {
    const elsewhere = { ...RULES, audiences: new Set(["federation:11111111-6f53-4c1a-9d3e-0a8f4f8e2a11"]) };
    expect(judged(alice.second(NOW), NOW, elsewhere)).toMatch(/^refused: it is meant for federation:/);
  });

  test("cannot be given another audience, scope, chain or nonce", () => {
    const claims = alice.secondClaims(NOW, { scope: "storage:read" });
    const signature = signDigest(digestOf(claims), alice.key);
    for (const change of [
      { audience: `master:${CLUSTER_ID}/master-1` },
      { scope: "storage:*" },
      { chainId: 8_453 },
      { nonce: `0x${"00".repeat(32)}` },
      { expires: claims.expires + 1 },
    ]) {
      expect(judged(renderToken({ claims: { ...claims, ...change }, signature }))).toMatch(/^contract: another wallet/);
    }
  });

  test("is none of the other version", () => {
    const { payload, signature } = partsOf(alice.first(NOW));
    expect(judged(tokenOf("fula-eip712v2", payload, signature))).toMatch(/^refused: its payload/);
  });
});

describe("what a master does not take", () => {
  test.each([
    ["the first version where it is off", alice.first(NOW), { ...RULES, versions: new Set([2] as const) }, /version 1/],
    ["both where both are off", alice.second(NOW), { ...RULES, versions: new Set<1 | 2>() }, /version 2/],
    ["a chain that it does not know", alice.second(NOW, { chainId: 5 }), RULES, /chain 5/],
  ])("%s", (_what, token, rules, because) => {
    expect(judged(token, NOW, rules)).toMatch(because);
  });
});

describe("a signature that is none of a wallet's own key", () => {
  const { payload, signature } = partsOf(alice.second(NOW));
  const changed = (place: number, byte: number): Uint8Array => {
    const bytes = Uint8Array.from(signature);
    bytes[place] = byte;
    return bytes;
  };
  const cases = [
    ["64 bytes", signature.subarray(0, 64), /has not 65 bytes/],
    ["66 bytes", Uint8Array.from([...signature, 0]), /has not 65 bytes/],
    ["another last byte", changed(64, 2), /not 0, 1, 27 or 28/],
    ["the last byte of EIP-155", changed(64, 37), /not 0, 1, 27 or 28/],
    ["its high form", twinOf(signature), /high one of two/],
    ["zeros", new Uint8Array(65), /none of any wallet/],
    ["r out of range", Uint8Array.from([...new Uint8Array(32).fill(0xff), ...signature.subarray(32)]), /none of any/],
    [
      "s out of range",
      Uint8Array.from([...signature.subarray(0, 32), ...new Uint8Array(32).fill(0xff), 0]),
      /none of any/,
    ],
  ] as const;

  test.each(cases)("may be a contract's in the second version: %s", (_what, bytes, because) => {
    const verdict = verifyEip712(tokenOf("fula-eip712v2", payload, bytes), RULES, NOW);
    expect(verdict).toMatchObject({
      state: "contract",
      because: expect.stringMatching(because) as unknown,
      question: { chainId: 1, wallet: alice.address },
    });
  });

  test.each(cases)("is refused in the first, which names no chain: %s", (_what, bytes, because) => {
    const token = tokenOf("fula-eip712", partsOf(alice.first(NOW)).payload, bytes);
    expect(judged(token)).toMatch(/^refused: /);
    expect(judged(token)).toMatch(because);
  });
});
