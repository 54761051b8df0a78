import { describe, expect, test } from "vitest";
import { eip712Verifier } from "../../../src/lib/identity/bearer-eip712.ts";
import type { Verifier } from "../../../src/lib/identity/bearer.ts";
import type { ContractAnswer } from "../../../src/lib/identity/contract-wallet.ts";
import { renderToken } from "../../../src/lib/identity/eip712/token.ts";
import type { ContractQuestion } from "../../../src/lib/identity/eip712/verify.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { FakeClock } from "../../support/clock.ts";
import { RULES, TestWallet } from "../../support/wallet-tokens.ts";

const alice = new TestWallet(0x42);

function verifierWith(
  clock: FakeClock,
  answer: ContractAnswer | Error = "unconfigured",
  pace: (address: string) => boolean = () => true,
): { readonly verifier: Verifier; readonly asked: ContractQuestion[] } {
  const asked: ContractQuestion[] = [];
  const askContract = async (question: ContractQuestion): Promise<ContractAnswer> => {
    asked.push(question);
    await Promise.resolve();
    if (answer instanceof Error) throw answer;
    return answer;
  };
  return { verifier: eip712Verifier({ rules: RULES, clock, askContract, pace }), asked };
}

async function judged({ verify }: Verifier, bearer: string | null): Promise<string> {
  const verdict = await verify({ bearer, serviceAuth: null });
  return verdict.state === "refused" ? verdict.because : verdict.state;
}

describe("the verifier of wallet tokens", () => {
  test("has nothing to say of other credentials", async () => {
    const { verifier } = verifierWith(new FakeClock());
    expect(await judged(verifier, null)).toBe("absent");
    expect(await judged(verifier, "eyJhbGciOiJIUzI1NiJ9.e30.AAAA")).toBe("absent");
    expect(await judged(verifier, "fula-eip712.nothing")).toMatch(
      /^the wallet token is not taken: it has not two parts/,
    );
  });

  test("looks at the time anew when a token comes again", async () => {
    const clock = new FakeClock();
    const { verifier } = verifierWith(clock);
    const token = alice.first(clock.nowMs());
    expect(await judged(verifier, token)).toBe("accepted");
    clock.step(3_599_999);
    expect(await judged(verifier, token)).toBe("accepted");
    clock.step(1);
    expect(await judged(verifier, token)).toMatch(/it has expired$/);
  });

  test("looks at no more signatures of an address than it may bring, and takes tokens that it knows all the same", async () => {
    const clock = new FakeClock();
    let left = 2;
    const pace = (address: string): boolean => address !== "flood" || (left -= 1) >= 0;
    const { verifier } = verifierWith(clock, "unconfigured", pace);
    const good = alice.first(clock.nowMs());
    const stranger = new TestWallet(0x43).first(clock.nowMs());
    const bad = good.slice(0, good.lastIndexOf(".")) + stranger.slice(stranger.lastIndexOf("."));
    const verify = async (bearer: string, address: string): Promise<string> =>
      (await verifier.verify({ bearer, serviceAuth: null, address })).state;
    expect([await verify(good, "flood"), await verify(bad, "flood")]).toEqual(["accepted", "refused"]);
    await expect(verify(bad, "flood")).rejects.toMatchObject({ code: "FULA_KEY_LOOKUPS_FULL" });
    // What is bad by its text costs nothing to look at.
    expect(await verify("fula-eip712.nothing", "flood")).toBe("refused");
    expect([await verify(good, "flood"), await verify(bad, "elsewhere")]).toEqual(["accepted", "refused"]);
  });

  test("gives a token that comes again the identity that it had", async () => {
    const clock = new FakeClock();
    const { verifier } = verifierWith(clock);
    const token = alice.second(clock.nowMs(), { scope: "storage:read" });
    const firstTime = await verifier.verify({ bearer: token, serviceAuth: null });
    expect(await verifier.verify({ bearer: token, serviceAuth: null })).toEqual(firstTime);
    expect(firstTime).toMatchObject({ state: "accepted", identity: { by: "eip712" } });
  });

  test("does not take what differs from a token that it knows in one character of the signature", async () => {
    const clock = new FakeClock();
    const { verifier } = verifierWith(clock);
    const token = alice.first(clock.nowMs());
    expect(await judged(verifier, token)).toBe("accepted");
    expect(await judged(verifier, `${token.slice(0, -2)}${token.endsWith("AA") ? "E" : "A"}A`)).toMatch(/not taken/);
  });
});

describe("a wallet that is a contract", () => {
  const clock = new FakeClock();
  const claims = alice.secondClaims(clock.nowMs(), { wallet: `0x${"c0".repeat(20)}`, chainId: 8_453 });
  const token = renderToken({ claims, signature: new Uint8Array(130).fill(9) });

  test("is let in where its contract says that it signed", async () => {
    const { verifier, asked } = verifierWith(clock, "signed");
    expect(await judged(verifier, token)).toBe("accepted");
    expect(asked).toMatchObject([{ chainId: 8_453, wallet: claims.wallet }]);
  });

  test("is asked about every time: what it says may change, and is kept elsewhere", async () => {
    const { verifier, asked } = verifierWith(clock, "signed");
    await judged(verifier, token);
    await judged(verifier, token);
    expect(asked).toHaveLength(2);
  });

  test("is refused where its contract does not say so, or nobody can ask it", async () => {
    expect(await judged(verifierWith(clock, "not-signed").verifier, token)).toBe(
      "the wallet token is not taken: its signature has not 65 bytes, and no contract at its address says that it did",
    );
    const { verifier } = verifierWith(clock, "unconfigured");
    expect(await verifier.verify({ bearer: token, serviceAuth: null })).toEqual({
      state: "refused",
      because: expect.stringMatching(/contract wallets of chain 8453 cannot be asked here$/) as unknown,
      reason: "CONTRACT_WALLET",
    });
  });

  test("is neither let in nor refused while its chain is silent", async () => {
    const silent = new FulaError("FULA_WALLET_UNCHECKED", "silent");
    await expect(judged(verifierWith(clock, silent).verifier, token)).rejects.toBe(silent);
  });

  test("is not asked about where the token is not taken anyway", async () => {
    const { verifier, asked } = verifierWith(clock, "signed");
    const expired = renderToken({ claims: { ...claims, expires: claims.issued - 1 }, signature: new Uint8Array(130) });
    const unknownChain = renderToken({ claims: { ...claims, chainId: 5 }, signature: new Uint8Array(130) });
    expect(await judged(verifier, expired)).toMatch(/not taken/);
    expect(await judged(verifier, unknownChain)).toMatch(/chain 5/);
    expect(asked).toEqual([]);
  });
});
