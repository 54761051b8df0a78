import { decodeFunctionData, parseAbi } from "viem";
import { describe, expect, test } from "vitest";
import { type CallContract, type ContractAnswer, contractChecker } from "../../../src/lib/identity/contract-wallet.ts";
import type { ContractQuestion } from "../../../src/lib/identity/eip712/verify.ts";
import { FakeClock } from "../../support/clock.ts";

const SIGNED = `0x1626ba7e${"0".repeat(56)}`;

function question(number: number): ContractQuestion {
  return {
    chainId: 1,
    wallet: `0x${number.toString(16).padStart(40, "0")}`,
    digest: new Uint8Array(32).fill(1),
    signature: new Uint8Array(70).fill(2),
  };
}

function checkerOf(
  call: CallContract,
  clock = new FakeClock(),
): (question: ContractQuestion) => Promise<ContractAnswer> {
  return contractChecker(call, clock);
}

describe("what a contract is asked", () => {
  test("is isValidSignature with the digest and the signature, as the ABI has it", async () => {
    let data: `0x${string}` = "0x";
    await checkerOf(async (call) => {
      expect(call).toMatchObject({ chainId: 1, to: question(7).wallet });
      data = `0x${call.data.slice(2)}`;
      return await Promise.resolve(SIGNED);
    })(question(7));
    const abi = parseAbi(["function isValidSignature(bytes32 hash, bytes signature) view returns (bytes4)"]);
    expect(decodeFunctionData({ abi, data })).toEqual({
      functionName: "isValidSignature",
      args: [`0x${"01".repeat(32)}`, `0x${"02".repeat(70)}`],
    });
    expect((data.length - 10) % 64).toBe(0);
  });

  test.each([
    ["the selector, with zeros behind it", SIGNED, "signed"],
    ["the selector and something else", `0x1626ba7e${"1".padStart(56, "0")}`, "not-signed"],
    ["more than one word", `${SIGNED}${"0".repeat(64)}`, "not-signed"],
    ["the selector alone", "0x1626ba7e", "not-signed"],
    ["what contracts say to a wrong signature", `0xffffffff${"0".repeat(56)}`, "not-signed"],
    ["true", `0x${"1".padStart(64, "0")}`, "not-signed"],
    ["nothing, as an address without a contract", "0x", "not-signed"],
    ["nobody, where the chain has no endpoint", null, "unconfigured"],
  ] as const)("and %s is taken for what it is", async (_what, returned, expected) => {
    expect(await checkerOf(async () => await Promise.resolve(returned))(question(1))).toBe(expected);
  });
});

describe("how often contracts are asked", () => {
  test("an answer is believed for a minute", async () => {
    const clock = new FakeClock();
    let calls = 0;
    const check = checkerOf(async () => {
      calls += 1;
      return await Promise.resolve(calls === 1 ? SIGNED : "0x");
    }, clock);
    expect(await check(question(1))).toBe("signed");
    clock.step(59_999);
    expect(await check(question(1))).toBe("signed");
    expect(calls).toBe(1);
    clock.step(1);
    expect(await check(question(1))).toBe("not-signed");
  });

  test("questions at the same time about the same signature are one", async () => {
    let calls = 0;
    const answer = Promise.withResolvers<string>();
    const check = checkerOf(async () => {
      calls += 1;
      return await answer.promise;
    });
    const both = Promise.all([check(question(1)), check(question(1))]);
    answer.resolve(SIGNED);
    expect(await both).toEqual(["signed", "signed"]);
    expect(calls).toBe(1);
  });

  test("a failure is not remembered", async () => {
    let calls = 0;
    const check = checkerOf(async () => {
      calls += 1;
      if (calls === 1) throw new Error("silent");
      return await Promise.resolve(SIGNED);
    });
    await expect(check(question(1))).rejects.toThrow("silent");
    expect(await check(question(1))).toBe("signed");
  });

  test("wallets that nobody confirmed share sixty questions a minute, those that were confirmed do not count", async () => {
    const clock = new FakeClock();
    const check = checkerOf(async ({ to }) => await Promise.resolve(to === question(0).wallet ? SIGNED : "0x"), clock);
    expect(await check(question(0))).toBe("signed");
    for (let number = 1; number < 60; number += 1) await check(question(number));
    await expect(check(question(60))).rejects.toMatchObject({ code: "FULA_WALLET_UNCHECKED" });
    expect(await check({ ...question(0), digest: new Uint8Array(32).fill(9) })).toBe("signed");
    clock.step(60_000);
    expect(await check(question(60))).toBe("not-signed");
  });

  test("no more than 68 wait at the same time, four of which are being answered", async () => {
    let running = 0;
    const answer = Promise.withResolvers<string>();
    const clock = new FakeClock();
    const check = checkerOf(async () => {
      running += 1;
      return running <= 30 ? SIGNED : await answer.promise;
    }, clock);
    // Confirmed wallets, whose questions are not counted.
    for (let number = 0; number < 30; number += 1) await check(question(number));
    const waiting = Array.from({ length: 68 }, async (_none, place) => {
      return await check({ ...question(place % 30), digest: new Uint8Array(32).fill(place + 2) });
    });
    await expect(check({ ...question(0), digest: new Uint8Array(32).fill(200) })).rejects.toMatchObject({
      code: "FULA_WALLET_UNCHECKED",
    });
    expect(running).toBe(34);
    answer.resolve(SIGNED);
    expect(await Promise.all(waiting)).toEqual(Array.from({ length: 68 }, () => "signed"));
  });
});
